//! Multi-head causal self-attention, with grouped key heads, rotation and window where asked for.

use burn::module::Module;
use burn::tensor::Tensor;
use sinterlm_kernels::{AttentionOptions, attention_at, causal_attention, rope};

use super::block_ctx::BlockCtx;
use super::config::GptConfig;
use super::rope::RopeTables;
use crate::init::Maker;
use crate::kv_cache::KvCache;
use crate::linear::{Linear, Norm, NormKind};

#[derive(Module, Debug)]
pub(super) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
}

impl Attention {
    pub(super) fn make<E>(
        maker: &mut Maker<'_, E>,
        config: &GptConfig,
        path: &str,
        std: f64,
    ) -> Result<Self, E> {
        let d_model = config.d_model;
        let [width, kv_width] = config.attention_widths();
        let mut linear = |name: &str, shape: [usize; 2], std: f64, bias: bool| {
            Linear::make(maker, &format!("{path}.{name}"), shape, std, bias)
        };
        let q = linear("q", [width, d_model], std, config.qkv_bias)?;
        let k = linear("k", [kv_width, d_model], std, config.qkv_bias)?;
        let v = linear("v", [kv_width, d_model], std, config.qkv_bias)?;
        let out_std = config.residual_std(std);
        let out = linear("out", [d_model, width], out_std, config.attn_out_bias)?;
        let mut norm = |name: &str| {
            let (path, width) = (format!("{path}.{name}"), config.head_dim());
            let norm = |()| Norm::make(maker, &path, NormKind::RmsNorm, width, config.norm_eps);
            config.qk_norm.then_some(()).map(norm).transpose()
        };
        Ok(Self {
            q,
            k,
            v,
            out,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
        })
    }

    pub(super) fn map_linears(
        mut self,
        path: &str,
        map: &mut impl FnMut(&str, Linear) -> Linear,
    ) -> Self {
        self.q = map(&format!("{path}.q"), self.q);
        self.k = map(&format!("{path}.k"), self.k);
        self.v = map(&format!("{path}.v"), self.v);
        self.out = map(&format!("{path}.out"), self.out);
        self
    }

    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        layer: usize,
        dropout_key: Option<u64>,
        ctx: &BlockCtx<'_>,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let config = ctx.config;
        let heads = |x: Tensor<3>, count: usize, norm: Option<&Norm>| {
            let [batch, seq, _] = x.dims();
            // [batch, seq, heads, head_dim] -> [batch, heads, seq, head_dim], a view
            let x = x.reshape([batch, seq, count, config.head_dim()]);
            let x = match norm {
                Some(norm) => norm.forward(x),
                None => x,
            };
            x.swap_dims(1, 2)
        };
        let rotated = |x: Tensor<4>, tables: Option<RopeTables>| match tables {
            Some((cos, sin)) => rope(x, cos, sin),
            None => x,
        };
        let see = |name: &str, x: Tensor<3>| {
            ctx.forward
                .see(|| format!("blocks.{layer}.attn.{name}"), &x);
            x
        };
        let (n_heads, n_kv_heads) = (config.n_heads, config.n_kv_heads());
        let q = see("q", self.q.forward(ctx.wanted(x.clone()), ctx.forward));
        let q = heads(q, n_heads, self.q_norm.as_ref());
        let [batch, _, wanted, _] = q.dims();
        let q = rotated(q, ctx.wanted_rope());
        let k = see("k", self.k.forward(x.clone(), ctx.forward));
        let k = rotated(heads(k, n_kv_heads, self.k_norm.as_ref()), ctx.rope.clone());
        let v = see("v", self.v.forward(x, ctx.forward));
        let v = heads(v, n_kv_heads, None);
        let dropout = dropout_key.filter(|_| ctx.dropout > 0.0);
        let options = AttentionOptions {
            dropout: dropout.map(|key| (ctx.dropout, key)),
            precision: ctx.forward.precision.matmul(),
            softcap: (config.attn_softcap > 0.0).then_some(config.attn_softcap),
            window: config.window_of(layer),
            ..AttentionOptions::default()
        };
        let attended = match (cache, ctx.read) {
            (Some(cache), _) => cache.attend(layer, q, k, v, &options),
            (None, Some(read)) => attention_at(q, k, v, read.columns(), ctx.layout, &options),
            (None, None) => causal_attention(q, k, v, ctx.layout, &options),
        };
        // [batch, heads, wanted, head_dim] -> [batch, wanted, heads * head_dim]
        let merged = attended
            .swap_dims(1, 2)
            .reshape([batch, wanted, n_heads * config.head_dim()]);
        let merged = see("heads", merged);
        see("out", self.out.forward(merged, ctx.forward))
    }
}
