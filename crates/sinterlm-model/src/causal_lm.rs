//! What training, evaluation and generation ask of a language model.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::batch::TokenBatch;
use crate::context::ForwardCtx;
use crate::head::Head;
use crate::kv_cache::KvCache;
use crate::row_tokens::RowTokens;

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
        let last = RowTokens::new(&tokens.layout.last_tokens(), tokens.dims());
        last.select(self.hidden(tokens, ctx, cache))
    }

    /// Activations of one token of each row, that at `columns[row]`, `[batch, d_model]`.
    ///
    /// A decoder may compute no more of its last block than these need. Then dropout draws other
    /// masks behind that block's attention than a pass over all tokens does.
    ///
    /// # Panics
    /// If there is not one column below `seq` for each row.
    fn hidden_at(&self, tokens: &TokenBatch, columns: &[u32], ctx: &ForwardCtx) -> Tensor<2> {
        let read = RowTokens::new(columns, tokens.dims());
        read.select(self.hidden(tokens, ctx, None))
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
