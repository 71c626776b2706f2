//! A step computed once more with a probe: which activation, gradient or weight is not finite first,
//! and the rows that led there. Nothing is updated, and no file written.

use burn::module::Module;
use sinterlm_model::{Probe, TensorSummary};
use sinterlm_run::{PostMortem, TensorFacts};

use super::Trainer;
use super::step::Pass;
use crate::error::TrainError;
use crate::figures::{Figures, Samples};
use crate::gradients::{Gradients, weight_summaries};
use crate::objective::{At, Objective};

impl<M: Module, O: Objective<M>> Trainer<M, O> {
    /// Computes the next step without doing it and tells what its tensors hold: of the first
    /// micro-batch with a value that is not finite, or of the last one where there is none.
    ///
    /// # Errors
    /// Whatever the objective's data can go wrong with.
    pub fn replay(&mut self) -> Result<PostMortem, TrainError> {
        let model = self
            .model
            .take()
            .expect("the model is away only inside a step");
        let (mut figures, mut samples) = (Figures::default(), Samples::default());
        let step = self.meters.steps;
        let prepared = self
            .objective
            .prepare(&model, step, &mut figures, &mut samples);
        self.model = Some(model);
        prepared?;
        self.examine("")
    }

    /// [`replay`](Self::replay) of a step that the objective is prepared for, with its known fault.
    pub(crate) fn examine(&self, fault: &str) -> Result<PostMortem, TrainError> {
        let (model, step) = (self.model(), self.meters.steps);
        let batches = self.micro_batches(step)?;
        let total = self.total(&batches);
        let mut report = PostMortem::default();
        for (micro, batch) in (0..).zip(&batches) {
            let at = At { step, micro };
            let probe = Probe::default();
            let mut gradients = Gradients::default();
            let mut pass = Pass {
                at,
                total,
                probe: Some(&probe),
                gradients: &mut gradients,
                figures: &mut Figures::default(),
            };
            let share = self.pass(model, batch, &mut pass);
            let loss = f64::from(share.into_scalar::<f32>());
            let activations = facts(probe.take());
            let first_activation = activations.iter().find(|t| t.not_finite > 0).cloned();
            let gradients = facts(gradients.summaries(model));
            // The backward pass comes from the last parameters to the first.
            let bad_gradient = gradients.iter().rfind(|t| t.not_finite > 0);
            let found = match (&first_activation, bad_gradient) {
                (Some(_), _) if !loss.is_finite() => "the loss".to_owned(),
                (_, Some(gradient)) => format!("the gradient of {}", gradient.name),
                (Some(activation), _) => activation.name.clone(),
                (None, None) => String::new(),
            };
            let is_bad = !found.is_empty();
            let mut rows = self.objective.rows(batch);
            self.objective.locate(at, &mut rows);
            report = PostMortem {
                step: step + 1,
                micro_batch: micro,
                // Where each micro-batch alone is fine, what their sum showed is still true.
                fault: if is_bad { found } else { fault.to_owned() },
                first_activation,
                loss,
                precision: format!("{:?}", self.config.precision).to_lowercase(),
                loss_scale: f64::from(self.guard.scale()),
                weights: Vec::new(),
                activations,
                gradients,
                rows,
                last_checkpoint: None,
                replay: None,
            };
            if is_bad {
                break;
            }
        }
        report.weights = facts(weight_summaries(model));
        report.weights.retain(|weight| weight.not_finite > 0);
        Ok(report)
    }
}

fn facts(summaries: Vec<TensorSummary>) -> Vec<TensorFacts> {
    let fact = |summary: TensorSummary| TensorFacts {
        name: summary.name,
        shape: summary.shape,
        dtype: summary.dtype,
        min: f64::from(summary.min),
        max: f64::from(summary.max),
        not_finite: summary.not_finite,
        rows: summary.rows,
    };
    summaries.into_iter().map(fact).collect()
}
