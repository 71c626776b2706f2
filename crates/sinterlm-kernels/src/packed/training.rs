//! The product with a packed weight on the tape, on flex: the weight is frozen and stays packed, and the
//! gradient of the input is formed from parts of it that are unpacked one after the other.

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

use super::{PackedMatrix, native};
use crate::{
    MatmulPrecision,
    buffer::{from_vec, rows_contiguous},
    product::{Matrix, threaded_product},
};

/// Weights that are unpacked at a time, 8 MiB.
const UNPACKED_NUMBERS: usize = 1 << 21;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait PackedLinearOp: Backend {
    fn packed_linear_op(x: FloatTensor<Self>, weight: PackedMatrix) -> FloatTensor<Self>;
}

/// `x Wᵀ` for an `x` on an autodiff device.
pub(super) fn linear(x: Tensor<2>, weight: &PackedMatrix) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::packed_linear_op(
        x.into_dispatch(),
        weight.clone(),
    ))
}

impl PackedLinearOp for Flex {
    fn packed_linear_op(x: FlexTensor, weight: PackedMatrix) -> FlexTensor {
        let x = Tensor::<2>::from_primitive::<Self>(x);
        let y = native::linear(x, &weight, None).try_into_primitive::<Self>();
        y.expect("the native product is made on flex")
    }
}

impl<C: CheckpointStrategy> PackedLinearOp for Autodiff<Flex, C> {
    fn packed_linear_op(x: FloatTensor<Self>, weight: PackedMatrix) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = Flex::packed_linear_op(x, weight.clone());
        match PackedLinearBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(weight, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct PackedLinearBackward;

/// The parent is `x`.
impl Backward<Flex, 1> for PackedLinearBackward {
    type State = PackedMatrix;

    fn backward(self, ops: Ops<PackedMatrix, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, input_gradient(gradient, &ops.state));
        }
    }
}

/// `dx = dy W`.
fn input_gradient(gradient: FlexTensor, weight: &PackedMatrix) -> FlexTensor {
    let [d_out, d_in] = weight.shape;
    let gradient = rows_contiguous(gradient);
    let rows = gradient.layout().shape()[0];
    let stride = gradient.layout().strides()[0] as usize;
    let values = &gradient.storage::<f32>()[gradient.layout().start_offset()..];
    let mut out = vec![0.0; rows * d_in];
    let lines = (UNPACKED_NUMBERS / d_in.max(1)).max(1);
    if !out.is_empty() {
        for first in (0..d_out).step_by(lines) {
            let lines = lines.min(d_out - first);
            let numbers = native::unpack_lines(weight, first..first + lines);
            threaded_product(
                &mut out,
                first > 0,
                Matrix::new(&values[first..], rows, lines, stride),
                Matrix::new(&numbers, lines, d_in, d_in),
                MatmulPrecision::F32,
            );
        }
    }
    from_vec(out, [rows, d_in])
}
