//! Keys and values of the tokens read so far, so that generation reads each token once.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor};
use sinterlm_kernels::AttentionOptions;

/// Keys and values per layer, each `[batch, kv_heads, capacity, head_dim]`, filled from the front.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    shape: [usize; 4],
    len: usize,
    device: Device,
}

impl KvCache {
    /// An empty cache; `shape` is `[batch, kv_heads, capacity, head_dim]`.
    pub fn new(n_layers: usize, shape: [usize; 4], device: &Device) -> Self {
        Self {
            layers: vec![None; n_layers],
            shape,
            len: 0,
            device: device.clone(),
        }
    }

    /// Tokens held per row.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token was read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens that a row can hold.
    pub fn capacity(&self) -> usize {
        self.shape[2]
    }

    /// Forgets all tokens and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds this layer's new keys and values and attends to all held: `[batch, heads, new, head_dim]`.
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        options: &AttentionOptions,
    ) -> Tensor<4> {
        let [_, heads, new, head_dim] = q.dims();
        let [batch, kv_heads, ..] = k.dims();
        let total = self.len + new;
        assert!(
            total <= self.capacity(),
            "the cache holds {} tokens at most",
            self.capacity()
        );
        let (keys, values) = self.layers[layer].take().unwrap_or_else(|| {
            (
                Tensor::zeros(self.shape, &self.device),
                Tensor::zeros(self.shape, &self.device),
            )
        });
        let at = [0..batch, 0..kv_heads, self.len..total, 0..head_dim];
        let keys = keys.slice_assign(at.clone(), k);
        let values = values.slice_assign(at, v);
        let held = [0..batch, 0..kv_heads, 0..total, 0..head_dim];
        let k = keys.clone().slice(held.clone());
        let v = values.clone().slice(held);
        self.layers[layer] = Some((keys, values));

        let repeated = |x: Tensor<4>| -> Tensor<4> {
            let shape = [batch, kv_heads, heads / kv_heads, total, head_dim];
            let grouped: Tensor<5> = x.unsqueeze_dim(2);
            grouped
                .expand(shape)
                .reshape([batch, heads, total, head_dim])
        };
        let default_scale = || 1.0 / (head_dim as f64).sqrt();
        let scale = options.scale.unwrap_or_else(default_scale);
        // [batch, heads, new, total]
        let mut scores = q.matmul(repeated(k).transpose()).mul_scalar(scale);
        if let Some(cap) = options.softcap {
            scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
        }
        let (shape, held) = ([new, total], self.len as i64);
        let mut hidden = Tensor::<2, Bool>::tril_mask(shape, held, &self.device);
        if let Some(window) = options.window {
            let first = held + 1 - window as i64;
            hidden = hidden.bool_or(Tensor::<2, Bool>::triu_mask(shape, first, &self.device));
        }
        scores = scores.mask_fill(hidden.unsqueeze(), f32::NEG_INFINITY);
        softmax(scores, 3).matmul(repeated(v))
    }

    /// Counts the tokens that every layer has now added.
    pub(crate) fn advance(&mut self, new: usize) {
        self.len += new;
    }
}
