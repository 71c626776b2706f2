//! The backward pass of `linear_logprobs` on flex, which is that of a weighted cross-entropy. The
//! passes over chunks are in `passes`.

use burn::backend::{
    Flex,
    autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    flex::FlexTensor,
    tensor::FloatTensor,
};

use super::{
    CrossEntropyOptions,
    passes::{Wanted, forward, logprobs},
};
use crate::buffer::from_vec;

/// Log-probabilities on the tape.
pub(super) fn tracked<C: CheckpointStrategy>(
    hidden: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    targets: FlexTensor,
    options: CrossEntropyOptions,
) -> FloatTensor<Autodiff<Flex, C>> {
    let wanted = Wanted {
        hidden: hidden.is_tracked(),
        weight: weight.is_tracked(),
    };
    let ((hidden, hidden_node), (weight, weight_node)) = (hidden.into_parts(), weight.into_parts());
    let logprobs = logprobs(&hidden, &weight, &targets, &options);
    match LogprobsBackward
        .prepare::<C>([hidden_node, weight_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => {
            let kept = Kept {
                hidden,
                weight,
                targets,
                options,
                wanted,
            };
            prep.finish(kept, logprobs)
        }
        OpsKind::UnTracked(prep) => prep.finish(logprobs),
    }
}

/// What the backward pass needs: the inputs, no logits.
#[derive(Clone, Debug)]
struct Kept {
    hidden: FlexTensor,
    weight: FlexTensor,
    targets: FlexTensor,
    options: CrossEntropyOptions,
    wanted: Wanted,
}

#[derive(Debug)]
struct LogprobsBackward;

/// Parents are `hidden` and `weight`.
impl Backward<Flex, 2> for LogprobsBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let gradient = gradient
            .as_slice::<f32>()
            .expect("log-probabilities are f32");
        // `Σ gᵢ·logpᵢ` is the cross-entropy with token weights `−gᵢ`.
        let token_weights = gradient.iter().map(|g| -g).collect::<Vec<_>>();
        let kept = ops.state;
        let plain = CrossEntropyOptions {
            label_smoothing: 0.0,
            z_loss: 0.0,
            ..kept.options
        };
        let n = token_weights.len();
        let (_, formed) = forward(
            &kept.hidden,
            &kept.weight,
            &kept.targets,
            &from_vec(token_weights, [n]),
            &plain,
            kept.wanted,
        );
        let [hidden, weight] = ops.parents;
        if let (Some(node), Some(formed)) = (hidden, formed.hidden) {
            grads.register::<Flex>(node.id, formed);
        }
        if let (Some(node), Some(formed)) = (weight, formed.weight) {
            grads.register::<Flex>(node.id, formed);
        }
    }
}
