//! How far a run is and what the open line of metrics has gathered; part of its state.

use crate::figures::Named;

/// Where the run is; part of its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Meters {
    /// Finished optimizer steps.
    pub(crate) steps: u64,
    /// Trained tokens.
    pub(crate) tokens: f64,
    /// Seconds spent, over all sessions of the run.
    pub(crate) seconds: f64,
    /// Tokens since the last line of metrics, and their summed loss.
    pub(crate) interval_tokens: f64,
    pub(crate) interval_nats: f64,
    /// What the objective reported since then.
    pub(crate) interval: Named,
    /// The objective has ended the run.
    pub(crate) is_over: bool,
}
