//! Batches of rows: which rows make up batch `n`, and how they lie in it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde::Serialize;
use sinterlm_config::Seed;

use super::config::{BatchesConfig, Layout, Mixture};
use super::order::{Order, RowPlace};
use super::packing::best_fit;
use super::row_set::{Row, RowSet};
use crate::{Batch, DataError};

/// Groups that are kept, so that batches read one after another do not pack anew.
const KEPT: usize = 4;

/// A batch with where its rows are from.
#[derive(Clone, Debug, PartialEq)]
pub struct RowBatch {
    /// What the model reads and what it has to predict.
    pub batch: Batch,
    /// The rows of data in each row of the batch, in the order of its segments.
    pub places: Vec<Vec<RowPlace>>,
}

/// How full the batches of an epoch are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchFigures {
    /// Batches.
    pub batches: u64,
    /// Rows of batches.
    pub rows: u64,
    /// Places for tokens in them.
    pub slots: u64,
    /// Tokens.
    pub tokens: u64,
    /// Tokens that are trained.
    pub trained_tokens: u64,
}

/// The rows of one or several sets as an endless sequence of batches.
///
/// The sequence of batch rows depends on the seed, the sets and the config alone: batch `n` of `r` rows
/// is the rows from `n * r` on, whichever batches were read before, and batches of another size cut
/// the same sequence elsewhere. Epochs follow each other without a gap, each row of a set once in
/// each of its passes. Finding a batch costs the work of one group of 4,096 rows, in the packed layout
/// once that of all epochs before it, too.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use sinterlm_config::Seed;
/// use sinterlm_data::{
///     BatchesConfig, Body, Origin, Prompter, Record, RowBatches, RowSet, RowsConfig, Tokenizer,
/// };
///
/// let tokenizer = Tokenizer::gpt2();
/// let records: Vec<Record> = (0..10)
///     .map(|number| {
///         let body = Body::Completion { prompt: format!("{number} + 1 ="), completion: format!(" {}", number + 1) };
///         Record::new(body, Origin::Made { name: "sums", number })
///     })
///     .collect();
/// let config = RowsConfig::default();
/// let prompter = Prompter::new(&config.template, &tokenizer, None, &[])?;
/// let rows = Arc::new(RowSet::build(&records, &prompter, &config)?);
/// let end = tokenizer.end_of_text();
/// let batches = RowBatches::new(vec![rows], &BatchesConfig::default(), config.max_seq_len, 4, end, Seed(1))?;
/// let batch = batches.batch(7, 4).expect("there is no end without max_epochs");
/// assert_eq!((batch.batch.rows, batch.batch.seq), (4, 8));
/// # Ok::<(), sinterlm_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct RowBatches {
    sets: Vec<Arc<RowSet>>,
    order: Order,
    config: BatchesConfig,
    max_seq_len: usize,
    step_rows: u64,
    end_of_text: u32,
    epochs: Mutex<Vec<Arc<Epoch>>>,
    groups: Mutex<Vec<Group>>,
}

/// Where the groups of an epoch start in the sequence of batch rows; one more at the end.
#[derive(Debug)]
struct Epoch {
    starts: Vec<u64>,
}

/// The batch rows of a group.
type Packed = Arc<Vec<Vec<RowPlace>>>;

#[derive(Debug)]
struct Group {
    epoch: u64,
    number: u64,
    rows: Packed,
}

impl RowBatches {
    /// Batches of rows of at most `max_seq_len` tokens, which is also the size of a packed row.
    ///
    /// `step_rows` is the number of batch rows in an optimizer step, micro-batches together: these
    /// are grouped by length.
    ///
    /// # Errors
    /// [`DataError::NoRows`] without rows, [`DataError::MixtureWeights`] where a mixture has another
    /// number of weights than there are sets, [`DataError::RowTooLong`] where a row was made for a
    /// larger `max_seq_len`.
    pub fn new(
        sets: Vec<Arc<RowSet>>,
        config: &BatchesConfig,
        max_seq_len: usize,
        step_rows: usize,
        end_of_text: u32,
        seed: Seed,
    ) -> Result<Self, DataError> {
        if sets.is_empty() || sets.iter().any(|set| set.rows().is_empty()) {
            return Err(DataError::NoRows {
                records: sets.iter().map(|set| set.counts().records).sum(),
                example: String::new(),
            });
        }
        if let Mixture::Weights(weights) = &config.mixture
            && weights.len() != sets.len()
        {
            return Err(DataError::MixtureWeights {
                weights: weights.len(),
                sets: sets.len(),
            });
        }
        let rows = sets.iter().flat_map(|set| set.rows());
        let longest = rows.map(|row| row.ids.len()).max().unwrap_or(0);
        if longest > max_seq_len {
            return Err(DataError::RowTooLong {
                tokens: longest,
                max: max_seq_len,
            });
        }
        let sizes = sets.iter().map(|set| set.rows().len() as u64).collect();
        Ok(Self {
            order: Order::new(sizes, &config.mixture, seed),
            sets,
            config: config.clone(),
            max_seq_len,
            step_rows: step_rows.max(1) as u64,
            end_of_text,
            epochs: Mutex::default(),
            groups: Mutex::default(),
        })
    }

