//! The layers that hold weights: linear, embedding and norm.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_kernels as kernels;

use crate::context::ForwardCtx;
use crate::init::{Init, Maker};
use crate::low_rank::LowRank;
use crate::weight::Weight;

/// `y = x Wᵀ + b`, with the weight stored `[d_out, d_in]` as in published model files, and low-rank
/// deltas of `W` where adapters put some.
///
/// Every matrix product with weights goes through this one type, so that adapters and packed weights
/// have one place to act.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[d_out, d_in]`.
    pub weight: Weight,
    /// `[d_out]`, if any.
    pub bias: Option<Param<Tensor<1>>>,
    /// Added to the weight, each where [`ForwardCtx::adapters`] includes it. None without adapters.
    pub deltas: Vec<LowRank>,
}

impl Linear {
    /// A layer of a weight alone.
    pub fn of_weight(weight: Weight) -> Self {
        Self {
            weight,
            bias: None,
            deltas: Vec::new(),
        }
    }

    pub(crate) fn make<E>(
        maker: &mut Maker<'_, E>,
        path: &str,
        [d_out, d_in]: [usize; 2],
        std: f64,
        bias: bool,
    ) -> Result<Self, E> {
        let init = Init::Normal { std };
        let weight = maker.weight(format!("{path}.weight"), [d_out, d_in], init)?;
        let bias = bias
            .then(|| maker.param(format!("{path}.bias"), [d_out], Init::Zeros))
            .transpose()?;
        Ok(Self {
            bias,
            ..Self::of_weight(weight)
        })
    }

    /// Applies the layer: `[.., d_in]` to `[.., d_out]`, in the dtype of `x`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>, ctx: &ForwardCtx) -> Tensor<D> {
        let precision = ctx.precision.matmul();
        let bias = self.bias.as_ref().map(Param::val);
        let deltas: Vec<_> = self.deltas_in(ctx).collect();
        if deltas.is_empty() {
            return self.weight.product(x, bias, precision);
        }
        let base = self.weight.product(x.clone(), bias, precision);
        let add = |sum, delta: &LowRank| sum + delta.product(x.clone(), precision);
        deltas.into_iter().fold(base, add)
    }

    /// The deltas that a forward pass adds.
    pub(crate) fn deltas_in<'a>(
        &'a self,
        ctx: &'a ForwardCtx,
    ) -> impl Iterator<Item = &'a LowRank> {
        let deltas = self.deltas.iter();
        deltas.filter(|delta| ctx.adapters.include(&delta.adapter))
    }
}

/// A table with one row per token or position, `[rows, d_model]`.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, d_model]`.
    pub weight: Weight,
}

impl Embedding {
    pub(crate) fn make<E>(
        maker: &mut Maker<'_, E>,
        path: &str,
        shape: [usize; 2],
        std: f64,
    ) -> Result<Self, E> {
        let weight = maker.weight(format!("{path}.weight"), shape, Init::Normal { std })?;
        Ok(Self { weight })
    }

    /// Looks up rows: `[batch, seq]` to `[batch, seq, d_model]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        match &self.weight {
            Weight::Dense(rows) => kernels::embedding(rows.val(), ids),
            Weight::Packed(packed) => {
                let trains = ids.device().is_autodiff();
                let rows = packed.matrix.rows(ids);
                if trains { rows.autodiff() } else { rows }
            }
        }
    }
}

/// How a [`Norm`] normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Mean and variance, with weight and bias (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
    #[default]
    LayerNorm,
    /// Root mean square, with a weight alone (Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>).
    RmsNorm,
}

/// Normalisation over the last axis: layer norm, or root mean square norm without a bias.
#[derive(Module, Debug)]
pub struct Norm {
    /// As wide as the last axis.
    pub weight: Param<Tensor<1>>,
    /// As wide as the last axis; layer norm's alone.
    pub bias: Option<Param<Tensor<1>>>,
    eps: f64,
    #[module(skip)]
    kind: NormKind,
}

impl Norm {
    pub(crate) fn make<E>(
        maker: &mut Maker<'_, E>,
        path: &str,
        kind: NormKind,
        width: usize,
        eps: f64,
    ) -> Result<Self, E> {
        let weight = maker.param(format!("{path}.weight"), [width], Init::Ones)?;
        let bias = (kind == NormKind::LayerNorm)
            .then(|| maker.param(format!("{path}.bias"), [width], Init::Zeros))
            .transpose()?;
        Ok(Self {
            weight,
            bias,
            eps,
            kind,
        })
    }

    /// Normalises the last axis, computed in f32.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.val();
        match self.kind {
            NormKind::LayerNorm => {
                let bias = self.bias.as_ref().map(Param::val);
                kernels::layer_norm(x, weight, bias, self.eps)
            }
            NormKind::RmsNorm => kernels::rms_norm(x, weight, self.eps),
        }
    }
}
