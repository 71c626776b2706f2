//! Texts and what a model has read of them: which tokens are in the cache, what is read next, what
//! happens where a text outgrows the context. It chooses no token.

use burn::tensor::Device;
use sinterlm_kernels::{FEW_ROWS, keep_threads_awake};

use super::Overflow;
use crate::batch::TokenBatch;
use crate::causal_lm::CausalLm;
use crate::context::ForwardCtx;
use crate::error::ModelError;
use crate::kv_cache::KvCache;

/// A model with texts of different lengths that grow, each token of which it reads once.
///
/// Rows are added, extended, cut back, copied and dropped; [`next_logits`](Self::next_logits) reads
/// whatever is unread. A row's logits do not depend on the other rows, on flex not in a single bit:
/// prompts of more than [`FEW_ROWS`] tokens are read one by one, everything else in passes of up to
/// that many tokens.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use sinterlm_config::Seed;
/// use sinterlm_model::{Decoder, Overflow, Preset};
///
/// let device = Device::flex();
/// let model = Preset::Tiny.config().init(Seed(0), &device);
/// let mut decoder = Decoder::new(&model, 2, 16, Overflow::Slide);
/// decoder.add(&[1, 2, 3])?;
/// decoder.add(&[4])?;
/// let first = decoder.next_logits()?;
/// decoder.push(1, &[5]);
/// let second = decoder.next_logits()?;
/// assert_eq!(second.row(0).len(), model.config().vocab_size);
/// # Ok::<(), sinterlm_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Decoder<'m, M> {
    model: &'m M,
    ctx: ForwardCtx,
    device: Device,
    cache: KvCache,
    texts: Vec<Text>,
    vocab_size: usize,
    overflow: Overflow,
}

#[derive(Clone, Debug)]
struct Text {
    ids: Vec<u32>,
    /// Place in `ids` of the first token that the model sees.
    first: usize,
    /// Place of the first token that it has not read.
    read: usize,
}

/// Logits of several tokens.
#[derive(Clone, Debug)]
pub struct Logits {
    values: Vec<f32>,
    vocab_size: usize,
}

impl Logits {
    /// The logits of one token, `[vocab]`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab_size..][..self.vocab_size]
    }
}

impl<'m, M: CausalLm> Decoder<'m, M> {
    /// A decoder without rows, with memory for `rows` of `capacity` tokens each; the model's context
    /// where that is shorter. `capacity` is the context that [`Overflow`] is about.
    pub fn new(model: &'m M, rows: usize, capacity: usize, overflow: Overflow) -> Self {
        let head = model.head();
        let capacity = capacity.clamp(1, model.max_seq_len());
        let mut cache = model.new_cache(rows, capacity);
        cache.select(&[]);
        Self {
            model,
            ctx: ForwardCtx::default(),
            device: head.linear.weight.device(),
            cache,
            texts: Vec::new(),
            vocab_size: head.vocab_size(),
            overflow,
        }
    }

    /// Whether a text can be read.
    ///
    /// # Errors
    /// [`ModelError::EmptyPrompt`], [`ModelError::TokenOutOfRange`], or under [`Overflow::Error`]
    /// [`ModelError::ContextFull`].
    pub fn check(&self, ids: &[u32]) -> Result<(), ModelError> {
        if ids.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let vocab_size = self.vocab_size;
        if let Some(&id) = ids.iter().find(|id| **id as usize >= vocab_size) {
            return Err(ModelError::TokenOutOfRange { id, vocab_size });
        }
        let context = self.cache.capacity();
        if self.overflow == Overflow::Error && ids.len() > context {
            return Err(ModelError::ContextFull {
                tokens: ids.len(),
                context,
            });
        }
        Ok(())
    }

    /// Adds a text as the last row and returns its number.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    ///
    /// # Panics
    /// If there are as many rows as the decoder was made for.
    pub fn add(&mut self, ids: &[u32]) -> Result<usize, ModelError> {
        self.check(ids)?;
        let row = self.cache.add_row();
        self.texts.push(Text {
            ids: ids.to_vec(),
            first: 0,
            read: 0,
        });
        Ok(row.expect("a decoder is made for as many rows as it is given"))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.texts.len()
    }

    /// The text of a row.
    pub fn ids(&self, row: usize) -> &[u32] {
        &self.texts[row].ids
    }

    /// Adds tokens to a row. They are ids of the model's vocabulary.
    pub fn push(&mut self, row: usize, ids: &[u32]) {
        self.texts[row].ids.extend_from_slice(ids);
    }

    /// Makes a row hold another text and keeps what was read of their common beginning.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); the row then holds what it held.
    pub fn set(&mut self, row: usize, ids: &[u32]) -> Result<(), ModelError> {
        self.check(ids)?;
        let common = self.ids(row).iter().zip(ids).take_while(|(a, b)| a == b);
        let common = common.count();
        self.truncate(row, common);
        self.push(row, &ids[common..]);
        Ok(())
    }