    /// Batch `n` of `rows` rows: with fewer at the end of the last epoch, none behind it.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn batch(&self, n: u64, rows: usize) -> Option<RowBatch> {
        assert!(rows > 0, "batches: rows must be at least 1");
        let places = self.places(n * rows as u64..(n + 1) * rows as u64);
        if places.is_empty() {
            return None;
        }
        Some(RowBatch {
            batch: self.filled(&places),
            places,
        })
    }

    /// The row at a place.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, place: RowPlace) -> &Row {
        &self.sets[place.set].rows()[place.row]
    }

    /// Batch rows up to the end of so many epochs.
    pub fn rows_until(&self, epochs: u64) -> u64 {
        match self.config.layout {
            Layout::Padded => epochs * self.order.len(),
            Layout::Packed => match epochs.checked_sub(1) {
                Some(last) => *self.epoch(last).starts.last().expect("an end is there"),
                None => 0,
            },
        }
    }

    /// Batch rows up to the end of the last epoch; none where there is no last one.
    pub fn total_rows(&self) -> Option<u64> {
        self.config.max_epochs.map(|last| self.rows_until(last))
    }

    /// How full the batches of an epoch are, with so many rows in each.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn figures(&self, epoch: u64, rows: usize) -> BatchFigures {
        let mut figures = BatchFigures::default();
        let mut at = self.rows_until(epoch);
        let mut open = (u64::MAX, 0, 0); // number, rows and longest row of a batch
        let close = |(number, rows, longest): (u64, u64, usize), figures: &mut BatchFigures| {
            if number < u64::MAX {
                figures.batches += 1;
                figures.slots += rows * self.seq(longest) as u64;
            }
        };
        for group in 0..self.order.groups() {
            for row in self.group(epoch, group, at).iter() {
                let tokens = row.iter().map(|place| self.row(*place).ids.len()).sum();
                if at / rows as u64 != open.0 {
                    close(open, &mut figures);
                    open = (at / rows as u64, 0, 0);
                }
                open = (open.0, open.1 + 1, open.2.max(tokens));
                figures.rows += 1;
                figures.tokens += tokens as u64;
                let trained = row.iter().map(|place| self.row(*place).trained_tokens());
                figures.trained_tokens += trained.sum::<usize>() as u64;
                at += 1;
            }
        }
        close(open, &mut figures);
        figures
    }

    /// What the batch rows of a range hold.
    fn places(&self, rows: Range<u64>) -> Vec<Vec<RowPlace>> {
        let end = self
            .total_rows()
            .map_or(rows.end, |total| rows.end.min(total));
        let mut places = Vec::with_capacity((rows.end - rows.start) as usize);
        let mut at = rows.start;
        while at < end {
            let (epoch, group, first) = self.locate(at);
            let held = self.group(epoch, group, first);
            let from = (at - first) as usize;
            let count = held.len().min(from + (end - at) as usize) - from;
            places.extend_from_slice(&held[from..from + count]);
            at += count as u64;
        }
        places
    }

    /// Epoch and group of a batch row, and the first row of that group.
    fn locate(&self, row: u64) -> (u64, u64, u64) {
        let mut number = match self.config.layout {
            Layout::Padded => row / self.order.len(),
            Layout::Packed => 0,
        };
        loop {
            let epoch = self.epoch(number);
            let end = *epoch.starts.last().expect("an end is there");
            if row < end {
                // Of groups without rows the last starts where the next one does.
                let group = epoch.starts.partition_point(|start| *start <= row) - 1;
                return (number, group as u64, epoch.starts[group]);
            }
            number += 1;
        }
    }

    /// The index of an epoch. A packed epoch's first row depends on the epochs before, each of which
    /// is packed once: other rows share a group in each, which takes a few more batch rows or fewer.
    /// 52,000 rows of Alpaca take 6 ms an epoch on two cores, so that the first batch of a resumed run
    /// waits 0.6 s in epoch 100.
    fn epoch(&self, number: u64) -> Arc<Epoch> {
        let groups = self.order.groups();
        let index = |first: u64, counts: Vec<u64>| {
            let mut at = first;
            let mut starts = vec![first];
            starts.extend(counts.into_iter().map(|count| {
                at += count;
                at
            }));
            Arc::new(Epoch { starts })
        };
        if self.config.layout == Layout::Padded {
            let counts = (0..groups).map(|group| self.order.group_len(group));
            return index(number * self.order.len(), counts.collect());
        }
        let mut known = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        while known.len() as u64 <= number {
            let epoch = known.len() as u64;
            let last = known.last().and_then(|last| last.starts.last());
            let first = last.copied().unwrap_or(0);
            let counts = (0..groups).into_par_iter().map(|group| {
                let places = self.order.group(epoch, group);
                self.packed(&places).len() as u64
            });
            known.push(index(first, counts.collect()));
        }
        known[number as usize].clone()
    }

    /// The batch rows of a group, the first of which is row `first` of the sequence.
    fn group(&self, epoch: u64, group: u64, first: u64) -> Packed {
        let lock = || self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |kept: &&Group| kept.epoch == epoch && kept.number == group;
        if let Some(kept) = lock().iter().find(is_it) {
            return kept.rows.clone();
        }
        let places = self.order.group(epoch, group);
        let rows = match self.config.layout {
            Layout::Padded if self.config.group_by_length => {
                self.by_length(places, epoch, group, first)
            }
            Layout::Padded => places.into_iter().map(|place| vec![place]).collect(),
            Layout::Packed => {
                let packed = self.packed(&places);
                let order = self.order.shuffle(epoch, group, 2, packed.len());
                let rows = order.into_iter().map(|at| {
                    let items = packed[at].iter();
                    items.map(|item| places[*item as usize]).collect()
                });
                rows.collect()
            }
        };
        let rows = Arc::new(rows);
        let mut kept = lock();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(Group {
            epoch,
            number: group,
            rows: Arc::clone(&rows),
        });
        rows
    }

    fn packed(&self, places: &[RowPlace]) -> Vec<Vec<u32>> {
        let lengths = places.iter().map(|place| self.row(*place).ids.len());
        best_fit(&lengths.collect::<Vec<_>>(), self.max_seq_len)
    }

    /// Rows of like lengths step by step, the steps in random order. Steps that reach into the
    /// groups before and behind get the longest rows, so that both halves are alike.
    fn by_length(
        &self,
        mut places: Vec<RowPlace>,
        epoch: u64,
        group: u64,
        first: u64,
    ) -> Vec<Vec<RowPlace>> {
        places.sort_by_key(|place| std::cmp::Reverse(self.row(*place).ids.len()));
        let step = self.step_rows;
        let before = first.next_multiple_of(step) - first;
        let before = places.len().min(before as usize);
        let behind = (places.len() - before) % step as usize;
        let (shared, whole) = places.split_at(before + behind);
        let steps: Vec<&[RowPlace]> = whole.chunks(step as usize).collect();
        let order = self.order.shuffle(epoch, group, 3, steps.len());
        let middle = order.into_iter().flat_map(|at| steps[at]);
        let all = shared[..before]
            .iter()
            .chain(middle)
            .chain(&shared[before..]);
        all.map(|place| vec![*place]).collect()
    }

    /// Length of a batch whose longest row has so many tokens.
    fn seq(&self, longest: usize) -> usize {
        let padded = longest.next_multiple_of(self.config.pad_to_multiple.max(1));
        padded.min(self.max_seq_len)
    }

    fn filled(&self, places: &[Vec<RowPlace>]) -> Batch {
        let len = |row: &Vec<RowPlace>| row.iter().map(|place| self.row(*place).ids.len()).sum();
        let longest = places.iter().map(len).max().unwrap_or(0);
        let seq = self.seq(longest);
        let mut batch = Batch::padded(places.len(), seq, self.end_of_text);
        for (number, segments) in places.iter().enumerate() {
            let end = (number + 1) * seq;
            let mut at = number * seq;
            for (segment, place) in segments.iter().enumerate() {
                let row = self.row(*place);
                let count = row.ids.len();
                batch.ids[at..at + count].copy_from_slice(&row.ids);
                // Padding goes on with the last segment.
                batch.segments[at..end].fill(segment as u32);
                for (position, slot) in batch.positions[at..end].iter_mut().enumerate() {
                    *slot = position as u32;
                }
                let next = row.ids.iter().zip(row.weights()).skip(1);
                for (slot, (id, weight)) in (at..).zip(next) {
                    batch.targets[slot] = *id;
                    batch.weights[slot] = weight;
                }
                at += count;
            }
            batch.lengths[number] = (at - number * seq) as u32;
        }
        batch
    }
}

impl BatchFigures {
    /// Share of the places that padding fills.
    pub fn padding_share(&self) -> f64 {
        1.0 - self.tokens as f64 / (self.slots as f64).max(1.0)
    }
}
