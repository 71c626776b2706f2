//! Rotary position embedding on flex: reads strided views token by token, writes
//! `[batch, seq, heads, head_dim]`; the backward pass is the same with the angle negated.
#![allow(unsafe_code)] // the output is written once, not zeroed first
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::{mem::MaybeUninit, sync::Arc};

use burn::{
    backend::{
        Backend, Dispatch, Flex, TensorMetadata,
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
    tensor::{DType, Tensor},
};
use rayon::prelude::*;

use crate::{
    buffer,
    isa::{Kernel, vectorized},
};

/// Elements of one task, at least one token: 64 KiB, a few microseconds of work.
const BLOCK: usize = 1 << 14;

/// Cosines and sines, `[batch or 1, seq, head_dim/2]`, contiguous f32.
#[derive(Debug)]
pub(super) struct Tables {
    cos: FlexTensor,
    sin: FlexTensor,
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait RopeOp: Backend {
    fn rope_op(x: FloatTensor<Self>, tables: Arc<Tables>) -> FloatTensor<Self>;
}

pub(super) fn rope(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let [cos, sin] = [cos, sin].map(|table| buffer::whole(table.cast(DType::F32)));
    let tables = Arc::new(Tables { cos, sin });
    Tensor::from_dispatch(<Dispatch as RopeOp>::rope_op(x.into_dispatch(), tables))
}

impl RopeOp for Flex {
    fn rope_op(x: FlexTensor, tables: Arc<Tables>) -> FlexTensor {
        rotate(x, &tables, 1.0)
    }
}

impl<C: CheckpointStrategy> RopeOp for Autodiff<Flex, C> {
    fn rope_op(x: FloatTensor<Self>, tables: Arc<Tables>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = rotate(x, &tables, 1.0);
        match RopeBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(tables, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct RopeBackward;

impl Backward<Flex, 1> for RopeBackward {
    type State = Arc<Tables>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, rotate(dy, &ops.state, -1.0));
        }
    }
}

/// `x` rotated by the tables' angles, which `sign` −1 negates.
fn rotate(x: FlexTensor, tables: &Tables, sign: f32) -> FlexTensor {
    let x = buffer::rows_contiguous(x);
    let shape = x.shape();
    let [batch, heads, seq, head_dim] = [shape[0], shape[1], shape[2], shape[3]];
    let source = Source::of(&x);
    let cos = tables.cos.as_slice::<f32>().expect("tables are contiguous");
    let sin = tables.sin.as_slice::<f32>().expect("tables are contiguous");
    let (table_rows, half) = (tables.cos.shape()[0], head_dim / 2);
    let width = heads * head_dim; // of a token
    let tokens = (BLOCK / width.max(1)).max(1);
    // SAFETY: `Rotate` writes both halves of each head of each token of its block, and the blocks
    // cover the buffer.
    let y = unsafe {
        buffer::filled(batch * seq * width, |y| {
            y.par_chunks_mut(tokens * width.max(1))
                .enumerate()
                .for_each(|(block, y)| {
                    for (token, y) in (block * tokens..).zip(y.chunks_exact_mut(width)) {
                        let (row, at) = (token / seq, token % seq);
                        let line = if table_rows == 1 { at } else { token };
                        vectorized(Rotate {
                            x: source.token(row, at),
                            stride: source.strides[1],
                            cos: &cos[line * half..][..half],
                            sin: &sin[line * half..][..half],
                            sign,
                            y,
                        });
                    }
                });
        })
    };
    buffer::from_vec(y, [batch, seq, heads, head_dim]).permute(&[0, 2, 1, 3])
}

/// A tensor `[batch, heads, seq, head_dim]` in memory whose last axis is contiguous.
struct Source<'a> {
    values: &'a [f32],
    strides: [usize; 3],
}

impl<'a> Source<'a> {
    fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let stride = |axis: usize| layout.strides()[axis] as usize;
        Self {
            values: &tensor.storage::<f32>()[layout.start_offset()..],
            strides: [stride(0), stride(1), stride(2)],
        }
    }

    /// From a token's vector in the first head on; those of the other heads follow `strides[1]`
    /// apart.
    fn token(&self, row: usize, at: usize) -> &'a [f32] {
        &self.values[row * self.strides[0] + at * self.strides[2]..]
    }
}

/// One token in all heads.
struct Rotate<'a> {
    x: &'a [f32],
    /// Distance of one head's vector to the next in `x`.
    stride: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    sign: f32,
    y: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Rotate<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let half = self.cos.len();
        for (head, y) in self.y.chunks_exact_mut(2 * half).enumerate() {
            let x = &self.x[head * self.stride..][..2 * half];
            let (low, high) = x.split_at(half);
            let (y_low, y_high) = y.split_at_mut(half);
            let angles = self.cos.iter().zip(self.sin);
            let inputs = low.iter().zip(high).zip(angles);
            for ((y_low, y_high), ((&low, &high), (&cos, &sin))) in
                y_low.iter_mut().zip(y_high).zip(inputs)
            {
                let sin = self.sign * sin;
                y_low.write(low * cos - high * sin);
                y_high.write(high * cos + low * sin);
            }
        }
    }
}
