//! Layer normalisation on flex: the forward pass keeps each row's mean and reciprocal deviation,
//! the backward pass forms those gradients that are wanted in one sweep.
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

/// Rows of one task. Fixed, so that the gradients of weight and bias, summed block by block, have
/// the same bits for any number of threads.
const BLOCK_ROWS: usize = 32;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait LayerNormOp: Backend {
    fn layer_norm_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn layer_norm_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
}

pub(super) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    eps: f64,
) -> Tensor<D> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::layer_norm_bias_op(x, weight, bias.into_dispatch(), eps),
        None => Dispatch::layer_norm_op(x, weight, eps),
    })
}

impl LayerNormOp for Flex {
    fn layer_norm_op(x: FlexTensor, weight: FlexTensor, eps: f64) -> FlexTensor {
        forward(x, weight, None, eps).0
    }
    fn layer_norm_bias_op(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        eps: f64,
    ) -> FlexTensor {
        forward(x, weight, Some(bias), eps).0
    }
}

impl<C: CheckpointStrategy> LayerNormOp for Autodiff<Flex, C> {
    fn layer_norm_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (y, kept) = forward(x, weight, None, eps);
        match LayerNormBackward
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(kept, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn layer_norm_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let (y, kept) = forward(x, weight, Some(bias), eps);
        let nodes = [x_node, weight_node, bias_node];
        match LayerNormBackward
            .prepare::<C>(nodes)
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
    rows: Arc<Vec<RowStatistics>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RowStatistics {
    mean: f32,
    /// `1/√(var + eps)`
    scale: f32,
}

#[derive(Debug)]
struct LayerNormBackward;

/// Parents are `x`, `weight` and, where there is one, the bias.
impl<const N: usize> Backward<Flex, N> for LayerNormBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let wants_x = ops.parents[0].is_some();
        let wants_sums = ops.parents[1..].iter().any(Option::is_some);
        let (dx, dweight, dbias) = backward(dy, &ops.state, wants_x, wants_sums);
        if let Some(node) = &ops.parents[0] {
            grads.register::<Flex>(node.id, dx);
        }
        let d_model = dweight.len();
        if let Some(node) = &ops.parents[1] {
            grads.register::<Flex>(node.id, from_vec(dweight, [d_model]));
        }
        if let Some(Some(node)) = ops.parents.get(2) {
            grads.register::<Flex>(node.id, from_vec(dbias, [d_model]));
        }
    }
}

fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    eps: f64,
) -> (FlexTensor, Kept) {
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let values = x.as_slice::<f32>().expect("x is contiguous f32");
    let weights = weight.as_slice::<f32>().expect("weight is contiguous f32");
    let d_model = weights.len();
    let bias = match bias {
        Some(bias) => bias.to_contiguous(),
        None => from_vec(vec![0.0; d_model], [d_model]),
    };
    let bias = bias.as_slice::<f32>().expect("bias is contiguous f32");
    let block = BLOCK_ROWS * d_model.max(1);
    let mut rows = vec![RowStatistics::default(); values.len() / d_model.max(1)];
    // SAFETY: `Normalize` writes each whole row of its block, and whole rows cover the buffer.
    let y = unsafe {
        filled(values.len(), |y| {
            y.par_chunks_mut(block)
                .zip(values.par_chunks(block))
                .zip(rows.par_chunks_mut(BLOCK_ROWS))
                .for_each(|((y, x), rows)| {
                    vectorized(Normalize {
                        x,
                        weights,
                        bias,
                        eps,
                        y,
                        rows,
                    });
                });
        })
    };
    let y = FlexTensor::from_data(TensorData::new(y, x.shape()));
    let rows = Arc::new(rows);
    (y, Kept { x, weight, rows })
}

struct Normalize<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    eps: f64,
    y: &'a mut [MaybeUninit<f32>],
    rows: &'a mut [RowStatistics],
}

