//! The numbers of one optimizer step.

use sinterlm_kernels::MatmulPrecision;

/// What all parameters of one optimizer step share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Number of the step, from 1.
    pub step: u64,
    /// The schedule's factor on the peak rates.
    pub lr_factor: f64,
    /// Factor on every gradient: clipping.
    pub grad_scale: f32,
    /// Number format of the rule's own matrix products (Muon's).
    pub precision: MatmulPrecision,
}
