//! Layer normalisation over the last axis: the public function and its composed form. The CPU form
//! stands in `native`.

#[cfg(feature = "flex")]
mod native;

use burn::tensor::{DType, Tensor};

use crate::{Route, dtype::computing_dtype};

/// Layer normalisation over the last axis: `(x − mean)/√(var + eps)·weight + bias`.
///
/// Ba et al. 2016, <https://arxiv.org/abs/1607.06450>, with the biased variance, as PyTorch has it.
/// f16 and bf16 input is computed in f32 and returned in its own dtype.
///
/// # Shapes
/// - `x`: `[.., d_model]`, float
/// - `weight`, `bias`: `[d_model]`
/// - returns the shape and dtype of `x`
///
/// # Panics
/// If `weight` or `bias` is not as wide as the last axis of `x`.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[1.0, 3.0]], &device);
/// let y = sinterlm_kernels::layer_norm(x, Tensor::ones([2], &device), None, 0.0);
/// assert_eq!(y.to_data().as_slice::<f32>().unwrap(), [-1.0, 1.0]);
/// ```
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    eps: f64,
) -> Tensor<D> {
    let d_model = x.dims()[D - 1];
    assert_eq!(
        weight.dims(),
        [d_model],
        "layer_norm: weight must be [d_model] like the last axis of x"
    );
    if let Some(bias) = &bias {
        assert_eq!(
            bias.dims(),
            [d_model],
            "layer_norm: bias must be [d_model] like the last axis of x"
        );
    }
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if weight.dtype() == DType::F32 => native::layer_norm(x, weight, bias, eps),
        _ => composed(x, weight, bias, eps),
    }
}

fn composed<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    eps: f64,
) -> Tensor<D> {
    let dtype = x.dtype();
    let wide = computing_dtype(dtype);
    let x = x.cast(wide);
    let centered = x.clone() - x.mean_dim(D - 1);
    let variance = centered.clone().square().mean_dim(D - 1);
    let y = centered / (variance + eps).sqrt() * weight.cast(wide).unsqueeze();
    let y = match bias {
        Some(bias) => y + bias.cast(wide).unsqueeze(),
        None => y,
    };
    y.cast(dtype)
}

#[cfg(test)]
mod tests;
