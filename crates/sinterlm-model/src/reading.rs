//! How a head of classes or rewards reads a batch: which token of a row, and how rows are padded.

use burn::tensor::{Device, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_kernels::RowLayout;

use crate::batch::TokenBatch;
use crate::causal_lm::CausalLm;
use crate::context::ForwardCtx;

/// Which of a row's tokens a head reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The last token in front of the padding, which has seen the whole row; what `transformers` reads.
    #[default]
    Last,
    /// The first token. A causal decoder has seen nothing else there.
    First,
    /// The mean of all tokens in front of the padding.
    Mean,
    /// The last column, padding included, which is read as text (Raschka 2024, "Build a Large
    /// Language Model", chapter 6). The scores depend on how far a row is padded.
    LastColumn,
}

/// How rows are made into a batch and read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which token is read.
    pub pool: Pool,
    /// Id of padding. `transformers` takes the last other id for a row's end, so it should be one
    /// that ends no row.
    pub pad_id: u32,
    /// Columns of a batch whose rows are shorter; 0 pads to the longest row only. For
    /// [`Pool::LastColumn`], the longest row of all that are to be read alike.
    pub min_seq: usize,
    /// Tokens of a text that are read at most, as in training; 0 = as many as the model reads.
    pub max_tokens: usize,
}

/// Tokens of a batch of rows that are only read, padding included.
const TOKENS_AT_ONCE: usize = 4096;

impl Reading {
    /// Numbers of rows in batches for reading them all: rows of like lengths together, from the
    /// shortest to the longest, so that little is padded. A batch has up to 4,096 tokens, padding
    /// included; a longer row is a batch of its own.
    pub fn batches<R: AsRef<[u32]>>(&self, rows: &[R]) -> Vec<Vec<usize>> {
        let len = |row: usize| rows[row].as_ref().len();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| len(row));
        let mut batches = Vec::new();
        let mut left = &order[..];
        while !left.is_empty() {
            // The longest of those that are taken is the last one.
            let fits =
                |count: &usize| count * len(left[count - 1]).max(self.min_seq) <= TOKENS_AT_ONCE;
            let count = (1..=left.len()).take_while(fits).last().unwrap_or(1);
            let (batch, rest) = left.split_at(count);
            batches.push(batch.to_vec());
            left = rest;
        }
        batches
    }

    /// A batch of rows, each followed by padding.
    ///
    /// # Panics
    /// If there is no token at all.
    pub fn batch<R: AsRef<[u32]>>(&self, rows: &[R], device: &Device) -> TokenBatch {
        let lengths: Vec<u32> = rows.iter().map(|row| row.as_ref().len() as u32).collect();
        let longest = lengths.iter().max().map_or(0, |longest| *longest as usize);
        let seq = longest.max(self.min_seq);
        assert!(longest > 0, "a batch needs a token");
        let mut ids = vec![self.pad_id; rows.len() * seq];
        for (padded, row) in ids.chunks_exact_mut(seq).zip(rows) {
            let row = row.as_ref();
            padded[..row.len()].copy_from_slice(row);
        }
        let positions: Vec<u32> = (0..rows.len()).flat_map(|_| 0..seq as u32).collect();
        let layout = RowLayout {
            lengths,
            ..RowLayout::dense(rows.len(), seq)
        };
        TokenBatch::new(&ids, &positions, layout, device)
    }
}

impl Pool {
    /// What a head reads of each row, `[batch, d_model]`.
    pub(crate) fn read<M: CausalLm>(
        self,
        lm: &M,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
    ) -> Tensor<2> {
        let layout = &tokens.layout;
        match self {
            Self::Last => lm.hidden_at(tokens, &layout.last_tokens(), ctx),
            Self::First => lm.hidden_at(tokens, &vec![0; layout.rows], ctx),
            Self::LastColumn => {
                let last = vec![layout.seq as u32 - 1; layout.rows];
                lm.hidden_at(&tokens.with_padding_read(), &last, ctx)
            }
            Self::Mean => {
                let hidden = lm.hidden(tokens, ctx, None);
                let [batch, seq, d_model] = hidden.dims();
                let shares: Vec<f32> = layout
                    .lengths
                    .iter()
                    .flat_map(|&length| {
                        let length = length.max(1);
                        let share = 1.0 / length as f32;
                        (0..seq as u32).map(move |at| if at < length { share } else { 0.0 })
                    })
                    .collect();
                let shares = TensorData::new(shares, [batch, 1, seq]);
                let shares = Tensor::<3>::from_data(shares, &hidden.device());
                shares.matmul(hidden).reshape([batch, d_model])
            }
        }
    }
}
