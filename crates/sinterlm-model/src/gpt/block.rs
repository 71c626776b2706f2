//! One pre-norm transformer block.

use burn::module::Module;
use burn::tensor::Tensor;

use super::attention::Attention;
use super::block_ctx::BlockCtx;
use super::config::GptConfig;
use super::mlp::Mlp;
use crate::checkpointing::Checkpointing;
use crate::context::{ForwardCtx, dropout};
use crate::init::Maker;
use crate::kv_cache::KvCache;
use crate::linear::{Linear, Norm};
use crate::params::has_trainable;

#[derive(Module, Debug)]
pub(super) struct Block {
    norm_1: Norm,
    attn: Attention,
    norm_2: Norm,
    mlp: Mlp,
}

impl Block {
    pub(super) fn make<E>(
        maker: &mut Maker<'_, E>,
        config: &GptConfig,
        path: &str,
        std: f64,
    ) -> Result<Self, E> {
        let norm = |maker: &mut Maker<'_, E>, name: &str| {
            let path = format!("{path}.{name}");
            Norm::make(maker, &path, config.norm, config.d_model, config.norm_eps)
        };
        Ok(Self {
            norm_1: norm(maker, "norm_1")?,
            attn: Attention::make(maker, config, &format!("{path}.attn"), std)?,
            norm_2: norm(maker, "norm_2")?,
            mlp: Mlp::make(maker, config, &format!("{path}.mlp"), std)?,
        })
    }

    pub(super) fn map_linears(
        mut self,
        path: &str,
        map: &mut impl FnMut(&str, Linear) -> Linear,
    ) -> Self {
        self.attn = self.attn.map_linears(&format!("{path}.attn"), map);
        self.mlp = self.mlp.map_linears(&format!("{path}.mlp"), map);
        self
    }

    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        layer: usize,
        ctx: &BlockCtx<'_>,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let p = ctx.dropout;
        let site = |n: u64| ctx.forward.site_key(1 + 3 * layer as u64 + n);
        let see = |name: &str, x: &Tensor<3>| {
            ctx.forward.see(|| format!("blocks.{layer}{name}"), x);
        };
        let normed = self.norm_1.forward(x.clone());
        see(".norm_1", &normed);
        let attended = self.attn.forward(normed, layer, site(0), ctx, cache);
        let x = ctx.wanted(x) + dropout(attended, p, site(1));
        let normed = self.norm_2.forward(x.clone());
        see(".norm_2", &normed);
        let fed = self.mlp.forward(normed, layer, ctx.forward);
        let x = x + dropout(fed, p, site(2));
        see("", &x);
        x
    }

    /// [`forward`](Self::forward) that keeps no activation but `x` and runs again in the backward
    /// pass. Dropout draws the same masks then: they are keyed by site. A frozen block behind which
    /// nothing is trained has no backward pass, so that it keeps nothing either way.
    pub(super) fn checkpointed(
        &self,
        x: Tensor<3>,
        layer: usize,
        ctx: &BlockCtx<'_>,
        checkpointing: &Checkpointing,
    ) -> Tensor<3> {
        if !x.is_tracked() && !has_trainable(self) {
            return self.forward(x, layer, ctx, None);
        }
        let input = x.clone().without_autodiff();
        let output = self.valid().forward(input, layer, ctx, None);
        let block = self.clone();
        let (layout, config, rope) = (ctx.layout.clone(), ctx.config.clone(), ctx.rope.clone());
        let (dropout, read) = (ctx.dropout, ctx.read.cloned());
        let forward = ForwardCtx {
            checkpointing: None,
            probe: None, // it has seen this block already
            ..ctx.forward.clone()
        };
        checkpointing.part(output, move || {
            let ctx = BlockCtx {
                forward: &forward,
                layout: &layout,
                config: &config,
                rope,
                dropout,
                read: read.as_ref(),
            };
            block.forward(x, layer, &ctx, None)
        })
    }
}
