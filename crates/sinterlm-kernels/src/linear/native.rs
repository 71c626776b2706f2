//! The affine map on flex: matrix products with the bias accumulated into, and their gradients.
#![allow(unsafe_code)] // the output is filled with the bias, not zeroed
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

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
    tensor::Tensor,
};
use rayon::prelude::*;

use super::{FEW_ROWS, few_rows};
use crate::{
    MatmulPrecision,
    buffer::{filled, from_vec, matrix, rows_contiguous},
    isa::{Kernel, vectorized},
    product::{new_product, threaded_product},
    reduce::sum_in_order,
};

/// Rows whose sum one task forms; fixed, so that sums do not depend on the number of threads.
const SUM_ROWS: usize = 128;

/// Rows that one task fills with the bias.
const FILL_ROWS: usize = 64;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait LinearOp: Backend {
    fn linear_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        precision: MatmulPrecision,
    ) -> FloatTensor<Self>;
    fn linear_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        precision: MatmulPrecision,
    ) -> FloatTensor<Self>;
}

pub(super) fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: MatmulPrecision,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::linear_bias_op(x, weight, bias.into_dispatch(), precision),
        None => Dispatch::linear_op(x, weight, precision),
    })
}

impl LinearOp for Flex {
    fn linear_op(x: FlexTensor, weight: FlexTensor, precision: MatmulPrecision) -> FlexTensor {
        forward(
            &rows_contiguous(x),
            &rows_contiguous(weight),
            None,
            precision,
        )
    }
    fn linear_bias_op(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        precision: MatmulPrecision,
    ) -> FlexTensor {
        let (x, weight) = (rows_contiguous(x), rows_contiguous(weight));
        forward(&x, &weight, Some(&bias), precision)
    }
}

impl<C: CheckpointStrategy> LinearOp for Autodiff<Flex, C> {
    fn linear_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        precision: MatmulPrecision,
    ) -> FloatTensor<Self> {
        let tracked = [x.is_tracked(), weight.is_tracked()];
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let operands = [rows_contiguous(x), rows_contiguous(weight)];
        let y = forward(&operands[0], &operands[1], None, precision);
        match LinearBackward
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(kept(operands, tracked, precision), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn linear_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        precision: MatmulPrecision,
    ) -> FloatTensor<Self> {
        let tracked = [x.is_tracked(), weight.is_tracked()];
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let operands = [rows_contiguous(x), rows_contiguous(weight)];
        let y = forward(&operands[0], &operands[1], Some(&bias), precision);
        let nodes = [x_node, weight_node, bias_node];
        match LinearBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(kept(operands, tracked, precision), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// What the backward pass needs: `x` for the weight's gradient, the weight for that of `x`.
#[derive(Clone, Debug)]
struct Kept {
    x: Option<FlexTensor>,
    weight: Option<FlexTensor>,
    precision: MatmulPrecision,
}

fn kept(
    [x, weight]: [FlexTensor; 2],
    [x_tracked, weight_tracked]: [bool; 2],
    precision: MatmulPrecision,
) -> Kept {
    Kept {
        x: weight_tracked.then_some(x),
        weight: x_tracked.then_some(weight),
        precision,
    }
}

#[derive(Debug)]
struct LinearBackward;

/// Parents are `x`, `weight` and, where there is one, the bias.
impl<const N: usize> Backward<Flex, N> for LinearBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let Kept {
            x,
            weight,
            precision,
        } = ops.state;
        if let (Some(node), Some(weight)) = (&ops.parents[0], weight) {
            grads.register::<Flex>(node.id, times(&dy, &weight, precision));
        }
        if let (Some(node), Some(x)) = (&ops.parents[1], x) {
            grads.register::<Flex>(node.id, times(&dy.transpose(0, 1), &x, precision));
        }
        if let Some(Some(node)) = ops.parents.get(2) {
            let cols = dy.shape()[1];
            let values = dy.as_slice::<f32>().expect("dy is contiguous f32");
            grads.register::<Flex>(node.id, from_vec(column_sums(values, cols), [cols]));
        }
    }
}

fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    precision: MatmulPrecision,
) -> FlexTensor {
    let shape = [x.shape()[0], weight.shape()[0]];
    // With a tape or without: a part that is computed again must come out the same.
    if precision == MatmulPrecision::F32 && (1..=FEW_ROWS).contains(&shape[0]) {
        return few_rows::linear(x, weight, bias);
    }
    let weight = weight.transpose(0, 1); // [d_in, d_out]
    let Some(bias) = bias else {
        return times(x, &weight, precision);
    };
    let bias = bias.to_contiguous();
    let bias = bias.as_slice::<f32>().expect("bias is contiguous f32");
    // The product is added to rows that already hold the bias: cheaper than a pass afterwards.
    // SAFETY: the bias is copied into every whole row, and there are no other elements.
    let mut y = unsafe {
        filled(shape[0] * shape[1], |y| {
            y.par_chunks_mut(FILL_ROWS * shape[1].max(1))
                .for_each(|rows| {
                    for row in rows.chunks_exact_mut(shape[1]) {
                        row.write_copy_of_slice(bias);
                    }
                });
        })
    };
    if let (Some(x), Some(weight)) = (matrix(x), matrix(&weight)) {
        threaded_product(&mut y, true, x, weight, precision);
    }
    from_vec(y, shape)
}

/// The product of two matrices; zeros where nothing is summed.
fn times(a: &FlexTensor, b: &FlexTensor, precision: MatmulPrecision) -> FlexTensor {
    let shape = [a.shape()[0], b.shape()[1]];
    let values = match (matrix(a), matrix(b)) {
        (Some(a), Some(b)) => new_product(a, b, precision),
        _ => vec![0.0; shape[0] * shape[1]],
    };
    from_vec(values, shape)
}

/// Sum over the rows of a row-major matrix.
fn column_sums(values: &[f32], cols: usize) -> Vec<f32> {
    if values.is_empty() {
        return vec![0.0; cols];
    }
    let partial = values.par_chunks(SUM_ROWS * cols).map(|rows| {
        let mut sums = vec![0.0; cols];
        vectorized(AddRows {
            rows,
            sums: &mut sums,
        });
        sums
    });
    sum_in_order(partial.collect(), cols)
}

struct AddRows<'a> {
    rows: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for row in self.rows.chunks_exact(self.sums.len()) {
            for (sum, &value) in self.sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}
