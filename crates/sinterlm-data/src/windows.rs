//! Windows over a token store: in keyed random order for training, in stream order for
//! validation. Neither keeps a position, so any batch can be asked for at any time.

use sinterlm_config::{Permutation, Seed, Stream};

use crate::{Batch, DataError, TokenStore};

/// Training windows of `seq_len` tokens, each epoch in another order and on another grid.
///
/// The stream is read as a circle of `store.targets()` tokens (its last token is its first).
/// An epoch lays a grid of windows on the circle, starting at a random token, and visits each
/// window once in the order of a keyed permutation. So every token is a target once an epoch but
/// for a remainder of fewer than `seq_len` tokens, which lies elsewhere in each epoch, and epochs
/// cut the text at different places. Windows cross documents. Start and order depend on the seed and the
/// epoch alone: row r is the same whichever batches were read before and however many rows
/// a batch has.
#[derive(Debug, Clone)]
pub struct TrainWindows {
    store: TokenStore,
    seq_len: usize,
    seed: Seed,
}

impl TrainWindows {
    /// Windows over a training text.
    ///
    /// # Errors
    /// [`DataError::EmptySplit`] and [`DataError::TooShort`] where the text does not fill a window.
    ///
    /// # Panics
    /// If `seq_len` is 0.
    pub fn new(store: TokenStore, seq_len: usize, seed: Seed) -> Result<Self, DataError> {
        refuse_empty("training", &store, seq_len)?;
        if store.targets() < seq_len as u64 {
            let tokens = store.targets();
            return Err(DataError::TooShort { tokens, seq_len });
        }
        Ok(Self {
            store,
            seq_len,
            seed,
        })
    }

    /// The text behind the windows.
    pub fn store(&self) -> &TokenStore {
        &self.store
    }

    /// Windows in an epoch.
    pub fn rows_per_epoch(&self) -> u64 {
        self.store.targets() / self.seq_len as u64
    }

    /// Batch `n` of `rows` rows: the rows from `n * rows` on, counted through all epochs. A batch
    /// may straddle two epochs.
    pub fn batch(&self, n: u64, rows: usize) -> Batch {
        let mut batch = Batch::padded(rows, self.seq_len, self.store.header().end_of_text);
        let mut window = vec![0; self.seq_len + 1];
        let circle = self.store.targets();
        for (row, first) in self.first_tokens(n, rows).enumerate() {
            // Up to the circle's end, its last target included, then on from the first token.
            let head = window.len().min((circle + 1 - first) as usize);
            self.store.read(first, &mut window[..head]);
            self.store.read(1, &mut window[head..]);
            fill(&mut batch, row, &window);
        }
        batch
    }

    /// Place in the store of the first token of each row of [`batch`](Self::batch) `n`.
    pub fn first_tokens(&self, n: u64, rows: usize) -> impl Iterator<Item = u64> + '_ {
        let mut epoch_of_order: Option<(u64, u64, Permutation)> = None;
        (n * rows as u64..(n + 1) * rows as u64).map(move |index| {
            let (epoch, i) = (index / self.rows_per_epoch(), index % self.rows_per_epoch());
            let (_, start, order) = match epoch_of_order.take() {
                Some(known @ (of, ..)) if of == epoch => known,
                _ => {
                    let (start, order) = self.epoch(epoch);
                    (epoch, start, order)
                }
            };
            let first = (start + order.index(i) * self.seq_len as u64) % self.store.targets();
            epoch_of_order = Some((epoch, start, order));
            first
        })
    }

    /// Numbers of the documents with the first and the last token of the row that starts at
    /// `first`, from 0; the last is the smaller one where the row wraps from the end of the text to
    /// its start. Reads the text up to there.
    pub fn documents(&self, first: u64) -> [u64; 2] {
        let last = (first + self.seq_len as u64 - 1) % self.store.targets();
        [first, last].map(|token| self.store.document_of(token))
    }

    /// First token of an epoch's grid and the order of its windows.
    fn epoch(&self, epoch: u64) -> (u64, Permutation) {
        let start = self.seed.key(Stream::Order, epoch, 0, 1) % self.store.targets();
        let key = self.seed.key(Stream::Order, epoch, 0, 0);
        (start, Permutation::new(key, self.rows_per_epoch()))
    }
}

/// Validation windows: the whole text in order, each target once, without overlap. The last
/// window is padded with weight 0.
#[derive(Debug, Clone)]
pub struct ValidWindows {
    store: TokenStore,
    seq_len: usize,
}

impl ValidWindows {
    /// Windows over a validation text.
    ///
    /// # Errors
    /// [`DataError::EmptySplit`] where there is nothing to predict.
    ///
    /// # Panics
    /// If `seq_len` is 0.
    pub fn new(store: TokenStore, seq_len: usize) -> Result<Self, DataError> {
        refuse_empty("validation", &store, seq_len)?;
        Ok(Self { store, seq_len })
    }

    /// The text behind the windows.
    pub fn store(&self) -> &TokenStore {
        &self.store
    }

    /// Windows over the text, the padded one included.
    pub fn rows(&self) -> u64 {
        self.store.targets().div_ceil(self.seq_len as u64)
    }

    /// Batches of `rows` windows each, the last one with as many as are left.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn batches(&self, rows: usize) -> impl ExactSizeIterator<Item = Batch> + '_ {
        let count = self.rows().div_ceil(rows as u64) as usize;
        (0..count).map(move |n| self.batch(n as u64, rows))
    }

    /// Batch `n` of [`batches`](Self::batches); without rows behind the last one.
    pub fn batch(&self, n: u64, rows: usize) -> Batch {
        let first_row = (n * rows as u64).min(self.rows());
        let rows = rows.min((self.rows() - first_row) as usize);
        let mut batch = Batch::padded(rows, self.seq_len, self.store.header().end_of_text);
        let mut window = vec![0; self.seq_len + 1];
        for row in 0..rows {
            let first = (first_row + row as u64) * self.seq_len as u64;
            let targets = (self.store.targets() - first).min(self.seq_len as u64) as usize;
            self.store.read(first, &mut window[..=targets]);
            fill(&mut batch, row, &window[..=targets]);
        }
        batch
    }
}

/// Writes a window, inputs and one target more, into a row of a padded batch.
fn fill(batch: &mut Batch, row: usize, window: &[u32]) {
    let filled = row * batch.seq..row * batch.seq + window.len() - 1;
    batch.ids[filled.clone()].copy_from_slice(&window[..window.len() - 1]);
    batch.targets[filled.clone()].copy_from_slice(&window[1..]);
    batch.weights[filled].fill(1.0);
    batch.lengths[row] = window.len() as u32 - 1;
}

fn refuse_empty(split: &'static str, store: &TokenStore, seq_len: usize) -> Result<(), DataError> {
    assert!(seq_len > 0, "windows: seq_len must be at least 1");
    if store.targets() > 0 {
        return Ok(());
    }
    let remedy = "give a text with documents in it";
    Err(DataError::EmptySplit { split, remedy })
}
