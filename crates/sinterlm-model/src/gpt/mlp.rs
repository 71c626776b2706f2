//! The feed-forward half of a block.

use burn::module::Module;
use burn::tensor::Tensor;
use sinterlm_kernels::{GeluKind, gelu, relu_squared, swiglu};

use super::config::{Activation, GptConfig};
use crate::context::ForwardCtx;
use crate::init::Maker;
use crate::linear::Linear;

#[derive(Module, Debug)]
pub(super) struct Mlp {
    gate: Option<Linear>,
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
        let (d_model, d_ff, bias) = (config.d_model, config.d_ff(), config.mlp_bias);
        let mut linear = |name: &str, shape: [usize; 2], std: f64| {
            Linear::make(maker, &format!("{path}.{name}"), shape, std, bias)
        };
        let gate = config
            .is_gated()
            .then(|| linear("gate", [d_ff, d_model], std));
        Ok(Self {
            gate: gate.transpose()?,
            up: linear("up", [d_ff, d_model], std)?,
            down: linear("down", [d_model, d_ff], config.residual_std(std))?,
            activation: config.activation,
        })
    }

    pub(super) fn map_linears(
        mut self,
        path: &str,
        map: &mut impl FnMut(&str, Linear) -> Linear,
    ) -> Self {
        self.gate = self.gate.map(|gate| map(&format!("{path}.gate"), gate));
        self.up = map(&format!("{path}.up"), self.up);
        self.down = map(&format!("{path}.down"), self.down);
        self
    }

    pub(super) fn forward(&self, x: Tensor<3>, layer: usize, ctx: &ForwardCtx) -> Tensor<3> {
        let see = |name: &str, x: Tensor<3>| {
            ctx.see(|| format!("blocks.{layer}.mlp.{name}"), &x);
            x
        };
        let up = see("up", self.up.forward(x.clone(), ctx));
        let fed = match (self.activation, &self.gate) {
            (Activation::GeluTanh, _) => gelu(up, GeluKind::Tanh),
            (Activation::Gelu, _) => gelu(up, GeluKind::Exact),
            (Activation::ReluSquared, _) => relu_squared(up),
            (Activation::Swiglu, gate) => {
                let gate = gate.as_ref().expect("`make` gives a gated layer its gate");
                swiglu(see("gate", gate.forward(x, ctx)), up)
            }
        };
        see("down", self.down.forward(fed, ctx))
    }
}
