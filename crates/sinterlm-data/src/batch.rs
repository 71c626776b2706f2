//! The host-side batch: plain vectors, no tensors. Crate `sinterlm-model` moves it to a device.

/// Rows of token ids with what to predict at each of them, row-major `[rows, seq]`.
///
/// Padding has weight 0, the end-of-text id and target 0, so a consumer needs no separate mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Tokens in a row.
    pub seq: usize,
    /// Input ids, `[rows, seq]`.
    pub ids: Vec<u32>,
    /// The id that follows each input id, `[rows, seq]`.
    pub targets: Vec<u32>,
    /// Loss weight of each target, `[rows, seq]`; 0 leaves a position out.
    pub weights: Vec<f32>,
    /// Position of each id in its segment, counted from 0, `[rows, seq]`.
    pub positions: Vec<u32>,
    /// Segment of each id in its row, counted from 0, `[rows, seq]`; attention stays inside one.
    pub segments: Vec<u32>,
    /// Tokens of each row in front of its padding, `[rows]`. Where a row of one segment is read by its
    /// last token (classes, rewards), that is the one before this place.
    pub lengths: Vec<u32>,
}

impl Batch {
    /// A batch of `rows` rows of `seq` positions that are to be filled: weights are 0, and lengths are
    /// those of full rows.
    pub fn padded(rows: usize, seq: usize, end_of_text: u32) -> Self {
        let len = rows * seq;
        Self {
            rows,
            seq,
            ids: vec![end_of_text; len],
            targets: vec![0; len],
            weights: vec![0.0; len],
            positions: (0..len).map(|i| (i % seq.max(1)) as u32).collect(),
            segments: vec![0; len],
            lengths: vec![seq as u32; rows],
        }
    }

    /// Number of tokens that carry loss: the sum of the weights, added in f64.
    pub fn token_count(&self) -> f64 {
        self.weights.iter().map(|&weight| f64::from(weight)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_carries_no_tokens_and_restarts_positions_in_each_row() {
        let mut batch = Batch::padded(2, 3, 7);
        assert!(batch.token_count() < 1e-9);
        assert_eq!(batch.ids, [7; 6]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 1, 2]);
        batch.weights[1] = 0.5;
        assert!((batch.token_count() - 0.5).abs() < 1e-9);
    }
}
