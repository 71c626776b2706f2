//! The squared rectifier: the public function and its composed form. The CPU form is that of `gelu`.

use burn::tensor::{Tensor, activation::relu};

use crate::Route;
#[cfg(feature = "flex")]
use crate::gelu::native::{Curve, activation};

/// `max(x, 0)²` of each element.
///
/// So et al. 2021, Primer, <https://arxiv.org/abs/2109.08668>, section 4. The input is kept for the
/// backward pass, nothing else.
///
/// # Shapes
/// - `x`: any, float
/// - returns the shape and dtype of `x`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<1>::from_data([-2.0, 0.0, 3.0], &Device::flex());
/// let y = sinterlm_kernels::relu_squared(x).to_data().try_to_vec::<f32>().unwrap();
/// assert_eq!(y, [0.0, 0.0, 9.0]);
/// ```
pub fn relu_squared<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => activation(x, Curve::ReluSquared),
        _ => {
            let positive = relu(x);
            positive.clone() * positive
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::check::{assert_is_gradient, assert_routes_agree, fill, numbers, values};

    #[test]
    fn native_and_composed_agree_with_the_gradient() {
        assert_routes_agree(1e-6, || {
            let device = Device::flex().autodiff();
            let x = fill([5, 4001], 1, &device, DType::F32).require_grad();
            let y = relu_squared(x.clone().transpose());
            let upstream = fill([4001, 5], 2, &device, DType::F32);
            let gradients = (y.clone() * upstream).sum().backward();
            vec![values(y), values(x.grad(&gradients).unwrap())]
        });
    }

    #[test]
    fn the_gradient_is_the_derivative() {
        let device = Device::flex().autodiff();
        let at = numbers(9, 3);
        let tensor = |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64));
        let x = tensor(&at).require_grad();
        let gradients = relu_squared(x.clone()).sum().backward();
        let gradient = values(x.grad(&gradients).unwrap());
        assert_is_gradient(&at, &gradient, 1, |at| {
            relu_squared(tensor(at)).sum().into_scalar()
        });
    }
}
