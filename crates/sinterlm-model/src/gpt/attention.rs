//! Multi-head causal self-attention.

use burn::module::Module;
use burn::tensor::Tensor;
use sinterlm_kernels::{AttentionOptions, causal_attention};

use super::block::BlockCtx;
use super::config::GptConfig;
use crate::init::Maker;
use crate::kv_cache::KvCache;
use crate::linear::Linear;

#[derive(Module, Debug)]
pub(super) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    n_heads: usize,
}

impl Attention {
    pub(super) fn make<E>(
        maker: &mut Maker<'_, E>,
        config: &GptConfig,
        path: &str,
        std: f64,
    ) -> Result<Self, E> {
        let d_model = config.d_model;
        let mut linear = |name: &str, std: f64, bias: bool| {
            Linear::make(
                maker,
                &format!("{path}.{name}"),
                [d_model, d_model],
                std,
                bias,
            )
        };
        Ok(Self {
            q: linear("q", std, config.qkv_bias)?,
            k: linear("k", std, config.qkv_bias)?,
            v: linear("v", std, config.qkv_bias)?,
            out: linear("out", config.residual_std(std), true)?,
            n_heads: config.n_heads,
        })
    }

    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        layer: usize,
        dropout_key: Option<u64>,
        ctx: &BlockCtx<'_>,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let [batch, seq, d_model] = x.dims();
        let heads = |x: Tensor<3>| {
            // [batch, seq, heads, head_dim] -> [batch, heads, seq, head_dim], a view
            x.reshape([batch, seq, self.n_heads, d_model / self.n_heads])
                .swap_dims(1, 2)
        };
        let q = heads(self.q.forward(x.clone(), ctx.forward));
        let k = heads(self.k.forward(x.clone(), ctx.forward));
        let v = heads(self.v.forward(x, ctx.forward));
        let attended = if let Some(cache) = cache {
            cache.attend(layer, q, k, v, &AttentionOptions::default())
        } else {
            let p = ctx.config.dropout;
            let dropout = dropout_key.filter(|_| p > 0.0).map(|key| (p, key));
            let options = AttentionOptions {
                dropout,
                precision: ctx.forward.precision.matmul(),
                ..AttentionOptions::default()
            };
            causal_attention(q, k, v, ctx.layout, &options)
        };
        // [batch, heads, seq, head_dim] -> [batch, seq, d_model]
        self.out.forward(
            attended.swap_dims(1, 2).reshape([batch, seq, d_model]),
            ctx.forward,
        )
    }
}
