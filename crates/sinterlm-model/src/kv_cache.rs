//! Keys and values of the tokens read so far, so that generation reads each token once: which rows
//! there are, where they lie and how long they are. Reading and writing is the kernels' part.

use burn::tensor::{Device, Tensor};
use sinterlm_kernels::{AttentionOptions, CachedRows, KeyValues, RowLayout};

/// Keys and values of a model's layers for rows of different lengths.
///
/// Every row has a slot of `capacity` tokens. A pass reads new tokens for some of the rows, its
/// *active* ones, at first for all; its batch has one row for each of them, in their order.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<KeyValues>,
    slots: usize,
    capacity: usize,
    rows: Vec<Row>,
    active: Vec<usize>,
    /// New tokens of each active row in the pass under way.
    new: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    slot: usize,
    len: usize,
}

impl KvCache {
    /// A cache of empty rows; `shape` is `[batch, n_kv_heads, capacity, head_dim]`.
    pub fn new(n_layers: usize, shape: [usize; 4], device: &Device) -> Self {
        let [slots, _, capacity, _] = shape;
        Self {
            layers: (0..n_layers)
                .map(|_| KeyValues::new(shape, device))
                .collect(),
            slots,
            capacity,
            rows: (0..slots).map(|slot| Row { slot, len: 0 }).collect(),
            active: (0..slots).collect(),
            new: Vec::new(),
        }
    }

    /// Tokens of the longest active row.
    pub fn len(&self) -> usize {
        let active = self.active.iter().map(|&row| self.rows[row].len);
        active.max().unwrap_or(0)
    }

    /// Whether no active row has read a token yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Tokens that a row holds.
    pub fn row_len(&self, row: usize) -> usize {
        self.rows[row].len
    }

    /// Tokens that a row can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens and keeps the memory.
    pub fn clear(&mut self) {
        for row in &mut self.rows {
            row.len = 0;
        }
    }

    /// Forgets the tokens of a row from `len` on.
    pub fn truncate(&mut self, row: usize, len: usize) {
        self.rows[row].len = self.rows[row].len.min(len);
    }

    /// The rows that the next passes read tokens for, in the order of their batches.
    ///
    /// # Panics
    /// If there is no such row, or one is named twice.
    pub fn activate(&mut self, rows: &[usize]) {
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        assert!(
            sorted.windows(2).all(|pair| pair[0] < pair[1])
                && sorted.last().is_none_or(|&row| row < self.rows.len()),
            "activate: {rows:?} are not {} different rows at most",
            self.rows.len()
        );
        self.active = rows.to_vec();
    }

    /// The rows become those named, in that order, and all are active: a row left out is dropped,
    /// one named again is copied.
    ///
    /// # Panics
    /// If there is no such row, or there are more than the cache was made for.
    pub fn select(&mut self, rows: &[usize]) {
        assert!(
            rows.len() <= self.slots && rows.iter().all(|&row| row < self.rows.len()),
            "select: {rows:?} of {} rows, the cache has room for {}",
            self.rows.len(),
            self.slots
        );
        let mut free: Vec<usize> = (0..self.slots).collect();
        free.retain(|slot| !rows.iter().any(|&row| self.rows[row].slot == *slot));
        let mut taken = vec![false; self.rows.len()];
        let selected = rows.iter().map(|&row| {
            let Row { slot, len } = self.rows[row];
            if !std::mem::replace(&mut taken[row], true) {
                return Row { slot, len };
            }
            let to = free
                .pop()
                .expect("there are at least as many slots as rows");
            for layer in &mut self.layers {
                layer.copy_slot(slot, to, len);
            }
            Row { slot: to, len }
        });
        self.rows = selected.collect();
        self.active = (0..self.rows.len()).collect();
    }

    /// Adds an empty row, or says that there is no slot left.
    pub fn add_row(&mut self) -> Option<usize> {
        let slot = (0..self.slots).find(|slot| self.rows.iter().all(|row| row.slot != *slot))?;
        self.rows.push(Row { slot, len: 0 });
        self.active = (0..self.rows.len()).collect();
        Some(self.rows.len() - 1)
    }

    /// Starts a pass over new tokens for the active rows, `layout.lengths` of them.
    ///
    /// # Panics
    /// If the layout does not have a row for each, or a row would overflow.
    pub fn begin(&mut self, layout: &RowLayout) {
        assert_eq!(
            layout.rows,
            self.active.len(),
            "begin: the batch needs one row for each active row of the cache"
        );
        self.new = layout.lengths.iter().map(|&new| new as usize).collect();
        for (&row, new) in self.active.iter().zip(&self.new) {
            let total = self.rows[row].len + new;
            assert!(
                total <= self.capacity,
                "the cache holds {} tokens at most",
                self.capacity
            );
        }
    }

    /// Adds this layer's new keys and values and attends to all held: `[batch, heads, new, head_dim]`.
    ///
    /// `q` is `[batch, heads, new, head_dim]`, `k` and `v` `[batch, n_kv_heads, new, head_dim]`, all
    /// with their positions applied.
    ///
    /// # Panics
    /// If no pass was begun that fits the tensors.
    pub fn attend(
        &mut self,
        layer: usize,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        options: &AttentionOptions,
    ) -> Tensor<4> {
        let active = || self.active.iter().map(|&row| self.rows[row]);
        let slots: Vec<usize> = active().map(|row| row.slot).collect();
        let held: Vec<usize> = active().map(|row| row.len).collect();
        let rows = CachedRows {
            slots: &slots,
            held: &held,
            new: &self.new,
        };
        self.layers[layer].attend(q, k, v, &rows, options)
    }

    /// Ends the pass: every layer has now added its tokens.
    pub fn advance(&mut self) {
        for (&row, new) in self.active.iter().zip(self.new.drain(..)) {
            self.rows[row].len += new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> KvCache {
        let mut cache = KvCache::new(1, [3, 1, 8, 4], &Device::flex());
        let layout = RowLayout {
            lengths: vec![3, 1, 2],
            ..RowLayout::dense(3, 3)
        };
        cache.begin(&layout);
        cache.advance();
        cache
    }

    fn lengths(cache: &KvCache) -> Vec<usize> {
        (0..cache.rows()).map(|row| cache.row_len(row)).collect()
    }

    #[test]
    fn rows_are_dropped_copied_and_added_within_the_slots() {
        let mut cache = cache();
        assert_eq!(lengths(&cache), [3, 1, 2]);
        cache.select(&[2, 0]);
        assert_eq!(lengths(&cache), [2, 3]);
        cache.select(&[1, 1, 0]);
        assert_eq!(lengths(&cache), [3, 3, 2]);
        assert_eq!(cache.add_row(), None);
        cache.select(&[2]);
        assert_eq!(cache.add_row(), Some(1));
        assert_eq!(lengths(&cache), [2, 0]);
        let slots: Vec<usize> = cache.rows.iter().map(|row| row.slot).collect();
        assert!(slots[0] != slots[1]);
    }

    #[test]
    fn a_pass_moves_the_active_rows_alone() {
        let mut cache = cache();
        cache.activate(&[2, 1]);
        assert_eq!(cache.len(), 2);
        cache.begin(&RowLayout::dense(2, 4));
        cache.advance();
        assert_eq!(lengths(&cache), [3, 5, 6]);
        cache.truncate(1, 2);
        assert_eq!(lengths(&cache), [3, 2, 6]);
    }
}
