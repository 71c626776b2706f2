//! What becomes of rows that are longer than a model reads.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a row that is longer than `max_seq_len`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// Its end goes. An answer that is cut has no end to learn.
    #[default]
    Right,
    /// Its beginning goes.
    Left,
    /// The middle of what stands before the first trained token goes, but not more of the row than
    /// half of `max_seq_len` is kept of it; then the end.
    MiddleOfPrompt,
    /// The row goes, and is counted.
    Drop,
    /// Stop and name the record.
    Error,
}

impl Truncation {
    /// The parts of a row that is too long to keep, in order; none where it goes as a whole.
    /// `prompt` is the number of tokens before the first trained one.
    pub(super) fn kept(self, len: usize, prompt: usize, max: usize) -> Option<[Range<usize>; 2]> {
        match self {
            Self::Right => Some([0..max, max..max]),
            Self::Left => Some([len - max..len, len..len]),
            Self::MiddleOfPrompt => {
                let answer = len - prompt;
                let kept = max.saturating_sub(answer).max(max / 2).min(prompt);
                let head = kept.div_ceil(2);
                let tail = prompt - (kept - head);
                Some([0..head, tail..(tail + max - head).min(len)])
            }
            Self::Drop | Self::Error => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(policy: Truncation, len: usize, prompt: usize, max: usize) -> Vec<usize> {
        let kept = policy.kept(len, prompt, max).unwrap();
        kept.into_iter().flatten().collect()
    }

    #[test]
    fn each_policy_keeps_its_part() {
        assert_eq!(cut(Truncation::Right, 10, 6, 4), [0, 1, 2, 3]);
        assert_eq!(cut(Truncation::Left, 10, 6, 4), [6, 7, 8, 9]);
        assert!(Truncation::Drop.kept(10, 6, 4).is_none());
        // Three of eight prompt tokens have room beside the answer of three.
        assert_eq!(
            cut(Truncation::MiddleOfPrompt, 11, 8, 6),
            [0, 1, 7, 8, 9, 10]
        );
        // Half is left to the prompt, and the answer loses its end.
        assert_eq!(
            cut(Truncation::MiddleOfPrompt, 16, 8, 6),
            [0, 1, 7, 8, 9, 10]
        );
        // A prompt that is short stays whole.
        assert_eq!(cut(Truncation::MiddleOfPrompt, 16, 1, 4), [0, 1, 2, 3]);
    }
}
