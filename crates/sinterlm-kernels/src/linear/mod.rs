//! The affine map of every projection, `y = x Wᵀ + b`: the public function and its composed form.
//! The CPU forms stand in `native` and, for few rows, in `few_rows`.

#[cfg(feature = "flex")]
mod few_rows;
#[cfg(feature = "flex")]
mod native;

use burn::tensor::Tensor;

use crate::{MatmulPrecision, Route};

/// Most rows of a product in f32 whose bits on flex do not depend on the other rows.
pub const FEW_ROWS: usize = 64;

/// `y = x Wᵀ + b` over the last axis of `x`.
///
/// With [`MatmulPrecision::Bf16`] the operands of all three products, `dy` among them, are rounded to
/// bf16, with [`MatmulPrecision::F16`] to half precision; inputs, outputs and gradients keep the dtype
/// of `x`.
///
/// On flex in f32, up to [`FEW_ROWS`] rows take a form that reads the weight once at the speed of
/// memory, and gives each row the same bits whatever the others are.
///
/// The product is one matrix product over all leading axes together. The gradients are
/// `dx = dy W`, `dW = dyᵀ x` (formed as `[d_out, d_in]`, contiguous) and `db`, the sum of `dy` over
/// all leading axes.
///
/// # Shapes
/// - `x`: `[.., d_in]`, float
/// - `weight`: `[d_out, d_in]`
/// - `bias`: `[d_out]`
/// - returns `[.., d_out]`
///
/// # Panics
/// If the widths of `x`, `weight` and `bias` do not fit, or their dtypes differ.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{MatmulPrecision, linear};
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[1.0, 2.0]], &device);
/// let weight = Tensor::<2>::from_data([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], &device);
/// let y = linear(x, weight, None, MatmulPrecision::F32);
/// assert_eq!(y.to_data().as_slice::<f32>().unwrap(), [11.0, 17.0, 23.0]);
/// ```
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: MatmulPrecision,
) -> Tensor<D> {
    let [d_out, d_in] = weight.dims();
    let mut dims = x.dims();
    assert_eq!(
        dims[D - 1],
        d_in,
        "linear: the last axis of x must be d_in of the weight [d_out, d_in]"
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [d_out], "linear: bias must be [d_out]");
    }
    let rows = dims[..D - 1].iter().product::<usize>();
    let x = x.reshape([rows, d_in]);
    let y = match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::linear(x, weight, bias, precision),
        _ => composed(x, weight, bias, precision),
    };
    dims[D - 1] = d_out;
    y.reshape(dims)
}

fn composed(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: MatmulPrecision,
) -> Tensor<2> {
    let stored = x.dtype();
    let (x, weight) = (precision.operand(x), precision.operand(weight));
    let y = x.matmul(weight.transpose()).cast(stored);
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

#[cfg(test)]
mod tests;
