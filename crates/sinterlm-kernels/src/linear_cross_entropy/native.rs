//! Linear and cross-entropy on flex as operations of burn; the work is done in `passes`.
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
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Int, Tensor},
};

use super::{
    CrossEntropyOptions, logprobs_backward,
    passes::{Formed, Wanted, forward, logprobs, scaled},
};

#[backend_extension(Flex, Autodiff)]
pub(crate) trait LinearCrossEntropyOp: Backend {
    fn linear_cross_entropy_op(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        token_weights: FloatTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self>;

    fn linear_logprobs_op(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self>;
}

pub(super) fn linear_cross_entropy(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    token_weights: Tensor<1>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::linear_cross_entropy_op(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        token_weights.cast(DType::F32).into_dispatch(),
        options,
    ))
}

pub(super) fn linear_logprobs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::linear_logprobs_op(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        options,
    ))
}

impl LinearCrossEntropyOp for Flex {
    fn linear_cross_entropy_op(
        hidden: FlexTensor,
        weight: FlexTensor,
        targets: FlexTensor,
        token_weights: FlexTensor,
        options: CrossEntropyOptions,
    ) -> FlexTensor {
        let none = Wanted {
            hidden: false,
            weight: false,
        };
        forward(&hidden, &weight, &targets, &token_weights, &options, none).0
    }

    fn linear_logprobs_op(
        hidden: FlexTensor,
        weight: FlexTensor,
        targets: FlexTensor,
        options: CrossEntropyOptions,
    ) -> FlexTensor {
        logprobs(&hidden, &weight, &targets, &options)
    }
}

impl<C: CheckpointStrategy> LinearCrossEntropyOp for Autodiff<Flex, C> {
    fn linear_cross_entropy_op(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: FlexTensor,
        token_weights: FloatTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self> {
        let wanted = Wanted {
            hidden: hidden.is_tracked(),
            weight: weight.is_tracked(),
        };
        let (loss, gradients) = forward(
            hidden.primitive(),
            weight.primitive(),
            &targets,
            token_weights.primitive(),
            &options,
            wanted,
        );
        let nodes = [hidden.node(), weight.node()];
        match CrossEntropyBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(gradients, loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }

    fn linear_logprobs_op(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: FlexTensor,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self> {
        logprobs_backward::tracked::<C>(hidden, weight, targets, options)
    }
}

#[derive(Debug)]
struct CrossEntropyBackward;

impl Backward<Flex, 2> for CrossEntropyBackward {
    type State = Formed;

    fn backward(self, ops: Ops<Formed, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let factor = gradient.as_slice::<f32>().expect("the loss is one f32")[0];
        let [hidden, weight] = ops.parents;
        if let (Some(node), Some(formed)) = (hidden, ops.state.hidden) {
            grads.register::<Flex>(node.id, scaled(formed, factor));
        }
        if let (Some(node), Some(formed)) = (weight, ops.state.weight) {
            grads.register::<Flex>(node.id, scaled(formed, factor));
        }
    }
}
