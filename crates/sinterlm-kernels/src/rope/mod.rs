//! Rotary position embedding: the public function and its composed form. The CPU form stands in
//! `native`; frequencies, scaling and positions, which make the tables, are left to the model.

#[cfg(feature = "flex")]
mod native;

use burn::tensor::Tensor;

use crate::{Route, dtype::computing_dtype};

/// Rotates each pair `(x[i], x[i + head_dim/2])` by the angle of its token.
///
/// `y[i] = x[i]·cos − x[i + half]·sin`, `y[i + half] = x[i + half]·cos + x[i]·sin`, Su et al. 2021,
/// <https://arxiv.org/abs/2104.09864>, with the halves paired as in GPT-NeoX and in the Llama family of
/// transformers ("rotate half"). The tables say where each token stands, so packed rows and
/// offsets into a cache need nothing else; they are constants and get no gradient. The backward
/// pass rotates by the negative angle. f16 and bf16 input is rotated in f32, as angles of late
/// positions do not survive rounding.
///
/// Views of `[batch, seq, heads, head_dim]` are read without a copy, and output and gradient are
/// laid out that way, as [`causal_attention`](crate::causal_attention) reads them.
///
/// # Shapes
/// - `x`: `[batch, heads, seq, head_dim]`, float
/// - `cos`, `sin`: `[batch, seq, head_dim/2]`, or `[1, seq, head_dim/2]` for all rows alike
/// - returns the shape and dtype of `x`
///
/// # Panics
/// If `head_dim` is odd or the tables do not fit `x` or each other.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// // One token, turned by a right angle.
/// let device = Device::flex();
/// let x = Tensor::<4>::from_data([[[[3.0, 4.0]]]], &device);
/// let (cos, sin) = (Tensor::zeros([1, 1, 1], &device), Tensor::ones([1, 1, 1], &device));
/// let y = sinterlm_kernels::rope(x, cos, sin);
/// assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), [-4.0, 3.0]);
/// ```
pub fn rope(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let [batch, _, seq, head_dim] = x.dims();
    let [rows, ..] = cos.dims();
    assert!(
        head_dim.is_multiple_of(2),
        "rope: head_dim {head_dim} must be even"
    );
    assert!(
        rows == 1 || rows == batch,
        "rope: cos has {rows} rows; it must have one, or batch {batch}"
    );
    assert_eq!(
        cos.dims(),
        [rows, seq, head_dim / 2],
        "rope: cos must be [batch or 1, seq, head_dim/2]"
    );
    assert_eq!(
        sin.dims(),
        cos.dims(),
        "rope: sin must have the shape of cos"
    );
    let (cos, sin) = (cos.without_autodiff(), sin.without_autodiff());
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::rope(x, cos, sin),
        _ => composed(x, cos, sin),
    }
}

fn composed(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let dtype = x.dtype();
    let wide = computing_dtype(dtype);
    let half = x.dims()[3] / 2;
    // [batch or 1, 1, seq, half]
    let [cos, sin] = [cos, sin].map(|table| table.cast(wide).unsqueeze_dim::<4>(1));
    let x = x.cast(wide);
    let (low, high) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let rotated = vec![
        low.clone() * cos.clone() - high.clone() * sin.clone(),
        high * cos + low * sin,
    ];
    Tensor::cat(rotated, 3).cast(dtype)
}

#[cfg(test)]
mod tests;
