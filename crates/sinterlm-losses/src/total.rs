//! Sums and counts as types: a loss is divided once, by the tokens of the whole step, so that a
//! mean of means cannot be written.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use burn::tensor::Tensor;

/// What a step's losses are divided by, known on the host before the first of them is computed.
///
/// Counts add up over the micro-batches of a step, and later over processes. Each term of a loss
/// divides by the count that it is a mean over: next-token losses by `tokens`, classification by
/// `rows`, preference losses by `pairs`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Sum of the loss weights of all tokens; also how a run measures its progress.
    pub tokens: f64,
    /// Rows that carry a loss of their own.
    pub rows: f64,
    /// Pairs of a chosen and a rejected answer.
    pub pairs: f64,
}

impl Counts {
    /// Counts of a batch whose only losses are those of its tokens.
    ///
    /// # Panics
    /// If `tokens` is negative or not finite.
    pub fn of_tokens(tokens: f64) -> Self {
        assert!(
            tokens >= 0.0 && tokens.is_finite(),
            "a token count is finite and not negative"
        );
        Self {
            tokens,
            ..Self::default()
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            rows: self.rows + other.rows,
            pairs: self.pairs + other.pairs,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// The loss of one micro-batch, still on the device and on the tape.
#[derive(Clone, Debug)]
pub struct LossSum {
    sum: Tensor<1>,
    count: f64,
}

impl LossSum {
    /// A weighted sum of losses, shape `[1]`, and the sum of the weights.
    pub fn new(sum: Tensor<1>, count: f64) -> Self {
        Self { sum, count }
    }

    /// The weights that were summed.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// This micro-batch's share of the step's mean loss, `[1]`: the sum over `total`, the count of
    /// the whole step ([`Counts::tokens`] for a loss of tokens). The shares of a step's micro-batches
    /// add up to its loss, and so do their gradients.
    ///
    /// # Panics
    /// If `total` is not above zero.
    pub fn share_of(self, total: f64) -> Tensor<1> {
        assert!(
            total > 0.0,
            "share_of: a step needs something to divide its loss by"
        );
        self.sum.div_scalar(total)
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
    /// Sum of the losses in nats.
    pub nats: f64,
    /// Sum of their weights: tokens, in a loss of tokens.
    pub count: f64,
}

impl LossTotal {
    /// Nats per token, or per whatever was counted; `None` where nothing was summed.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.nats / self.count)
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
            count: 10.0,
        };
        let short = LossTotal {
            nats: 2.0,
            count: 2.0,
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
