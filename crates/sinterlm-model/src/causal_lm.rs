//! What training, evaluation and generation ask of a language model.

use burn::module::Module;
use burn::tensor::Tensor;
use sinterlm_kernels as kernels;

use crate::batch::TokenBatch;
use crate::context::ForwardCtx;
use crate::kv_cache::KvCache;

/// The output projection, handed to the loss so that logits need never exist as a whole.
#[derive(Clone, Debug)]
pub struct Head {
    /// `[vocab, d_model]`.
    pub weight: Tensor<2>,
    /// Soft cap `c` on the logits, `c·tanh(logit/c)`, if any.
    pub softcap: Option<f32>,
}

/// A decoder that predicts the next token.
pub trait CausalLm: Module {
    /// Activations after the final norm, `[batch, seq, d_model]`, f32.
    ///
    /// With a cache, the tokens continue what it holds and are added to it.
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

    /// Logits of the last position of each row, `[batch, vocab]`; for generation.
    fn last_logits(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        let hidden = self.hidden(tokens, ctx, cache);
        let [batch, seq, d_model] = hidden.dims();
        let last = hidden
            .slice([0..batch, seq - 1..seq])
            .reshape([batch, d_model]);
        let head = self.head();
        let logits = kernels::linear(last, head.weight, None, ctx.precision.matmul());
        match head.softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }
}
