//! Root mean square normalisation over the last axis: the public function and its composed form.
//! The CPU form stands in `native`.

#[cfg(feature = "flex")]
mod native;

use burn::tensor::{DType, Tensor};

use crate::{Route, dtype::computing_dtype};

/// Root mean square normalisation over the last axis: `x/√(mean(x²) + eps)·weight`.
///
/// Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>, with `eps` inside the root, as PyTorch
/// and the Llama family have it. f16 and bf16 input is computed in f32 and rounded once, to its own
/// dtype, at the end; Llama in transformers rounds before it multiplies by the weight, too.
///
/// # Shapes
/// - `x`: `[.., d_model]`, float
/// - `weight`: `[d_model]`
/// - returns the shape and dtype of `x`
///
/// # Panics
/// If `weight` is not as wide as the last axis of `x`.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[2.0, -2.0]], &device);
/// let y = sinterlm_kernels::rms_norm(x, Tensor::ones([2], &device), 0.0);
/// assert_eq!(y.to_data().as_slice::<f32>().unwrap(), [1.0, -1.0]);
/// ```
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    assert_eq!(
        weight.dims(),
        [x.dims()[D - 1]],
        "rms_norm: weight must be [d_model] like the last axis of x"
    );
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if weight.dtype() == DType::F32 => native::rms_norm(x, weight, eps),
        _ => composed(x, weight, eps),
    }
}

fn composed<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let dtype = x.dtype();
    let wide = computing_dtype(dtype);
    let x = x.cast(wide);
    let mean_square = x.clone().square().mean_dim(D - 1);
    let y = x / (mean_square + eps).sqrt() * weight.cast(wide).unsqueeze();
    y.cast(dtype)
}

#[cfg(test)]
mod tests;