impl Kernel for Normalize<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self {
            weights, bias, eps, ..
        } = self;
        let d_model = weights.len();
        let pairs = self
            .x
            .chunks_exact(d_model)
            .zip(self.y.chunks_exact_mut(d_model));
        for ((x, y), statistics) in pairs.zip(self.rows) {
            let mean = lane_sum([x], |[x]| x) / d_model as f32;
            let squares = lane_sum([x], |[x]| (x - mean) * (x - mean));
            let variance = f64::from(squares) / d_model as f64;
            let scale = (1.0 / (variance + eps).sqrt()) as f32;
            for (((y, &x), &weight), &bias) in y.iter_mut().zip(x).zip(weights).zip(bias) {
                y.write((x - mean) * scale * weight + bias);
            }
            *statistics = RowStatistics { mean, scale };
        }
    }
}

/// Gradients of `x` (in the buffer of `dy` where no one else holds it), weight and bias; what is not
/// wanted, `x` or the other two, is not formed, and what stands in its place means nothing.
fn backward(
    dy: FlexTensor,
    kept: &Kept,
    wants_x: bool,
    wants_sums: bool,
) -> (FlexTensor, Vec<f32>, Vec<f32>) {
    let x = kept.x.as_slice::<f32>().expect("x was kept contiguous");
    let weights = kept
        .weight
        .as_slice::<f32>()
        .expect("weight was kept contiguous");
    let d_model = weights.len();
    let block = BLOCK_ROWS * d_model.max(1);
    let width = if wants_sums { d_model } else { 0 };
    let mut gradient = for_writing(dy);
    let partial = gradient
        .storage_mut::<f32>()
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(kept.rows.par_chunks(BLOCK_ROWS))
        .map(|((gradient, x), rows)| {
            let mut sums = vec![0.0; 2 * width];
            let (dweight, dbias) = sums.split_at_mut(width);
            vectorized(Derive {
                x,
                rows,
                weights,
                wants_x,
                gradient,
                dweight,
                dbias,
            });
            sums
        })
        .collect::<Vec<_>>();
    let mut dweight = sum_in_order(partial, 2 * width);
    let dbias = dweight.split_off(width);
    (gradient, dweight, dbias)
}

/// With `n = (x − mean)·scale` and `g = dy·weight`: `dx = scale·(g − mean(g) − n·mean(g·n))`.
struct Derive<'a> {
    x: &'a [f32],
    rows: &'a [RowStatistics],
    weights: &'a [f32],
    wants_x: bool,
    /// `dy`, overwritten by `dx` if that is wanted.
    gradient: &'a mut [f32],
    /// Both empty if they are not wanted.
    dweight: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl Kernel for Derive<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self {
            weights,
            wants_x,
            dweight,
            dbias,
            ..
        } = self;
        let d_model = weights.len();
        let pairs = self
            .x
            .chunks_exact(d_model)
            .zip(self.gradient.chunks_exact_mut(d_model));
        for ((x, gradient), &RowStatistics { mean, scale }) in pairs.zip(self.rows) {
            // Two loops, as one has too many places that might overlap to become vector code.
            let sums = dweight.iter_mut().zip(dbias.iter_mut());
            for ((&dy, &x), (dweight, dbias)) in gradient.iter().zip(x).zip(sums) {
                *dweight += dy * ((x - mean) * scale);
                *dbias += dy;
            }
            if !wants_x {
                continue;
            }
            let share = 1.0 / d_model as f32;
            let mean_g = share * lane_sum([gradient, weights], |[dy, w]| dy * w);
            let mean_gn = share
                * lane_sum([gradient, weights, x], |[dy, w, x]| {
                    dy * w * ((x - mean) * scale)
                });
            for ((gradient, &x), &weight) in gradient.iter_mut().zip(x).zip(weights) {
                let normal = (x - mean) * scale;
                *gradient = scale * (*gradient * weight - mean_g - normal * mean_gn);
            }
        }
    }
}
