//! A low-rank delta beside a weight. Making, merging, saving and loading adapters is left to others.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use sinterlm_kernels::{MatmulPrecision, linear};

/// `scale · lora_b · lora_a`, added to a weight without ever being formed: the input meets `lora_a`
/// first (Hu et al. 2021, <https://arxiv.org/abs/2106.09685>, section 4.1).
#[derive(Module, Debug)]
pub struct LowRank {
    /// `[rank, d_in]`.
    pub lora_a: Param<Tensor<2>>,
    /// `[d_out, rank]`.
    pub lora_b: Param<Tensor<2>>,
    /// Factor on the product, `alpha / rank` in the paper.
    pub scale: f64,
    /// Name of the adapter that the delta belongs to, for [`Adapters`](crate::Adapters).
    #[module(skip)]
    pub adapter: String,
}

impl LowRank {
    /// `scale · (x lora_aᵀ) lora_bᵀ`: `[.., d_in]` to `[.., d_out]`.
    pub fn product<const D: usize>(&self, x: Tensor<D>, precision: MatmulPrecision) -> Tensor<D> {
        let inner = linear(x, self.lora_a.val(), None, precision);
        linear(inner, self.lora_b.val(), None, precision).mul_scalar(self.scale)
    }
}
