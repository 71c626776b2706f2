//! Causal attention of one token of each row, where only that one is read.

use burn::tensor::{Bool, Tensor, TensorData, activation::softmax};

use super::{AttentionOptions, default_scale, dropout_mask};
use crate::{RowLayout, dtype::computing_dtype};

/// [`causal_attention`](crate::causal_attention) of one token of each row, that at `columns[row]`:
/// the same values to rounding, from queries of these tokens and keys and values of all.
///
/// It has one form on every backend, which holds `[batch, heads, seq]`. Half operands are rounded and
/// multiplied in the dtype of `q`: the products are too small to gain from another.
///
/// # Shapes
/// - `q`: `[batch, heads, 1, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, seq, head_dim]`; query head `h` uses key head
///   `h / (heads / kv_heads)`
/// - `layout`: `batch` rows of `seq` tokens
/// - returns `[batch, heads, 1, head_dim]`
///
/// # Panics
/// If the shapes do not fit each other or `layout`, `kv_heads` does not divide `heads`, or there is
/// not one column below `seq` for each row.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{AttentionOptions, RowLayout, attention_at};
///
/// // One row of three tokens, one head; equal scores: the second token averages the first two.
/// let v = Tensor::<4>::from_data([[[[1.0], [3.0], [9.0]]]], &Device::flex());
/// let zero = v.zeros_like();
/// let q = zero.clone().narrow(2, 1, 1);
/// let layout = RowLayout::dense(1, 3);
/// let out = attention_at(q, zero, v, &[1], &layout, &AttentionOptions::default());
/// assert_eq!(out.to_data().try_to_vec::<f32>().unwrap(), [2.0]);
/// ```
pub fn attention_at(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    columns: &[u32],
    layout: &RowLayout,
    options: &AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, _, head_dim] = q.dims();
    let [_, kv_heads, seq, _] = k.dims();
    assert_eq!(
        q.dims()[2],
        1,
        "attention_at: q must be [batch, heads, 1, head_dim]"
    );
    assert_eq!(
        k.dims(),
        [batch, kv_heads, seq, head_dim],
        "attention_at: k must be [batch, kv_heads, seq, head_dim]"
    );
    assert_eq!(
        v.dims(),
        k.dims(),
        "attention_at: v must have the shape of k"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "attention_at: kv_heads {kv_heads} must divide heads {heads}"
    );
    assert_eq!(
        (layout.rows, layout.seq),
        (batch, seq),
        "attention_at: the layout must describe [batch, seq]"
    );
    assert!(
        columns.len() == batch && columns.iter().all(|&column| (column as usize) < seq),
        "attention_at: one token of each of {batch} rows of {seq} must be named"
    );
    let (device, dtype) = (q.device(), q.dtype());
    let group = heads / kv_heads;
    let rounded = |x: Tensor<4>| options.precision.operand(x).cast(dtype);
    let scale = options.scale.unwrap_or_else(|| default_scale(head_dim));
    // The query heads of a group are the rows of one product: [batch, kv_heads, group, head_dim].
    let q = rounded(q.mul_scalar(scale)).reshape([batch, kv_heads, group, head_dim]);
    let scores = q.matmul(rounded(k).swap_dims(2, 3));
    let mut scores = scores.cast(computing_dtype(dtype));
    if let Some(cap) = options.softcap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    let mut hidden = vec![true; batch * seq];
    for (row, &column) in columns.iter().enumerate() {
        let seen = layout.visible(row, column as usize);
        let window = options.window.unwrap_or(seq);
        let start = seen.start.max(seen.end.saturating_sub(window));
        hidden[row * seq..][start..seen.end].fill(false);
    }
    let mask = |values: Vec<bool>, shape: [usize; 4]| {
        let mask = Tensor::<4, Bool>::from_data(TensorData::new(values, shape), &device);
        mask.expand([batch, kv_heads, group, seq])
    };
    let hidden = mask(hidden, [batch, 1, 1, seq]);
    let mut weights = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    if let Some((p, key)) = options.dropout {
        let lines = columns.iter().enumerate().flat_map(|(row, &column)| {
            (0..heads).map(move |head| ((row * heads + head) * seq) as u64 + u64::from(column))
        });
        let dropped = dropout_mask::dropped_in(lines, seq, p, key);
        let dropped = mask(dropped, [batch, kv_heads, group, seq]);
        weights = weights.mask_fill(dropped, 0.0).mul_scalar(1.0 / (1.0 - p));
    }
    let attended = rounded(weights.cast(dtype)).matmul(rounded(v));
    attended.reshape([batch, heads, 1, head_dim])
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{MatmulPrecision, causal_attention};

    /// Numbers that look drawn.
    fn filled(shape: [usize; 4], seed: f32, device: &Device) -> Tensor<4> {
        let len: usize = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|i| (seed + 1.7 * i as f32).sin()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    /// The output and the gradients of q, k and v, from the token at `columns` of each row.
    fn both(columns: &[u32], layout: &RowLayout, options: &AttentionOptions) -> [[Vec<f32>; 4]; 2] {
        let device = Device::flex().autodiff();
        let (rows, seq) = (layout.rows, layout.seq);
        let out_weight = filled([rows, 4, 1, 6], 9.0, &device);
        [false, true].map(|alone| {
            let q = filled([rows, 4, seq, 6], 0.0, &device).require_grad();
            let k = filled([rows, 2, seq, 6], 1.0, &device).require_grad();
            let v = filled([rows, 2, seq, 6], 2.0, &device).require_grad();
            let at = |x: Tensor<4>| {
                let row = |row: usize| {
                    let x = x.clone().narrow(0, row, 1);
                    x.narrow(2, columns[row] as usize, 1)
                };
                Tensor::cat((0..rows).map(row).collect(), 0)
            };
            let out = if alone {
                attention_at(
                    at(q.clone()),
                    k.clone(),
                    v.clone(),
                    columns,
                    layout,
                    options,
                )
            } else {
                at(causal_attention(
                    q.clone(),
                    k.clone(),
                    v.clone(),
                    layout,
                    options,
                ))
            };
            let grads = (out.clone() * out_weight.clone()).sum().backward();
            let gradient = |x: &Tensor<4>| values(x.grad(&grads).unwrap());
            [values(out), gradient(&q), gradient(&k), gradient(&v)]
        })
    }

    #[test]
    fn one_token_equals_that_of_the_whole_pass() {
        let layout = RowLayout::from_segments(2, 5, &[0, 0, 1, 1, 1, 0, 0, 0, 0, 0], &[5, 3]);
        let options = [
            AttentionOptions::default(),
            AttentionOptions {
                dropout: Some((0.4, 7)),
                softcap: Some(0.7),
                window: Some(2),
                scale: Some(0.9),
                ..AttentionOptions::default()
            },
        ];
        for options in options {
            for columns in [[4, 2], [1, 0], [3, 4]] {
                let [whole, alone] = both(&columns, &layout, &options);
                for (whole, alone) in whole.iter().zip(&alone) {
                    for (whole, alone) in whole.iter().zip(alone) {
                        assert!((whole - alone).abs() < 2e-6, "{columns:?} {options:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn half_operands_are_rounded() {
        let layout = RowLayout::dense(1, 4);
        let with = |precision| {
            let options = AttentionOptions {
                precision,
                ..AttentionOptions::default()
            };
            both(&[3], &layout, &options)
        };
        let [_, exact] = with(MatmulPrecision::F32);
        let [whole, alone] = with(MatmulPrecision::Bf16);
        assert_ne!(exact[0], alone[0]);
        for (whole, alone) in whole[0].iter().zip(&alone[0]) {
            assert!((whole - alone).abs() < 1e-2);
        }
    }
}
