//! A language model with a head of another kind: classes, a reward, values.

use std::convert::Infallible;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_config::Seed;

use crate::batch::TokenBatch;
use crate::causal_lm::CausalLm;
use crate::context::ForwardCtx;
use crate::head::Head;
use crate::init::{Maker, ParamSpec, Values};
use crate::kv_cache::KvCache;
use crate::linear::Linear;
use crate::reading::Pool;

/// A decoder with a second head on its activations: one score for each class, or a single one for a
/// reward or a value. It is still the language model that it wraps.
///
/// Parameters are those of the model below `lm.` and `score.weight`.
#[derive(Module, Debug)]
pub struct WithHead<M: Module + ModuleDisplay> {
    /// The language model.
    pub lm: M,
    /// `[scores, d_model]`.
    pub score: Linear,
}

impl<M: CausalLm + ModuleDisplay> WithHead<M> {
    /// Standard deviation of the first weights, a tenth of that of the models around it: states behind a
    /// trained norm may be ten times as large as an untrained one's, and first scores should stay near 0,
    /// where all classes are as likely.
    const INIT_STD: f64 = 0.002;

    /// Puts a freshly drawn head for `scores` outputs, without a bias, beside the model's own. A
    /// classifier has no use for that: see [`Gpt::without_head`](crate::Gpt::without_head).
    pub fn init(lm: M, scores: usize, seed: Seed, device: &Device) -> Self {
        let d_model = lm.head().linear.weight.dims()[1];
        let maker = &mut Maker {
            device,
            values: &mut |spec: &ParamSpec| {
                let values = TensorData::new(spec.draw(seed), spec.shape.clone());
                Ok::<_, Infallible>(Values::Numbers(values))
            },
        };
        match Linear::make(maker, "score", [scores, d_model], Self::INIT_STD, false) {
            Ok(score) => Self { lm, score },
            Err(never) => match never {},
        }
    }

    /// The scores at every token, `[batch, seq, scores]`: values, or rewards of each step.
    pub fn token_scores(&self, tokens: &TokenBatch, ctx: &ForwardCtx) -> Tensor<3> {
        self.score.forward(self.lm.hidden(tokens, ctx, None), ctx)
    }

    /// The scores of each row, `[batch, scores]`: classes of a text, or its reward.
    ///
    /// Padding behind a row's end changes nothing, but for [`Pool::LastColumn`].
    pub fn scores(&self, tokens: &TokenBatch, pool: Pool, ctx: &ForwardCtx) -> Tensor<2> {
        self.score.forward(pool.read(&self.lm, tokens, ctx), ctx)
    }
}

impl<M: CausalLm + ModuleDisplay> CausalLm for WithHead<M> {
    fn hidden(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        self.lm.hidden(tokens, ctx, cache)
    }

    fn hidden_at(&self, tokens: &TokenBatch, columns: &[u32], ctx: &ForwardCtx) -> Tensor<2> {
        self.lm.hidden_at(tokens, columns, ctx)
    }

    fn head(&self) -> Head {
        self.lm.head()
    }

    fn max_seq_len(&self) -> usize {
        self.lm.max_seq_len()
    }

    fn new_cache(&self, batch: usize, capacity: usize) -> KvCache {
        self.lm.new_cache(batch, capacity)
    }
}
