//! What a run trains on and towards: the one trait that pretraining, fine-tuning and alignment
//! implement, so that all of them share the step loop.

use burn::module::Module;
use burn::tensor::Tensor;
use sinterlm_losses::Counts;
use sinterlm_model::ForwardCtx;
use sinterlm_run::RowFacts;

use crate::error::TrainError;
use crate::figures::{Figures, Samples, StepFigures};
use crate::state::TrainState;

/// A place in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Optimizer step, from 0.
    pub step: u64,
    /// Micro-batch within the step, from 0.
    pub micro: u64,
}

/// What the objective wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next step.
    Continue,
    /// The end of the run: the objective is done.
    Stop,
}

/// A training objective over models of type `M`: any module, since the objective alone knows how its
/// loss reads it.
pub trait Objective<M: Module> {
    /// One micro-batch, on the host.
    type Batch;

    /// Work before a step that needs the model: rollouts, reference scores. Nothing by default.
    ///
    /// # Errors
    /// Whatever the objective's data can go wrong with.
    fn prepare(
        &mut self,
        _model: &M,
        _step: u64,
        _figures: &mut Figures,
        _samples: &mut Samples,
    ) -> Result<(), TrainError> {
        Ok(())
    }

    /// The micro-batch at a place of the run: a pure function of it and of what [`save`](Self::save)
    /// writes, in O(1).
    ///
    /// # Errors
    /// Whatever the objective's data can go wrong with.
    fn batch(&self, at: At) -> Result<Self::Batch, TrainError>;

    /// What the losses of a batch are means over. The step adds these up over its micro-batches, and
    /// each term of the loss divides by the sum that is its own; `tokens` is also how the run counts
    /// its progress.
    fn counts(&self, batch: &Self::Batch) -> Counts;

    /// The batch's share of the step's loss, `[1]`: already divided by the counts of the `step`.
    /// Figures beside the loss go into `figures`.
    fn loss(
        &self,
        model: &M,
        batch: &Self::Batch,
        step: &Counts,
        ctx: &ForwardCtx,
        figures: &mut Figures,
    ) -> Tensor<1>;

    /// The loss of a first step that learned nothing yet, in nats: ln(vocabulary), ln(classes), ln 2.
    /// The checks of the first step hold the loss against it; none by default.
    fn first_loss(&self, _model: &M) -> Option<f64> {
        None
    }

    /// Passes over the data after that many steps; none for an objective without an end of its data.
    fn epochs(&self, _steps: u64) -> Option<f64> {
        None
    }

    /// The rows of a batch with ids and trained tokens, for checks and for people; none by default.
    fn rows(&self, _batch: &Self::Batch) -> Vec<RowFacts> {
        Vec::new()
    }

    /// Adds where the rows of the batch at a place come from. Asked for after a failure alone, so it
    /// may take long. Nothing by default.
    fn locate(&self, _at: At, _rows: &mut [RowFacts]) {}

    /// Called after each optimizer step, skipped ones included, with its figures: adapts coefficients,
    /// ends phases. Continues by default.
    fn after_step(&mut self, _step: u64, _seen: &StepFigures) -> Next {
        Next::Continue
    }

    /// Writes what the objective needs to go on. Nothing by default.
    fn save(&self, _state: &mut TrainState) {}

    /// Reads it back, also into an objective that went on from there: a time budget is probed by real
    /// steps, which are undone so. Nothing by default.
    ///
    /// # Errors
    /// Where the state does not fit the objective.
    fn load(&mut self, _state: &TrainState) -> Result<(), TrainError> {
        Ok(())
    }
}
