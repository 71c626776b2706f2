//! What a call of the native form is about: sizes, options, mask, and the rows of a head.

use crate::MatmulPrecision;

/// Sizes, options and mask of one call.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) seq: usize,
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    pub(super) softcap: Option<f32>,
    pub(super) dropout: Option<(f64, u64)>,
    pub(super) precision: MatmulPrecision,
    /// First visible position of each token, `[batch, seq]`.
    pub(super) starts: Vec<u32>,
}

/// The token vectors of one head.
#[derive(Clone, Copy)]
pub(super) struct HeadRows<'a> {
    values: &'a [f32],
    stride: usize,
    head_dim: usize,
}

impl<'a> HeadRows<'a> {
    /// Tokens `stride` numbers apart.
    pub(super) fn new(values: &'a [f32], stride: usize, head_dim: usize) -> Self {
        Self {
            values,
            stride,
            head_dim,
        }
    }

    #[inline]
    pub(super) fn token(self, token: usize) -> &'a [f32] {
        &self.values[token * self.stride..][..self.head_dim]
    }
}
