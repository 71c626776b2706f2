//! The form of burn's operations: any backend and float type; the reference in tests.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation::softmax};

use super::{CachedRows, visible};
use crate::{
    AttentionOptions,
    attention::{default_scale, repeat_heads},
    dtype::computing_dtype,
};

/// Keys and values, each `[slots, kv_heads, capacity, head_dim]`.
#[derive(Clone, Debug)]
pub(super) struct Store {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl Store {
    pub(super) fn new(shape: [usize; 4], device: &Device) -> Self {
        Self {
            keys: Tensor::zeros(shape, device),
            values: Tensor::zeros(shape, device),
        }
    }

    pub(super) fn attend(
        &mut self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        rows: &CachedRows<'_>,
        options: &AttentionOptions,
    ) -> Tensor<4> {
        let [batch, heads, seq, head_dim] = q.dims();
        let (device, dtype) = (q.device(), q.dtype());
        let k = append(&mut self.keys, k, rows);
        let v = append(&mut self.values, v, rows); // [batch, kv_heads, total, head_dim]
        let total = rows.longest();
        let mut hidden = vec![true; batch * seq * total];
        for row in 0..batch {
            for token in 0..seq {
                let line = (row * seq + token) * total;
                // Padding sees the row's first token, so that its softmax is a number.
                let seen = if token < rows.new[row] {
                    visible(rows.held[row] + token, options)
                } else {
                    0..1
                };
                hidden[line + seen.start..line + seen.end].fill(false);
            }
        }
        let hidden = TensorData::new(hidden, [batch, 1, seq, total]);
        let hidden = Tensor::<4, Bool>::from_data(hidden, &device);
        let hidden = hidden.expand([batch, heads, seq, total]);
        let scale = options.scale.unwrap_or_else(|| default_scale(head_dim));
        let scores = q
            .mul_scalar(scale)
            .matmul(repeat_heads(k, heads).swap_dims(2, 3));
        let mut scores = scores.cast(computing_dtype(dtype));
        if let Some(cap) = options.softcap {
            scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
        }
        let weights = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
        weights.cast(dtype).matmul(repeat_heads(v, heads))
    }

    pub(super) fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        for held in [&mut self.keys, &mut self.values] {
            let [_, kv_heads, _, head_dim] = held.dims();
            let at = |slot: usize| [slot..slot + 1, 0..kv_heads, 0..tokens, 0..head_dim];
            let copied = held.clone().slice(at(from));
            *held = held.clone().slice_assign(at(to), copied);
        }
    }
}

/// Writes the new tokens behind those held and returns what the rows now hold, up to the longest.
fn append(store: &mut Tensor<4>, new: Tensor<4>, rows: &CachedRows<'_>) -> Tensor<4> {
    let [_, kv_heads, _, head_dim] = store.dims();
    let mut held = store.clone();
    for (row, &count) in rows.new.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (slot, start) = (rows.slots[row], rows.held[row]);
        let to = [
            slot..slot + 1,
            0..kv_heads,
            start..start + count,
            0..head_dim,
        ];
        let from = [row..row + 1, 0..kv_heads, 0..count, 0..head_dim];
        held = held.slice_assign(to, new.clone().slice(from));
    }
    *store = held.clone();
    let slots: Vec<i32> = rows.slots.iter().map(|&slot| slot as i32).collect();
    let slots =
        Tensor::<1, Int>::from_data(TensorData::new(slots, [rows.slots.len()]), &store.device());
    let held = held.slice([
        0..store.dims()[0],
        0..kv_heads,
        0..rows.longest(),
        0..head_dim,
    ]);
    held.select(0, slots)
}
