//! What the blocks of one forward pass share.

use sinterlm_kernels::RowLayout;

use super::config::GptConfig;
use super::rope::RopeTables;
use crate::context::ForwardCtx;

/// What every block of one forward pass shares.
pub(super) struct BlockCtx<'a> {
    pub(super) forward: &'a ForwardCtx,
    pub(super) layout: &'a RowLayout,
    pub(super) config: &'a GptConfig,
    pub(super) rope: Option<RopeTables>,
}
