//! Weights of tokens in the loss, kept as runs.

/// Neighbouring tokens of one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightRun {
    /// Where the next run begins.
    pub end: u32,
    /// Weight of predicting each of the tokens.
    pub weight: f32,
}
