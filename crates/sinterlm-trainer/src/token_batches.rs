//! Where batches of tokens come from: windows of a text, or rows made from records.

use sinterlm_data::{RowBatch, RowBatches, TrainWindows};
use sinterlm_run::RowFacts;

/// An order of token rows, cut into batches: batch `n` of `rows` rows is a pure function of both.
pub trait TokenBatches {
    /// Batch `n` of `rows` rows; none behind the end of the data, where it has one. Rows of a text have
    /// no places.
    fn batch(&self, n: u64, rows: usize) -> Option<RowBatch>;

    /// Passes over the data in the first `rows` rows.
    fn epochs(&self, rows: u64) -> f64;

    /// Adds where the rows of batch `n` come from.
    fn locate(&self, n: u64, facts: &mut [RowFacts]);
}

impl TokenBatches for TrainWindows {
    fn batch(&self, n: u64, rows: usize) -> Option<RowBatch> {
        let batch = self.batch(n, rows);
        let places = Vec::new();
        Some(RowBatch { batch, places })
    }

    fn epochs(&self, rows: u64) -> f64 {
        rows as f64 / self.rows_per_epoch() as f64
    }

    fn locate(&self, n: u64, facts: &mut [RowFacts]) {
        let firsts = self.first_tokens(n, facts.len());
        for (row, first) in facts.iter_mut().zip(firsts) {
            row.first_token = Some(first);
            row.documents = Some(self.documents(first));
        }
    }
}

impl TokenBatches for RowBatches {
    fn batch(&self, n: u64, rows: usize) -> Option<RowBatch> {
        self.batch(n, rows)
    }

    fn epochs(&self, rows: u64) -> f64 {
        rows as f64 / self.rows_until(1) as f64
    }

    /// The records of each row, from the least number to the greatest; of packed rows that is a range
    /// which others lie in as well.
    fn locate(&self, n: u64, facts: &mut [RowFacts]) {
        let Some(found) = self.batch(n, facts.len()) else {
            return;
        };
        for (row, places) in facts.iter_mut().zip(&found.places) {
            let records = places.iter().map(|place| self.row(*place).record as u64);
            row.documents = records
                .clone()
                .min()
                .zip(records.max())
                .map(<[u64; 2]>::from);
        }
    }
}
