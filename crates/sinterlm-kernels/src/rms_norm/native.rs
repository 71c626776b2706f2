//! Root mean square normalisation on flex: the forward pass keeps each row's factor, the backward
//! pass forms those gradients that are wanted in one sweep.
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
    tensor::{Tensor, TensorData},
};
use rayon::prelude::*;

use crate::{
    buffer::{filled, for_writing, from_vec},
    isa::{Kernel, vectorized},
    lanes::lane_sum,
    reduce::sum_in_order,
};

/// Rows of one task. Fixed, so that the gradient of the weight, summed block by block, has the same
/// bits for any number of threads.
const BLOCK_ROWS: usize = 32;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait RmsNormOp: Backend {
    fn rms_norm_op(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
}

pub(super) fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::rms_norm_op(x, weight, eps))
}

impl RmsNormOp for Flex {
    fn rms_norm_op(x: FlexTensor, weight: FlexTensor, eps: f64) -> FlexTensor {
        forward(&x, &weight, eps).0
    }
}

impl<C: CheckpointStrategy> RmsNormOp for Autodiff<Flex, C> {
    fn rms_norm_op(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (y, kept) = forward(&x, &weight, eps);
        match RmsNormBackward
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(kept, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Kept {
    x: FlexTensor,
    weight: FlexTensor,
    /// `1/√(mean(x²) + eps)` of each row.
    scales: Arc<Vec<f32>>,
}

#[derive(Debug)]
struct RmsNormBackward;

/// Parents are `x` and `weight`.
impl Backward<Flex, 2> for RmsNormBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [x, weight] = ops.parents;
        let wants = [x.is_some(), weight.is_some()];
        let (dx, dweight) = backward(dy, &ops.state, wants);
        if let Some(node) = x {
            grads.register::<Flex>(node.id, dx);
        }
        if let Some(node) = weight {
            let d_model = dweight.len();
            grads.register::<Flex>(node.id, from_vec(dweight, [d_model]));
        }
    }
}

fn forward(x: &FlexTensor, weight: &FlexTensor, eps: f64) -> (FlexTensor, Kept) {
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let values = x.as_slice::<f32>().expect("x is contiguous f32");
    let weights = weight.as_slice::<f32>().expect("weight is contiguous f32");
    let d_model = weights.len().max(1);
    let block = BLOCK_ROWS * d_model;
    let mut scales = vec![0.0; values.len() / d_model];
    // SAFETY: `Normalize` writes each whole row of its block, and whole rows cover the buffer.
    let y = unsafe {
        filled(values.len(), |y| {
            y.par_chunks_mut(block)
                .zip(values.par_chunks(block))
                .zip(scales.par_chunks_mut(BLOCK_ROWS))
                .for_each(|((y, x), scales)| {
                    vectorized(Normalize {
                        x,
                        weights,
                        eps,
                        y,
                        scales,
                    });
                });
        })
    };
    let y = FlexTensor::from_data(TensorData::new(y, x.shape()));
    let scales = Arc::new(scales);
    (y, Kept { x, weight, scales })
}

struct Normalize<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    eps: f64,
    y: &'a mut [MaybeUninit<f32>],
    scales: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self { weights, eps, .. } = self;
        let d_model = weights.len();
        let pairs = self
            .x
            .chunks_exact(d_model)
            .zip(self.y.chunks_exact_mut(d_model));
        for ((x, y), kept) in pairs.zip(self.scales) {
            let mean_square = f64::from(lane_sum([x], |[x]| x * x)) / d_model as f64;
            let scale = (1.0 / (mean_square + eps).sqrt()) as f32;
            for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weights) {
                y.write(x * scale * weight);
            }
            *kept = scale;
        }
    }
}

/// Gradients of `x` (in the buffer of `dy` where no one else holds it) and weight; one that is not
/// wanted is not formed, and what stands in its place means nothing.
fn backward(
    dy: FlexTensor,
    kept: &Kept,
    [wants_x, wants_weight]: [bool; 2],
) -> (FlexTensor, Vec<f32>) {
    let x = kept.x.as_slice::<f32>().expect("x was kept contiguous");
    let weights = kept
        .weight
        .as_slice::<f32>()
        .expect("weight was kept contiguous");
    let d_model = weights.len();
    let block = BLOCK_ROWS * d_model.max(1);
    let sums = if wants_weight { d_model } else { 0 };
    let mut gradient = for_writing(dy);
    let partial = gradient
        .storage_mut::<f32>()
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(kept.scales.par_chunks(BLOCK_ROWS))
        .map(|((gradient, x), scales)| {
            let mut dweight = vec![0.0; sums];
            vectorized(Derive {
                x,
                scales,
                weights,
                wants_x,
                gradient,
                dweight: &mut dweight,
            });
            dweight
        })
        .collect::<Vec<_>>();
    (gradient, sum_in_order(partial, sums))
}

/// With `n = x·scale` and `g = dy·weight`: `dx = scale·(g − n·mean(g·n))`.
struct Derive<'a> {
    x: &'a [f32],
    scales: &'a [f32],
    weights: &'a [f32],
    wants_x: bool,
    /// `dy`, overwritten by `dx` if that is wanted.
    gradient: &'a mut [f32],
    /// Empty if it is not wanted.
    dweight: &'a mut [f32],
}

impl Kernel for Derive<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self {
            weights,
            wants_x,
            dweight,
            ..
        } = self;
        let d_model = weights.len();
        let pairs = self
            .x
            .chunks_exact(d_model)
            .zip(self.gradient.chunks_exact_mut(d_model));
        for ((x, gradient), &scale) in pairs.zip(self.scales) {
            // Two loops, as one has too many places that might overlap to become vector code.
            for ((&dy, &x), dweight) in gradient.iter().zip(x).zip(dweight.iter_mut()) {
                *dweight += dy * (x * scale);
            }
            if !wants_x {
                continue;
            }
            let share = 1.0 / d_model as f32;
            let mean_gn =
                share * lane_sum([gradient, weights, x], |[dy, w, x]| dy * w * (x * scale));
            for ((gradient, &x), &weight) in gradient.iter_mut().zip(x).zip(weights) {
                *gradient = scale * (*gradient * weight - x * scale * mean_gn);
            }
        }
    }
}
