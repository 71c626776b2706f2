//! What a step without a usable gradient does: stop, skip it, or lower the loss scale. Looking at the
//! step is left to `examine`.

use burn::module::Module;
use sinterlm_run::{Event, Observer};

use super::Trainer;
use crate::checkpoint::list_checkpoints;
use crate::error::TrainError;
use crate::guard::Guard;
use crate::hooks::Hooks;
use crate::non_finite::OnNonFinite;
use crate::objective::Objective;

impl<M: Module, O: Objective<M>> Trainer<M, O> {
    /// Decides about a step whose `fault` is not finite: an error ends the run, else it is skipped.
    ///
    /// In half precision a gradient that is not finite under a finite loss is taken for an overflow
    /// as long as the loss scale can be halved.
    pub(crate) fn pass_over(
        &mut self,
        fault: String,
        loss_is_finite: bool,
    ) -> Result<(), TrainError> {
        let step = self.meters.steps + 1;
        if loss_is_finite
            && let Some(scale) = &mut self.guard.loss_scale
            && scale.halve()
        {
            tracing::info!(step, loss_scale = scale.scale, "overflow in half precision");
            self.guard.skipped += 1;
            return Ok(());
        }
        let mut found = String::new();
        if self.guard.in_a_row == 0 {
            let report = self.examine(&fault)?;
            if let Some(first) = &report.first_activation {
                found = format!(" (first in {})", first.name);
            }
            self.post_mortem = Some(report);
        }
        let limit = match self.config.on_non_finite {
            OnNonFinite::Stop => 0,
            OnNonFinite::Skip => self.config.max_skipped_steps,
        };
        let what = fault + &found;
        if self.guard.in_a_row >= limit {
            let skipped = self.guard.in_a_row;
            return Err(TrainError::NotFinite {
                step,
                what,
                skipped,
            });
        }
        self.guard.in_a_row += 1;
        self.guard.skipped += 1;
        tracing::warn!(
            step,
            "train/skipped_steps" = self.guard.skipped,
            "{what} is not finite"
        );
        self.notes.push(format!(
            "step {step}: {what} is not finite; skipped, {} in all",
            self.guard.skipped
        ));
        Ok(())
    }

    /// Takes note of an update.
    pub(crate) fn updated(&mut self, loss: f64) {
        self.guard.in_a_row = 0;
        if let Some(scale) = &mut self.guard.loss_scale {
            scale.good();
        }
        if let Some(z) = self.guard.spikes.judge(loss, self.config.spike_z) {
            let step = self.meters.steps;
            tracing::warn!(
                step,
                "train/loss" = loss,
                z,
                "the loss jumped: lower optimizer.peak_lr if that goes on"
            );
            self.notes.push(format!(
                "step {step}: the loss jumped to {loss:.4}, {z:.1} deviations above the last steps"
            ));
        }
    }

    /// Hands what the last step left to tell to the observers.
    pub(crate) fn tell(&mut self, hooks: &mut Hooks<'_, M>) -> Result<(), TrainError> {
        if let Some(mut report) = self.post_mortem.take() {
            let folder = hooks.checkpoints.as_ref().map(|to| &to.folder);
            report.last_checkpoint = folder.and_then(|folder| list_checkpoints(folder).pop());
            hooks.observers.on_event(&Event::NotFinite(&report))?;
        }
        for note in std::mem::take(&mut self.notes) {
            hooks.observers.on_event(&Event::Note { text: &note })?;
        }
        let samples = std::mem::take(&mut self.samples.0);
        if !samples.is_empty() {
            let event = Event::Sampled {
                step: self.meters.steps,
                tokens: self.tokens(),
                samples: &samples,
            };
            hooks.observers.on_event(&event)?;
        }
        Ok(())
    }

    /// Further figures of a line of metrics.
    pub(crate) fn guard_figures(&self) -> Vec<(String, f64)> {
        let Guard {
            skipped,
            loss_scale,
            spikes,
            ..
        } = &self.guard;
        let may_skip = loss_scale.is_some() || self.config.on_non_finite == OnNonFinite::Skip;
        let figures = [
            ("train/skipped_steps", may_skip.then_some(*skipped as f64)),
            (
                "train/loss_scale",
                loss_scale.map(|scale| f64::from(scale.scale)),
            ),
            (
                "train/loss_spikes",
                (self.config.spike_z > 0.0).then_some(spikes.count as f64),
            ),
        ];
        figures
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
