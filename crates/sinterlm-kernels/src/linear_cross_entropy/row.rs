//! The pass over one row of logits on flex: its loss and, in place of the logits, its gradient.
//! Products and chunks are left to `native`.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use super::CrossEntropyOptions;
use crate::{
    exp::{exp, tanh},
    isa::Kernel,
    lanes::{lane_max, lane_sum},
};

/// Terms of a partition sum added in f32 before they are added to the rest in f64.
const SUM_BLOCK: usize = 4096;

/// The weighted loss of one row; the logits become its gradient if that is wanted.
pub(super) struct RowLoss<'a> {
    pub(super) logits: &'a mut [f32],
    pub(super) target: usize,
    pub(super) weight: f32,
    pub(super) options: &'a CrossEntropyOptions,
    pub(super) with_gradient: bool,
}

impl Kernel for RowLoss<'_> {
    type Output = f64;
    #[inline(always)]
    fn run(self) -> f64 {
        let Self {
            logits,
            target,
            weight,
            options,
            with_gradient,
        } = self;
        let vocab = logits.len();
        let slopes = options.softcap.map(|cap| bend(logits, cap, with_gradient));
        let (smoothing, z_loss) = (
            f64::from(options.label_smoothing),
            f64::from(options.z_loss),
        );
        let target_logit = f64::from(logits[target]);
        let mean = if smoothing > 0.0 {
            f64::from(lane_sum([logits], |[logit]| logit)) / vocab as f64
        } else {
            0.0
        };
        let highest = lane_max(logits);
        let mut partition = 0.0f64;
        for block in logits.chunks_mut(SUM_BLOCK) {
            if with_gradient {
                for logit in block.iter_mut() {
                    *logit = exp(*logit - highest);
                }
                partition += f64::from(lane_sum([block], |[value]| value));
            } else {
                partition += f64::from(lane_sum([block], |[logit]| exp(logit - highest)));
            }
        }
        let log_sum = f64::from(highest) + partition.ln();
        if with_gradient {
            let weight = f64::from(weight);
            let factor = (weight * (1.0 + 2.0 * z_loss * log_sum) / partition) as f32;
            let spread = (weight * smoothing / vocab as f64) as f32;
            for value in logits.iter_mut() {
                *value = *value * factor - spread;
            }
            logits[target] -= (weight * (1.0 - smoothing)) as f32;
            for (value, slope) in logits.iter_mut().zip(slopes.iter().flatten()) {
                *value *= slope;
            }
        }
        let loss = log_sum - (1.0 - smoothing) * target_logit - smoothing * mean
            + z_loss * log_sum * log_sum;
        f64::from(weight) * loss
    }
}

/// Caps the logits, `x ← c·tanh(x/c)`; returns the derivatives where they are wanted.
#[inline(always)]
fn bend(logits: &mut [f32], cap: f32, with_slopes: bool) -> Vec<f32> {
    for logit in logits.iter_mut() {
        *logit = tanh(*logit / cap);
    }
    let mut slopes = vec![0.0; if with_slopes { logits.len() } else { 0 }];
    for (slope, &bent) in slopes.iter_mut().zip(logits.iter()) {
        *slope = 1.0 - bent * bent;
    }
    for logit in logits.iter_mut() {
        *logit *= cap;
    }
    slopes
}
