//! What the blocks of one forward pass share.

use burn::tensor::Tensor;
use sinterlm_kernels::RowLayout;

use super::config::GptConfig;
use super::rope::RopeTables;
use crate::context::ForwardCtx;
use crate::row_tokens::RowTokens;

/// What every block of one forward pass shares.
#[derive(Clone)]
pub(super) struct BlockCtx<'a> {
    pub(super) forward: &'a ForwardCtx,
    pub(super) layout: &'a RowLayout,
    pub(super) config: &'a GptConfig,
    pub(super) rope: Option<RopeTables>,
    /// Share of activations that the block drops: none where it is frozen.
    pub(super) dropout: f64,
    /// The tokens that a block's output is wanted of, where it is not wanted of all.
    pub(super) read: Option<&'a RowTokens>,
}

impl BlockCtx<'_> {
    /// The tokens that the output is wanted of: `[batch or 1, seq, width]` to `[batch, 1, width]`, or
    /// `x` as it is.
    pub(super) fn wanted(&self, x: Tensor<3>) -> Tensor<3> {
        match self.read {
            Some(read) => read.select(x).unsqueeze_dim(1),
            None => x,
        }
    }

    /// The rotation's tables of these tokens.
    pub(super) fn wanted_rope(&self) -> Option<RopeTables> {
        let (cos, sin) = self.rope.clone()?;
        Some((self.wanted(cos), self.wanted(sin)))
    }
}
