//! The gate of a SwiGLU feed-forward part: the public function and its composed form. The CPU form
//! stands in `native`.

#[cfg(feature = "flex")]
mod native;

use burn::tensor::{Tensor, activation::silu};

use crate::Route;

/// `silu(gate)·up` of each element, with `silu(g) = g/(1 + e⁻ᵍ)`.
///
/// Shazeer 2020, <https://arxiv.org/abs/2002.05202>, with Swish of β = 1, as the Llama family has it;
/// the linear maps before and after are the caller's. Both inputs are kept for the backward pass,
/// nothing else.
///
/// # Shapes
/// - `gate`, `up`: any, the same, float
/// - returns their shape and dtype
///
/// # Panics
/// If shapes or dtypes differ.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let of = |x: [f32; 2]| Tensor::<1>::from_data(x, &Device::flex());
/// let y = sinterlm_kernels::swiglu(of([0.0, 1.0]), of([5.0, 2.0]));
/// let y = y.to_data().try_to_vec::<f32>().unwrap();
/// assert!(y[0] == 0.0 && (y[1] - 2.0 * 0.731_058_6).abs() < 1e-6);
/// ```
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    assert_eq!(
        gate.dims(),
        up.dims(),
        "swiglu: up must have the shape of gate"
    );
    assert_eq!(
        gate.dtype(),
        up.dtype(),
        "swiglu: up must have the dtype of gate"
    );
    match Route::of(&gate.device(), gate.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::swiglu(gate, up),
        _ => silu(gate) * up,
    }
}

#[cfg(test)]
mod tests;
