//! Keys and values of the tokens read so far, so that generation reads each token once.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor};

/// Keys and values per layer, each `[batch, heads, capacity, head_dim]`, filled from the front.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    shape: [usize; 4],
    len: usize,
    device: Device,
}

impl KvCache {
    /// An empty cache; `shape` is `[batch, heads, capacity, head_dim]`.
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
    ) -> Tensor<4> {
        let [batch, heads, new, head_dim] = q.dims();
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
        let at = [0..batch, 0..heads, self.len..total, 0..head_dim];
        let keys = keys.slice_assign(at.clone(), k);
        let values = values.slice_assign(at, v);
        let held = [0..batch, 0..heads, 0..total, 0..head_dim];
        let k = keys.clone().slice(held.clone());
        let v = values.clone().slice(held);
        self.layers[layer] = Some((keys, values));

        let scale = 1.0 / (head_dim as f64).sqrt();
        let mut scores = q.matmul(k.transpose()).mul_scalar(scale); // [batch, heads, new, total]
        if new > 1 {
            let hidden = Tensor::<2, Bool>::tril_mask([new, total], self.len as i64, &self.device);
            scores = scores.mask_fill(hidden.unsqueeze(), f32::NEG_INFINITY);
        }
        softmax(scores, 3).matmul(v)
    }

    /// Counts the tokens that every layer has now added.
    pub(crate) fn advance(&mut self, new: usize) {
        self.len += new;
    }
}
