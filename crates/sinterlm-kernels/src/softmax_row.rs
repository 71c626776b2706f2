//! Softmax of one row of logits in host memory, for samplers, which choose on the host. Softmax of
//! tensors is the business of the operations that contain it.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use crate::{
    exp::exp,
    isa::{Kernel, vectorized},
    lanes::{lane_max, lane_sum},
};

/// `ln Σ exp(logit)` in nats; NaN where a logit is NaN, positive infinity or all are negative
/// infinity.
///
/// # Example
/// ```
/// let sum = sinterlm_kernels::log_sum_exp(&[0.0, 3f32.ln()]);
/// assert!((sum - 4f32.ln()).abs() < 1e-6);
/// ```
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    vectorized(LogSumExp(logits))
}

/// Turns logits into probabilities and returns [`log_sum_exp`] of the logits. A logit of negative
/// infinity gets the probability 0.
///
/// # Example
/// ```
/// let mut row = [0.0, 3f32.ln(), f32::NEG_INFINITY];
/// sinterlm_kernels::softmax_in_place(&mut row);
/// assert!((row[1] - 0.75).abs() < 1e-6);
/// assert_eq!(row[2], 0.0);
/// ```
pub fn softmax_in_place(logits: &mut [f32]) -> f32 {
    vectorized(SoftmaxInPlace(logits))
}

/// Turns logits of a row into their probabilities, given [`log_sum_exp`] of the whole row.
///
/// # Example
/// ```
/// let mut row = [0.0, 3f32.ln(), f32::NEG_INFINITY];
/// let total = sinterlm_kernels::log_sum_exp(&row);
/// sinterlm_kernels::softmax_of_part(&mut row[1..], total);
/// assert!((row[1] - 0.75).abs() < 1e-6 && row[2] == 0.0);
/// ```
pub fn softmax_of_part(logits: &mut [f32], log_sum_exp: f32) {
    vectorized(SoftmaxOfPart(logits, log_sum_exp));
}

/// The probability of each block of `block` tokens (the last may have fewer), given [`log_sum_exp`]
/// of the row.
///
/// # Panics
/// If `block` is 0.
///
/// # Example
/// ```
/// let row = [0.0, 0.0, 0.0, 3f32.ln()];
/// let total = sinterlm_kernels::log_sum_exp(&row);
/// let sums = sinterlm_kernels::softmax_sums(&row, total, 3);
/// assert!((sums[0] - 0.5).abs() < 1e-6 && (sums[1] - 0.5).abs() < 1e-6);
/// ```
pub fn softmax_sums(logits: &[f32], log_sum_exp: f32, block: usize) -> Vec<f32> {
    let blocks = logits.chunks(block);
    blocks
        .map(|block| vectorized(SoftmaxSum(block, log_sum_exp)))
        .collect()
}

struct SoftmaxOfPart<'a>(&'a mut [f32], f32);

impl Kernel for SoftmaxOfPart<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for x in self.0.iter_mut() {
            *x = weight(*x - self.1);
        }
    }
}

struct SoftmaxSum<'a>(&'a [f32], f32);

impl Kernel for SoftmaxSum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        lane_sum([self.0], |[x]| weight(x - self.1))
    }
}

struct LogSumExp<'a>(&'a [f32]);

impl Kernel for LogSumExp<'_> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        let max = lane_max(self.0);
        // NaN is passed over by the maximum and kept by the sum.
        max + lane_sum([self.0], |[x]| weight(x - max)).ln()
    }
}

struct SoftmaxInPlace<'a>(&'a mut [f32]);

impl Kernel for SoftmaxInPlace<'_> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        let max = lane_max(self.0);
        for x in self.0.iter_mut() {
            *x = weight(*x - max);
        }
        let sum = lane_sum([self.0], |[x]| x);
        let inverse = 1.0 / sum;
        for x in self.0.iter_mut() {
            *x *= inverse;
        }
        max + sum.ln()
    }
}

/// `eˣ` for `x` up to 0, and 0 from where that leaves the range of normal numbers.
#[inline(always)]
fn weight(x: f32) -> f32 {
    let y = exp(x);
    if x < -87.0 { 0.0 } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_and_agree_with_f64() {
        let logits: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 12.0).collect();
        let exact: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
        let sum: f64 = exact.iter().sum();
        let mut row = logits.clone();
        let found = softmax_in_place(&mut row);
        assert!((f64::from(found) - sum.ln()).abs() < 1e-5);
        assert!((f64::from(log_sum_exp(&logits)) - sum.ln()).abs() < 1e-5);
        for (p, exact) in row.iter().zip(&exact) {
            assert!((f64::from(*p) - exact / sum).abs() < 1e-7);
        }
    }

    #[test]
    fn a_row_without_a_finite_sum_is_told_by_nan() {
        assert!(log_sum_exp(&[0.0, f32::NAN]).is_nan());
        assert!(log_sum_exp(&[0.0, f32::INFINITY]).is_nan());
        assert!(log_sum_exp(&[f32::NEG_INFINITY; 3]).is_nan());
    }
}
