//! Activation checkpointing: parts of a forward pass that keep their input alone and are computed
//! again for the backward pass. Which parts these are is left to the model.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Gradients, Tensor};

/// The parts of one forward pass that its backward pass computes again (Chen et al. 2016,
/// <https://arxiv.org/abs/1604.06174>): memory of one part at a time, for one more forward pass.
///
/// A part runs without a tape; its result is a leaf, at which the tape of the next part ends. The
/// backward pass walks over the parts from last to first: it runs one again, now with a tape, from
/// the gradient of its result to those of its input and parameters.
///
/// Serves one forward and backward pass. Clones share the parts. It holds clones of parameters
/// until [`backward`](Self::backward) has used them, or it is dropped.
#[derive(Clone, Default)]
pub struct Checkpointing {
    parts: Arc<Mutex<Vec<Part>>>,
}

struct Part {
    /// Leaf with the result.
    output: Tensor<3>,
    /// The result on a tape, which ends at the parameters and at the output of the part before.
    rerun: Box<dyn FnOnce() -> Tensor<3> + Send>,
}

impl Checkpointing {
    /// Adds a part: its result, and how to compute that again with a tape. Returns the leaf for
    /// the next part to read.
    pub(crate) fn part(
        &self,
        output: Tensor<3>,
        rerun: impl FnOnce() -> Tensor<3> + Send + 'static,
    ) -> Tensor<3> {
        let output = output.without_autodiff().autodiff().require_grad();
        self.with_parts(|parts| {
            parts.push(Part {
                output: output.clone(),
                rerun: Box::new(rerun),
            });
        });
        output
    }

    /// Finishes the backward pass that `tape` began at the loss: `take` gets that tape and then
    /// the tape of each part, last to first, each with gradients of parameters that it may take
    /// out. A parameter that several parts use has a share of its gradient on each of their tapes.
    pub fn backward(&self, tape: &mut Gradients, mut take: impl FnMut(&mut Gradients)) {
        take(tape);
        let mut later: Option<Gradients> = None;
        while let Some(Part { output, rerun }) = self.with_parts(Vec::pop) {
            let from_later = later.as_mut().and_then(|later| output.grad_remove(later));
            let Some(gradient) = from_later.or_else(|| output.grad_remove(tape)) else {
                continue; // the loss does not depend on it
            };
            drop(output);
            let output = rerun();
            if output.is_tracked() {
                // The value of the sum is not used: a vector-Jacobian product in burn's terms.
                let mut own = (output * gradient).sum().backward();
                take(&mut own);
                later = Some(own);
            }
        }
    }

    fn with_parts<R>(&self, f: impl FnOnce(&mut Vec<Part>) -> R) -> R {
        // Pushing and popping leave nothing half done.
        f(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Checkpointing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.with_parts(|parts| parts.len());
        f.debug_struct("Checkpointing")
            .field("parts", &parts)
            .finish()
    }
}
