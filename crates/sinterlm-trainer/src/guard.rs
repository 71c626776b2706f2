//! What a step without a usable gradient does: stop, pass it over, or lower the loss scale; and the
//! memory of it, which is part of the run's state. Looking at the step is left to `post_mortem`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinterlm_model::{CausalLm, Precision};
use sinterlm_run::{Event, Observer};

use crate::checkpoint::list_checkpoints;
use crate::config::TrainerConfig;
use crate::error::TrainError;
use crate::hooks::Hooks;
use crate::loss_scale::LossScale;
use crate::objective::Objective;
use crate::spikes::Spikes;
use crate::state::TrainState;
use crate::trainer::Trainer;

/// What happens to a step whose loss or gradient is infinite or not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNonFinite {
    /// The run ends with an error.
    #[default]
    Stop,
    /// The step is done without an update and its data passed over.
    Skip,
}

/// What the trainer remembers to judge a step by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Guard {
    /// Steps without an update, over the whole run.
    pub(crate) skipped: u64,
    /// Those since the last update that the loss scale is not to blame for.
    pub(crate) in_a_row: u64,
    /// In half precision alone.
    pub(crate) loss_scale: Option<LossScale>,
    pub(crate) spikes: Spikes,
}

impl Guard {
    pub(crate) fn new(config: &TrainerConfig) -> Self {
        Self {
            loss_scale: (config.precision == Precision::F16).then(LossScale::new),
            ..Self::default()
        }
    }

    /// Factor on the loss.
    pub(crate) fn scale(&self) -> f32 {
        self.loss_scale.map_or(1.0, |scale| scale.scale)
    }

    pub(crate) fn save(&self, state: &mut TrainState) {
        let mut put = |key: &str, value: Value| state.scalars.insert(key.to_owned(), value);
        put("skipped_steps", json!(self.skipped));
        put("skipped_in_a_row", json!(self.in_a_row));
        put("loss_spikes", json!(self.spikes.count));
        put("loss_window", json!(self.spikes.window));
        if let Some(LossScale { scale, good_steps }) = self.loss_scale {
            put("loss_scale", json!(scale));
            put("loss_scale_good_steps", json!(good_steps));
        }
    }

    /// Takes over what was saved; what an older checkpoint lacks starts anew.
    pub(crate) fn load(&mut self, state: &TrainState) {
        self.skipped = state.number("skipped_steps");
        self.in_a_row = state.number("skipped_in_a_row");
        self.spikes.count = state.number("loss_spikes");
        let window = state.scalars.get("loss_window").and_then(Value::as_array);
        let losses = window.into_iter().flatten().filter_map(Value::as_f64);
        self.spikes.window = losses.map(|loss| loss as f32).collect();
        let scale = state.scalars.get("loss_scale").and_then(Value::as_f64);
        if let (Some(own), Some(scale)) = (&mut self.loss_scale, scale) {
            *own = LossScale {
                scale: scale as f32,
                good_steps: state.number("loss_scale_good_steps"),
            };
        }
    }
}

impl<M: CausalLm, O: Objective<M>> Trainer<M, O> {
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
