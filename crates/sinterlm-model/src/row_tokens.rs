//! One token of each row: how its activations are picked out of those of all.

use burn::tensor::{Int, Tensor, TensorData};

/// One token of each row of a batch.
#[derive(Clone, Debug)]
pub(crate) struct RowTokens {
    columns: Vec<u32>,
    seq: usize,
}

impl RowTokens {
    /// The token at `columns[row]` of each row.
    ///
    /// # Panics
    /// If there is not one column below `seq` for each of `batch` rows.
    pub(crate) fn new(columns: &[u32], [batch, seq]: [usize; 2]) -> Self {
        assert!(
            columns.len() == batch && columns.iter().all(|&column| (column as usize) < seq),
            "one token of each of {batch} rows of {seq} must be named"
        );
        Self {
            columns: columns.to_vec(),
            seq,
        }
    }

    /// The column of each row.
    pub(crate) fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// `[batch or 1, seq, width]` to `[batch, width]`; one row stands for all.
    pub(crate) fn select(&self, x: Tensor<3>) -> Tensor<2> {
        let [rows, seq, width] = x.dims();
        debug_assert_eq!(seq, self.seq, "the tokens are those of another batch");
        if seq == 1 && rows == self.columns.len() {
            return x.reshape([rows, width]);
        }
        let stride = if rows == 1 { 0 } else { seq };
        let places: Vec<i32> = (self.columns.iter().enumerate())
            .map(|(row, &column)| (row * stride) as i32 + column as i32)
            .collect();
        let places = TensorData::new(places, [self.columns.len()]);
        let places = Tensor::<1, Int>::from_data(places, &x.device());
        x.reshape([rows * seq, width]).select(0, places)
    }
}
