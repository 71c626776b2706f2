//! The host-side description of a batch's rows, from which every mask derives. What attention does
//! with it is left to `attention`; building batches is left to the callers.

use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Where the segments of each row start and how long each row is.
///
/// A *segment* is a run of tokens that see each other and nothing else, such as one document in
/// a packed row. Tokens at or beyond a row's length are padding and form a segment of their own:
/// no valid token sees them, and they cost little.
///
/// # Example
/// ```
/// let layout = sinterlm_kernels::RowLayout::from_segments(1, 4, &[0, 0, 1, 1], &[4]);
/// assert_eq!(layout.visible(0, 1), 0..2);
/// assert_eq!(layout.visible(0, 3), 2..4);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RowLayout {
    /// Number of rows of the batch.
    pub rows: usize,
    /// Tokens per row, padding included.
    pub seq: usize,
    /// Per row, ascending positions at which a segment starts; the first is 0.
    pub segment_starts: Vec<Vec<u32>>,
    /// Valid tokens per row, counted from its start.
    pub lengths: Vec<u32>,
}

impl RowLayout {
    /// Rows of one segment each, without padding: plain causal attention.
    pub fn dense(rows: usize, seq: usize) -> Self {
        Self {
            rows,
            seq,
            segment_starts: vec![vec![0]; rows],
            lengths: vec![seq as u32; rows],
        }
    }

    /// Reads segment starts off one segment number per token: a start is where the number changes.
    ///
    /// `segments` is `[rows, seq]` row by row; `lengths` holds the valid tokens of each row.
    ///
    /// # Panics
    /// If `segments` does not hold `rows * seq` numbers, `lengths` not `rows`, or a length is
    /// above `seq`.
    pub fn from_segments(rows: usize, seq: usize, segments: &[u32], lengths: &[u32]) -> Self {
        assert_eq!(
            segments.len(),
            rows * seq,
            "row layout: segments must be [rows, seq]"
        );
        assert_eq!(lengths.len(), rows, "row layout: one length per row");
        assert!(
            lengths.iter().all(|&length| length as usize <= seq),
            "row layout: a length is above seq {seq}"
        );
        let starts_of = |row: usize| {
            let numbers = &segments[row * seq..(row + 1) * seq];
            let changes = (1..seq).filter(|&at| numbers[at] != numbers[at - 1]);
            std::iter::once(0)
                .chain(changes.map(|at| at as u32))
                .collect()
        };
        Self {
            rows,
            seq,
            segment_starts: (0..rows).map(starts_of).collect(),
            lengths: lengths.to_vec(),
        }
    }

    /// Whether every row is one segment without padding.
    pub fn is_dense(&self) -> bool {
        self.segment_starts.iter().all(|starts| starts.len() <= 1)
            && self
                .lengths
                .iter()
                .all(|&length| length as usize == self.seq)
    }

    /// The place of each row's last token in front of its padding; 0 in a row of padding alone.
    pub fn last_tokens(&self) -> Vec<u32> {
        let last = |length: &u32| length.max(&1) - 1;
        self.lengths.iter().map(last).collect()
    }

    /// The positions that the token at `position` of `row` sees: from the start of its segment to
    /// itself.
    pub fn visible(&self, row: usize, position: usize) -> Range<usize> {
        let starts = &self.segment_starts[row];
        let before = starts.partition_point(|&start| start as usize <= position);
        let start = before
            .checked_sub(1)
            .map_or(0, |last| starts[last] as usize);
        let length = self.lengths[row] as usize;
        let start = if position >= length {
            start.max(length)
        } else {
            start
        };
        start..position + 1
    }

    /// The mask of hidden positions `[rows, seq, seq]`: query, then key; true = hidden.
    ///
    /// Causal and block-diagonal. Costs `rows * seq²` booleans: for composed forms only.
    pub fn attention_mask(&self, device: &Device) -> Tensor<3, Bool> {
        let mut hidden = vec![true; self.rows * self.seq * self.seq];
        for row in 0..self.rows {
            for query in 0..self.seq {
                let line = (row * self.seq + query) * self.seq;
                let visible = self.visible(row, query);
                hidden[line + visible.start..line + visible.end].fill(false);
            }
        }
        Tensor::from_data(
            TensorData::new(hidden, [self.rows, self.seq, self.seq]),
            device,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_number_starts_a_segment() {
        let layout = RowLayout::from_segments(2, 4, &[0, 0, 1, 1, 5, 5, 5, 5], &[4, 3]);
        assert_eq!(layout.segment_starts, [vec![0, 2], vec![0]]);
        assert!(!layout.is_dense());
        assert!(RowLayout::dense(2, 4).is_dense());
    }

    #[test]
    fn tokens_see_their_segment_up_to_themselves() {
        let layout = RowLayout::from_segments(1, 6, &[0, 0, 1, 1, 1, 1], &[4]);
        let visible: Vec<_> = (0..6).map(|at| layout.visible(0, at)).collect();
        assert_eq!(visible, [0..1, 0..2, 2..3, 2..4, 4..5, 4..6]);
    }

    #[test]
    #[cfg(feature = "flex")]
    fn the_mask_hides_what_is_not_visible() {
        let layout = RowLayout::from_segments(1, 3, &[0, 0, 1], &[3]);
        let mask = layout.attention_mask(&Device::flex()).into_data();
        let mask: Vec<bool> = mask.iter::<bool>().collect();
        #[rustfmt::skip]
        assert_eq!(mask, [
            false, true, true,
            false, false, true,
            true, true, false,
        ]);
    }
}
