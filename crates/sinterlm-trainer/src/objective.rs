//! What a run trains on and towards: the one trait that pretraining, fine-tuning and alignment
//! implement, so that all of them share the step loop.

use burn::tensor::Tensor;
use sinterlm_losses::TokenCount;
use sinterlm_model::{CausalLm, ForwardCtx};
use sinterlm_run::RowFacts;

use crate::error::TrainError;
use crate::state::TrainState;

/// A place in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Optimizer step, from 0.
    pub step: u64,
    /// Micro-batch within the step, from 0.
    pub micro: u64,
}

/// How the run goes on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// With the next step.
    Continue,
    /// Not at all: the objective is done.
    Stop,
}

/// A training objective over models of type `M`.
pub trait Objective<M: CausalLm> {
    /// One micro-batch, on the host.
    type Batch;

    /// Work before a step that needs the model: rollouts, reference scores. Nothing by default.
    ///
    /// # Errors
    /// Whatever the objective's data can go wrong with.
    fn prepare(&mut self, _model: &M, _step: u64) -> Result<(), TrainError> {
        Ok(())
    }

    /// The micro-batch at a place of the run: a pure function of it, in O(1).
    ///
    /// # Errors
    /// Whatever the objective's data can go wrong with.
    fn batch(&self, at: At) -> Result<Self::Batch, TrainError>;

    /// Tokens of a batch that carry loss; the step divides by their sum over its micro-batches.
    fn count(&self, batch: &Self::Batch) -> TokenCount;

    /// The batch's share of the step's loss, `[1]`: already divided by the tokens of the `step`.
    fn loss(&self, model: &M, batch: &Self::Batch, step: TokenCount, ctx: &ForwardCtx)
    -> Tensor<1>;

    /// The rows of a batch with ids and trained tokens, for checks and for people; none by default.
    fn rows(&self, _batch: &Self::Batch) -> Vec<RowFacts> {
        Vec::new()
    }

    /// Adds where the rows of the batch at a place come from. Asked for after a failure alone, so it
    /// may take long. Nothing by default.
    fn locate(&self, _at: At, _rows: &mut [RowFacts]) {}

    /// Called after each optimizer step, skipped ones included. Goes on by default.
    fn after_step(&mut self, _step: u64) -> Next {
        Next::Continue
    }

    /// Writes what the objective needs to go on. Nothing by default.
    fn save(&self, _state: &mut TrainState) {}

    /// Reads it back. Nothing by default.
    ///
    /// # Errors
    /// Where the state does not fit the objective.
    fn load(&mut self, _state: &TrainState) -> Result<(), TrainError> {
        Ok(())
    }
}