    /// Cuts a row back to its first `len` tokens.
    pub fn truncate(&mut self, row: usize, len: usize) {
        let text = &mut self.texts[row];
        text.ids.truncate(len);
        if text.first > 0 && len <= text.first {
            (text.first, text.read) = (0, 0);
        }
        text.read = text.read.min(len);
        self.cache.truncate(row, text.read - text.first);
    }

    /// The rows become those named, in that order: a row left out is dropped, one named again copied.
    ///
    /// # Panics
    /// If there is no such row, or there are more than the decoder was made for.
    pub fn select(&mut self, rows: &[usize]) {
        self.cache.select(rows);
        self.texts = rows.iter().map(|&row| self.texts[row].clone()).collect();
    }

    /// Adds a copy of a row as the last one.
    pub fn copy_row(&mut self, row: usize) {
        let rows: Vec<usize> = (0..self.rows()).chain([row]).collect();
        self.select(&rows);
    }

    /// Tokens that fit into a row's context behind its text.
    pub fn room(&self, row: usize) -> usize {
        let text = &self.texts[row];
        (self.cache.capacity() + text.first).saturating_sub(text.ids.len())
    }

    /// Whether a row's last token has no room left in the context.
    pub fn is_full(&self, row: usize) -> bool {
        let text = &self.texts[row];
        text.ids.len() - text.first > self.cache.capacity()
    }

    /// Reads what is unread and returns the logits that follow the last token of each row.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] where a row outgrew the context under [`Overflow::Error`].
    pub fn next_logits(&mut self) -> Result<Logits, ModelError> {
        for row in 0..self.rows() {
            self.prepare(row, 1)?;
        }
        let unread = |row: usize| self.texts[row].ids.len() - self.texts[row].read;
        let mut order: Vec<usize> = (0..self.rows()).collect();
        order.sort_by_key(|&row| unread(row));
        let mut passes: Vec<Vec<usize>> = Vec::new();
        for row in order {
            // The pass is as wide as its longest row, which is the newest.
            match passes.last_mut() {
                Some(pass) if (pass.len() + 1) * unread(row) <= FEW_ROWS => pass.push(row),
                _ => passes.push(vec![row]),
            }
        }
        let mut values = vec![
            0.0;
            if passes.len() > 1 {
                self.rows() * self.vocab_size
            } else {
                0
            }
        ];
        for rows in &passes {
            let found = self.pass(rows, 1);
            if passes.len() == 1 && rows.is_sorted() {
                values = found;
                break;
            }
            values.resize(self.rows() * self.vocab_size, 0.0);
            for (found, row) in found.chunks_exact(self.vocab_size).zip(rows) {
                values[row * self.vocab_size..][..self.vocab_size].copy_from_slice(found);
            }
        }
        Ok(Logits {
            values,
            vocab_size: self.vocab_size,
        })
    }

    /// Reads what is unread of a row and returns the logits that follow each of its last `count`
    /// tokens.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] where the row outgrew the context under [`Overflow::Error`].
    ///
    /// # Panics
    /// If the row has fewer tokens.
    pub fn last_logits(&mut self, row: usize, count: usize) -> Result<Logits, ModelError> {
        self.prepare(row, count)?;
        Ok(Logits {
            values: self.pass(&[row], count),
            vocab_size: self.vocab_size,
        })
    }

    /// Makes room for what is unread, at least the last `count` tokens.
    fn prepare(&mut self, row: usize, count: usize) -> Result<(), ModelError> {
        let context = self.cache.capacity();
        let text = &mut self.texts[row];
        let tokens = text.ids.len();
        assert!(
            (1..=tokens).contains(&count),
            "logits: row {row} has {tokens} tokens"
        );
        if tokens - text.first > context {
            if self.overflow == Overflow::Error {
                return Err(ModelError::ContextFull { tokens, context });
            }
            text.first = tokens - (context / 2).max(count);
            text.read = text.first;
        }
        text.read = text.read.min(tokens - count);
        self.cache.truncate(row, text.read - text.first);
        Ok(())
    }

    /// Reads the unread tokens of some rows; logits of the last `count` tokens of each.
    fn pass(&mut self, rows: &[usize], count: usize) -> Vec<f32> {
        self.cache.activate(rows);
        let unread = |&row: &usize| {
            let text = &self.texts[row];
            (text.read - text.first, &text.ids[text.read..])
        };
        let batch: Vec<(usize, &[u32])> = rows.iter().map(unread).collect();
        let tokens = TokenBatch::ragged(&batch, &self.device);
        let (model, ctx, cache) = (self.model, &self.ctx, &mut self.cache);
        let logits = keep_threads_awake(&self.device, || {
            if count == 1 {
                return model.last_logits(&tokens, ctx, Some(cache));
            }
            let hidden = model.hidden(&tokens, ctx, Some(cache));
            let [_, seq, d_model] = hidden.dims();
            let hidden = hidden
                .narrow(1, seq - count, count)
                .reshape([count, d_model]);
            model.logits(hidden, ctx)
        });
        for &row in rows {
            self.texts[row].read = self.texts[row].ids.len();
        }
        let logits = logits.into_data().convert::<f32>();
        logits.try_into_vec().expect("just converted")
    }
}
