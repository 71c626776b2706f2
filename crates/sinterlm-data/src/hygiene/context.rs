//! What steps may read beside records and their own settings.

use crate::{Record, Tokenizer};

/// What [`clean`](crate::clean) needs beside records and steps.
#[derive(Clone, Copy, Debug)]
pub struct CleanContext<'a> {
    /// The run's seed; `balance` chooses by it.
    pub seed: u64,
    /// Counts tokens for `length`; only needed where that limits tokens.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Records of evaluation sets, for `decontaminate`.
    pub evaluation: &'a [Record],
    /// Examples kept for each step.
    pub examples: usize,
}

impl Default for CleanContext<'_> {
    fn default() -> Self {
        Self {
            seed: 0,
            tokenizer: None,
            evaluation: &[],
            examples: 5,
        }
    }
}
