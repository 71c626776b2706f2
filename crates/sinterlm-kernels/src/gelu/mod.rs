//! The Gaussian error linear unit: the public function and its composed form. The CPU form stands
//! in `native`.

#[cfg(feature = "flex")]
pub(crate) mod native;

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use burn::tensor::Tensor;

use crate::Route;

/// The cubic term of the tanh form, Hendrycks and Gimpel 2016, section 2.
const CUBIC: f64 = 0.044_715;

/// Which formula [`gelu`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeluKind {
    /// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, the form of GPT-2.
    Tanh,
    /// `x·Φ(x)` with the normal distribution function Φ.
    Exact,
}

/// Gaussian error linear unit of each element.
///
/// Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>; the two forms differ by less than
/// 5e-4. The input is kept for the backward pass, nothing else.
///
/// # Shapes
/// - `x`: any, float
/// - returns the shape and dtype of `x`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{GeluKind, gelu};
///
/// let x = Tensor::<1>::from_data([-1.0, 0.0, 1.0], &Device::flex());
/// let y = gelu(x, GeluKind::Exact).to_data().try_to_vec::<f32>().unwrap();
/// assert!((y[0] + 0.158_655).abs() < 1e-5 && y[1] == 0.0 && (y[2] - 0.841_345).abs() < 1e-5);
/// ```
pub fn gelu<const D: usize>(x: Tensor<D>, kind: GeluKind) -> Tensor<D> {
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::activation(x, native::Curve::Gelu(kind)),
        _ => composed(x, kind),
    }
}

fn composed<const D: usize>(x: Tensor<D>, kind: GeluKind) -> Tensor<D> {
    let gate = match kind {
        GeluKind::Tanh => {
            let cube = x.clone() * x.clone().square();
            ((x.clone() + cube * CUBIC) * FRAC_2_PI.sqrt()).tanh()
        }
        GeluKind::Exact => (x.clone() * FRAC_1_SQRT_2).erf(),
    };
    x * (gate + 1.0) * 0.5
}

#[cfg(test)]
mod tests;
