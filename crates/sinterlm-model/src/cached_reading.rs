//! Rows that a head reads, where a cache holds what the first blocks of the decoder make of them.

use crate::batch::TokenBatch;
use crate::prefix_cache::PrefixCache;
use crate::reading::{Pool, Reading};

impl Reading {
    /// What a [`PrefixCache`] has to hold of rows that are read so: their ids, and the padding where
    /// that is read as text.
    pub fn cached_rows<R: AsRef<[u32]>>(&self, rows: &[R]) -> Vec<Vec<u32>> {
        let cached = |row: &R| {
            let mut ids = row.as_ref().to_vec();
            if self.pool == Pool::LastColumn && ids.len() < self.min_seq {
                ids.resize(self.min_seq, self.pad_id);
            }
            ids
        };
        rows.iter().map(cached).collect()
    }

    /// The batch of the rows with these numbers, with what a cache of [`cached_rows`](Self::cached_rows)
    /// holds of them. A batch that is padded further than the cache knows, where padding is read as
    /// text, stays as it is.
    ///
    /// # Panics
    /// If the cache has no such rows.
    #[must_use]
    pub fn with_prefix(
        &self,
        tokens: TokenBatch,
        cache: &PrefixCache,
        numbers: &[usize],
    ) -> TokenBatch {
        let seq = tokens.layout.seq;
        let is_short = |number: &usize| cache.row_tokens(*number) < seq;
        if self.pool == Pool::LastColumn && numbers.iter().any(is_short) {
            return tokens;
        }
        cache.attach(tokens, numbers.iter().map(|&number| [number]))
    }
}
