//! Causal self-attention: the options, the composed form and the choice of route. The native form
//! is in `native`; positions, projections and caches are left to the model.

use burn::tensor::{Bool, Tensor, TensorData, activation::softmax};

use crate::{MatmulPrecision, Route, RowLayout, dtype::computing_dtype};

mod at;
mod dropout_mask;
#[cfg(feature = "flex")]
mod head;
#[cfg(feature = "flex")]
mod native;
#[cfg(feature = "flex")]
mod spec;
#[cfg(feature = "flex")]
mod tile;

pub use at::attention_at;

/// Choices of [`causal_attention`]; the default is plain scaled attention.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionOptions {
    /// Factor on the scores; `1 / sqrt(head_dim)` if not given.
    pub scale: Option<f64>,
    /// Dropout of the attention weights: probability in [0, 1) and random key. The mask is a
    /// function of key, row, head, query and key position alone, the same on every route.
    pub dropout: Option<(f64, u64)>,
    /// What the operands of the matrix products are rounded to; softmax stays in f32.
    pub precision: MatmulPrecision,
    /// Soft cap `c` on the scores: `c · tanh(score / c)` after scaling (Gemma 2).
    pub softcap: Option<f64>,
    /// Most tokens that one sees, itself among them: sliding window attention (Beltagy et al. 2020,
    /// <https://arxiv.org/abs/2004.05150>; Mistral).
    pub window: Option<usize>,
}

/// Causal attention of each token to the tokens of its segment up to itself, or to the last `window`
/// of them.
///
/// `softmax(mask(cap(scale · q kᵀ))) v`. The native form (flex, f32) works in tiles with an
/// online softmax and recomputes the weights in its backward pass, so memory grows with `seq`,
/// not with its square (Dao et al. 2022, <https://arxiv.org/abs/2205.14135>); the composed form
/// holds `[batch, heads, seq, seq]`, in f32 from soft cap to dropout if the input is f16 or bf16.
/// Both give the same values to rounding; the native form gives the same bits for any thread
/// count. Views of `[batch, seq, heads, head_dim]` are read without a copy, and output and
/// gradients are laid out that way, so that `swap_dims(1, 2)` and `reshape` around this function
/// are free.
///
/// # Shapes
/// - `q`: `[batch, heads, seq, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, seq, head_dim]`; query head `h` uses key head
///   `h / (heads / kv_heads)`
/// - `layout`: `batch` rows of `seq` tokens
/// - returns `[batch, heads, seq, head_dim]`
///
/// # Panics
/// If the shapes do not fit each other or `layout`, `kv_heads` does not divide `heads`, the
/// dropout probability is not in [0, 1), or the soft cap or the window is not above 0.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{AttentionOptions, RowLayout, causal_attention};
///
/// // One row of two tokens, one head; equal scores: each token averages what it sees.
/// let v = Tensor::<4>::from_data([[[[1.0], [3.0]]]], &Device::flex());
/// let zero = v.zeros_like();
/// let layout = RowLayout::dense(1, 2);
/// let out = causal_attention(zero.clone(), zero, v, &layout, &AttentionOptions::default());
/// assert_eq!(out.to_data().try_to_vec::<f32>().unwrap(), [1.0, 2.0]);
/// ```
pub fn causal_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    layout: &RowLayout,
    options: &AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let kv_heads = k.dims()[1];
    assert_eq!(
        k.dims(),
        [batch, kv_heads, seq, head_dim],
        "causal_attention: k must be [batch, kv_heads, seq, head_dim] like q"
    );
    assert_eq!(
        v.dims(),
        k.dims(),
        "causal_attention: v must have the shape of k"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "causal_attention: kv_heads {kv_heads} must divide heads {heads}"
    );
    assert_eq!(
        (layout.rows, layout.seq),
        (batch, seq),
        "causal_attention: the layout must describe [batch, seq]"
    );
    if let Some((p, _)) = options.dropout {
        assert!(
            (0.0..1.0).contains(&p),
            "causal_attention: dropout {p} is not in [0, 1)"
        );
    }
    if let Some(cap) = options.softcap {
        assert!(cap > 0.0, "causal_attention: softcap {cap} must be above 0");
    }
    assert!(
        options.window != Some(0),
        "causal_attention: window must be above 0"
    );
    match Route::of(&q.device(), q.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::causal_attention(q, k, v, layout, options),
        _ => composed(q, k, v, layout, options),
    }
}

fn composed(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    layout: &RowLayout,
    options: &AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let (device, dtype) = (q.device(), q.dtype());
    let scale = options.scale.unwrap_or_else(|| default_scale(head_dim));
    let precision = options.precision;
    // Scaled before the product, whose sums could leave the range of f16.
    let (q, k) = (precision.operand(q.mul_scalar(scale)), precision.operand(k));
    let scores = q.matmul(repeat_heads(k, heads).swap_dims(2, 3));
    let mut scores = scores.cast(computing_dtype(dtype));
    if let Some(cap) = options.softcap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    let mut hidden = layout.attention_mask(&device);
    if let Some(window) = options.window.filter(|&window| window < seq) {
        // True where the key stands `window` or more places before the query.
        let passed = Tensor::<2, Bool>::triu_mask([seq, seq], 1 - window as i64, &device);
        hidden = hidden.bool_or(passed.unsqueeze_dim::<3>(0).expand([batch, seq, seq]));
    }
    let hidden = hidden
        .unsqueeze_dim::<4>(1)
        .expand([batch, heads, seq, seq]);
    let mut weights = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    if let Some((p, key)) = options.dropout {
        let dropped = dropout_mask::dropped([batch, heads, seq], p, key);
        let dropped = TensorData::new(dropped, [batch, heads, seq, seq]);
        let dropped = Tensor::<4, Bool>::from_data(dropped, &device);
        weights = weights.mask_fill(dropped, 0.0).mul_scalar(1.0 / (1.0 - p));
    }
    let (weights, v) = (precision.operand(weights.cast(dtype)), precision.operand(v));
    weights.matmul(repeat_heads(v, heads)).cast(dtype)
}

/// `[batch, kv_heads, seq, head_dim]` to `[batch, heads, seq, head_dim]`, each head repeated for
/// the query heads of its group.
pub(crate) fn repeat_heads(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, kv_heads, seq, head_dim] = x.dims();
    if kv_heads == heads {
        return x;
    }
    let group = heads / kv_heads;
    let x: Tensor<5> = x.unsqueeze_dim(2); // [batch, kv_heads, 1, seq, head_dim]
    x.expand([batch, kv_heads, group, seq, head_dim])
        .reshape([batch, heads, seq, head_dim])
}

pub(crate) fn default_scale(head_dim: usize) -> f64 {
    1.0 / (head_dim as f64).sqrt()
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests;
