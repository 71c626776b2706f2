//! Dropout on flex: the mask is computed where it is applied, forward and backward, in place where
//! no other tensor shares the buffer.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use burn::{
    backend::{
        Backend, Dispatch, Flex,
        autodiff::{
            Autodiff,
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};
use rayon::prelude::*;

use super::{is_kept, scale, threshold};
use crate::{
    buffer::for_writing,
    isa::{Kernel, vectorized},
};

/// Elements of one task, 64 KiB: a few microseconds of work, and within the second-level cache.
const BLOCK: usize = 1 << 14;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait DropoutOp: Backend {
    fn dropout_op(x: FloatTensor<Self>, p: f64, key: u64) -> FloatTensor<Self>;
}

pub(super) fn dropout<const D: usize>(x: Tensor<D>, p: f64, key: u64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::dropout_op(x.into_dispatch(), p, key))
}

impl DropoutOp for Flex {
    fn dropout_op(x: FlexTensor, p: f64, key: u64) -> FlexTensor {
        mask(x, p, key)
    }
}

impl<C: CheckpointStrategy> DropoutOp for Autodiff<Flex, C> {
    fn dropout_op(x: FloatTensor<Self>, p: f64, key: u64) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = mask(x, p, key);
        match DropoutBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((p, key), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct DropoutBackward;

impl Backward<Flex, 1> for DropoutBackward {
    type State = (f64, u64);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (p, key) = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, mask(gradient, p, key));
        }
    }
}

fn mask(x: FlexTensor, p: f64, key: u64) -> FlexTensor {
    let mut x = for_writing(x);
    let (threshold, scale) = (threshold(p), scale(p));
    x.storage_mut::<f32>()
        .par_chunks_mut(BLOCK)
        .enumerate()
        .for_each(|(block, values)| {
            let first = (block * BLOCK) as u64;
            vectorized(Mask {
                values,
                first,
                key,
                threshold,
                scale,
            });
        });
    x
}

struct Mask<'a> {
    values: &'a mut [f32],
    first: u64,
    key: u64,
    threshold: u32,
    scale: f32,
}

impl Kernel for Mask<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        // Blocks divide 2³², so that the upper half of the index is one value in a block.
        let (high, low) = (self.first & !0xffff_ffff, self.first as u32);
        for (offset, value) in self.values.iter_mut().enumerate() {
            let index = high | u64::from(low + offset as u32);
            let factor = if is_kept(self.key, index, self.threshold) {
                self.scale
            } else {
                0.0
            };
            *value *= factor;
        }
    }
}
