//! The feed-forward half of a block.

use burn::module::Module;
use burn::tensor::Tensor;
use sinterlm_kernels::{GeluKind, gelu};

use super::config::{Activation, GptConfig};
use crate::context::ForwardCtx;
use crate::init::Maker;
use crate::linear::Linear;

#[derive(Module, Debug)]
pub(super) struct Mlp {
    up: Linear,
    down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(super) fn make<E>(
        maker: &mut Maker<'_, E>,
        config: &GptConfig,
        path: &str,
        std: f64,
    ) -> Result<Self, E> {
        let (d_model, d_ff) = (config.d_model, config.d_ff());
        Ok(Self {
            up: Linear::make(maker, &format!("{path}.up"), [d_ff, d_model], std, true)?,
            down: Linear::make(
                maker,
                &format!("{path}.down"),
                [d_model, d_ff],
                config.residual_std(std),
                true,
            )?,
            activation: config.activation,
        })
    }

    pub(super) fn forward(&self, x: Tensor<3>, layer: usize, ctx: &ForwardCtx) -> Tensor<3> {
        let kind = match self.activation {
            Activation::GeluTanh => GeluKind::Tanh,
            Activation::Gelu => GeluKind::Exact,
        };
        let see = |name: &str, x: Tensor<3>| {
            ctx.see(|| format!("blocks.{layer}.mlp.{name}"), &x);
            x
        };
        let up = see("up", self.up.forward(x, ctx));
        see("down", self.down.forward(gelu(up, kind), ctx))
    }
}
