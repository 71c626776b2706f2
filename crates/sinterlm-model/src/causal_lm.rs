//! What training, evaluation and generation ask of a language model.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

use crate::batch::TokenBatch;
use crate::context::ForwardCtx;
use crate::head::Head;
use crate::kv_cache::KvCache;

/// A decoder that predicts the next token.
pub trait CausalLm: Module {
    /// Activations after the final norm, `[batch, seq, d_model]`, f32.
    ///
    /// With a cache, the tokens continue what its active rows hold and are added to it: the first
    /// `tokens.layout.lengths` of each row, at the positions that `tokens` gives.
    fn hidden(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3>;

    /// The output projection.
    fn head(&self) -> Head;

    /// Longest row that the model can read.
    fn max_seq_len(&self) -> usize;

    /// An empty cache for `batch` rows of up to `capacity` tokens.
    fn new_cache(&self, batch: usize, capacity: usize) -> KvCache;

    /// Logits of activations, `[rows, d_model]` to `[rows, vocab]`; for generation.
    fn logits(&self, hidden: Tensor<2>, ctx: &ForwardCtx) -> Tensor<2> {
        self.head().logits(hidden, ctx)
    }

    /// Activations of the last token of each row, `[batch, d_model]`, whatever padding follows it.
    fn last_hidden(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        let hidden = self.hidden(tokens, ctx, cache);
        let [batch, seq, d_model] = hidden.dims();
        let last: Vec<i32> = (0..batch)
            .map(|row| (row * seq) as i32 + tokens.layout.lengths[row].max(1) as i32 - 1)
            .collect();
        let last = Tensor::<1, Int>::from_data(TensorData::new(last, [batch]), &hidden.device());
        let hidden = hidden.reshape([batch * seq, d_model]);
        if seq == 1 {
            hidden
        } else {
            hidden.select(0, last)
        }
    }

    /// Logits of the last token of each row, `[batch, vocab]`; for generation.
    fn last_logits(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        self.logits(self.last_hidden(tokens, ctx, cache), ctx)
    }
}
