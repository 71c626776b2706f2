//! Sums and counts as types: a loss is divided once, by the tokens of the whole step, so that a
//! mean of means cannot be written.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use burn::tensor::Tensor;

/// A number of trained tokens: the sum of their loss weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct TokenCount(f64);

impl TokenCount {
    /// The sum of the rows' weights.
    ///
    /// # Panics
    /// If `count` is negative or not finite.
    pub fn new(count: f64) -> Self {
        assert!(
            count >= 0.0 && count.is_finite(),
            "a token count is finite and not negative"
        );
        Self(count)
    }

    /// As a plain number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Add for TokenCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for TokenCount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for TokenCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// The loss of one micro-batch, still on the device and on the tape.
#[derive(Clone, Debug)]
pub struct LossSum {
    sum: Tensor<1>,
    count: TokenCount,
}

impl LossSum {
    /// A weighted sum of token losses, shape `[1]`, and the sum of the weights.
    pub fn new(sum: Tensor<1>, count: TokenCount) -> Self {
        Self { sum, count }
    }

    /// The tokens that were summed.
    pub fn count(&self) -> TokenCount {
        self.count
    }

    /// This micro-batch's share of the step's mean loss, `[1]`: the sum over the tokens of the
    /// whole step. The shares of a step's micro-batches add up to its loss, and so do their
    /// gradients.
    ///
    /// # Panics
    /// If the step has no token.
    pub fn share_of(self, step: TokenCount) -> Tensor<1> {
        assert!(
            step.0 > 0.0,
            "share_of: a step needs at least one trained token"
        );
        self.sum.div_scalar(step.0)
    }

    /// Reads the sum from the device; waits for it.
    pub fn read(&self) -> LossTotal {
        let nats = f64::from(self.sum.clone().into_scalar::<f32>());
        LossTotal {
            nats,
            count: self.count,
        }
    }
}

/// A loss over any number of batches, on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossTotal {
    /// Sum of the token losses in nats.
    pub nats: f64,
    /// Tokens that were summed.
    pub count: TokenCount,
}

impl LossTotal {
    /// Nats per token; `None` where nothing was summed.
    pub fn mean(&self) -> Option<f64> {
        (self.count.0 > 0.0).then(|| self.nats / self.count.0)
    }
}

impl Add for LossTotal {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            nats: self.nats + other.nats,
            count: self.count + other.count,
        }
    }
}

impl AddAssign for LossTotal {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for LossTotal {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_weight_batches_by_their_tokens() {
        let long = LossTotal {
            nats: 30.0,
            count: TokenCount::new(10.0),
        };
        let short = LossTotal {
            nats: 2.0,
            count: TokenCount::new(2.0),
        };
        let mean = [long, short].into_iter().sum::<LossTotal>().mean().unwrap();
        assert!(
            (mean - 32.0 / 12.0).abs() < 1e-12,
            "not the mean of means, 2.0: {mean}"
        );
    }

    #[test]
    fn an_empty_total_has_no_mean() {
        assert_eq!(LossTotal::default().mean(), None);
    }
}
