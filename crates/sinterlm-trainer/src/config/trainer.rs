//! The `[trainer]` table.

use burn::module::Module;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use sinterlm_model::{GptConfig, Precision, Selection};

use crate::error::TrainError;
use crate::memory::{MemoryEstimate, StepSize, training_memory};
use crate::non_finite::OnNonFinite;
use crate::optimizer::OptimizerMemory;
use crate::trainable::Trainable;

/// No budget is longer: a year.
const MOST_MINUTES: f64 = 525_600.0;

/// No machine holds more rows at once, and no step needs more.
const MOST_ROWS: u64 = 1_000_000;

/// More passes over the data teach nothing new.
const MOST_EPOCHS: f64 = 1e6;

/// Rows of one forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MicroBatch {
    /// That many rows.
    Rows(u64),
    /// As many as the memory holds, see [`TrainerConfig::fit_micro_batch`].
    Auto(Auto),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// Chosen at the start of the run.
    Auto,
}

/// The step loop: how much, in which pieces, in which precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Optimizer steps of the whole run.
    #[schemars(range(min = 1))]
    pub max_steps: u64,
    /// Minutes that the run may take, in place of `max_steps`: a probe of real steps before the first
    /// one turns them into steps, with evaluations, samples and checkpoints counted. The run keeps the
    /// steps and looks at no clock; on another machine it has another length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_minutes: Option<f64>,
    /// Passes over the data, in place of `max_steps`: the run turns them into steps before the first one
    /// and keeps these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_epochs: Option<f64>,
    /// Rows of one forward and backward pass; `"auto"` fits the memory and needs `rows_per_step`.
    pub micro_batch_size: MicroBatch,
    /// Micro-batches of one optimizer step; exact by tokens. With `"auto"` it follows.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub grad_accum_steps: u64,
    /// Rows of one optimizer step, for `micro_batch_size = "auto"`; 0 otherwise.
    #[schemars(range(max = 1_000_000))]
    pub rows_per_step: u64,
    /// Number format of the matrix products, `f32`, `bf16`, `f16`, or `auto`: `bf16` where that is
    /// known to be faster on the device, else `f32`. Weights and sums stay in f32. `f16` is for
    /// devices without bf16: the loss is scaled, by a factor that finds itself.
    pub precision: Precision,
    /// Keep the input of each block alone and compute the block again in the backward pass: less
    /// memory for a third more work (Chen et al. 2016, <https://arxiv.org/abs/1604.06174>).
    pub activation_checkpointing: bool,
    /// Largest norm of all gradients together; 0 switches clipping off. GPT-3: 1.0.
    #[schemars(range(min = 0.0))]
    pub max_grad_norm: f64,
    /// Decay of the moving average of the weights, which is then evaluated and exported; 0 = off.
    #[schemars(range(min = 0.0, max = 0.999_999_9))]
    pub ema_decay: f64,
    /// Parameters that are trained, by parts of their paths (`["blocks.5", "norm", "head"]`) or by names
    /// of published models (`["q_proj"]`); empty: all.
    pub train_only: Selection,
    /// Parameters that are frozen, likewise; of those that `train_only` selects.
    pub freeze: Selection,
    /// Evaluations without a new best value of `eval.best` before the run ends; 0 = never.
    pub early_stopping_patience: u64,
    /// What a step does whose loss or gradient is infinite or not a number: `stop` ends the run,
    /// `skip` counts the step and updates nothing. No such value reaches the weights.
    pub on_non_finite: OnNonFinite,
    /// With `skip`: steps in a row that may be skipped before the run ends.
    #[schemars(range(min = 1))]
    pub max_skipped_steps: u64,
    /// Deviations from the median loss of the last 64 steps at which a step's loss is reported as a
    /// spike; a deviation is 1.4826 median absolute deviations. 0 = never.
    #[schemars(range(min = 0.0))]
    pub spike_z: f64,
    /// Check the first step of a new run: loss near ln(vocabulary) where weights were drawn, a
    /// gradient and an update for every trainable tensor and no other, a trained token in every row.
    /// Costs two passes over the weights, once.
    pub first_step_checks: bool,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            max_steps: 1000,
            budget_minutes: None,
            max_epochs: None,
            micro_batch_size: MicroBatch::Rows(4),
            grad_accum_steps: 1,
            rows_per_step: 0,
            precision: Precision::F32,
            activation_checkpointing: false,
            max_grad_norm: 1.0,
            ema_decay: 0.0,
            train_only: Selection::default(),
            freeze: Selection::default(),
            early_stopping_patience: 0,
            on_non_finite: OnNonFinite::Stop,
            max_skipped_steps: 10,
            spike_z: 8.0,
            first_step_checks: true,
        }
    }
}

impl Validate for TrainerConfig {
    fn validate(&self, check: &mut Check) {
        let minutes = self.budget_minutes.unwrap_or(1.0);
        check.require(
            minutes > 0.0 && minutes <= MOST_MINUTES,
            "budget_minutes",
            || {
                format!(
                    "{minutes} is no time to train in; give minutes above 0 and up to {MOST_MINUTES}, a year, or leave it out"
                )
            },
        );
        let epochs = self.max_epochs.unwrap_or(1.0);
        check.require(epochs > 0.0 && epochs <= MOST_EPOCHS, "max_epochs", || {
            format!("{epochs} passes are none to train for; give a number above 0 and up to {MOST_EPOCHS}, or leave it out")
        });
        match self.micro_batch_size {
            MicroBatch::Rows(rows) => {
                check.require(rows > 0, "micro_batch_size", || {
                    "0 rows train nothing; use at least 1 or \"auto\"".to_owned()
                });
                check.require(rows <= MOST_ROWS, "micro_batch_size", || {
                    format!("{rows} rows fit into no memory; use {MOST_ROWS} at most")
                });
                let wanted = rows.saturating_mul(self.grad_accum_steps);
                let given = self.rows_per_step;
                check.require(given == 0 || given == wanted, "rows_per_step", || {
                    format!(
                        "{given} is not micro_batch_size {rows} times grad_accum_steps {}; leave it out",
                        self.grad_accum_steps
                    )
                });
            }
            MicroBatch::Auto(_) => {
                check.require(self.rows_per_step > 0, "rows_per_step", || {
                    "micro_batch_size \"auto\" needs the rows of one optimizer step; set it to 32, say"
                        .to_owned()
                });
            }
        }
    }
}

impl TrainerConfig {
    /// Freezes the parameters of a model that `train_only` and `freeze` leave out; what is frozen
    /// already stays so. A trainer does the same; before that it is for plans and sizes.
    ///
    /// # Errors
    /// [`TrainError::Selection`] and [`TrainError::NothingToTrain`].
    pub fn freeze_parameters<M: Module>(&self, model: M) -> Result<M, TrainError> {
        let selected = Trainable::select(model, &self.train_only, &self.freeze);
        selected.map(|(model, _)| model)
    }

    /// Resolves `micro_batch_size = "auto"`: the largest divisor of `rows_per_step` whose training
    /// memory is below four fifths of `available_bytes`; accumulation makes up the rest, so that
    /// the rows of a step don't depend on the machine.
    ///
    /// # Errors
    /// [`TrainError::NoMemory`] where not even one row fits.
    pub fn fit_micro_batch(
        &mut self,
        model: &GptConfig,
        optimizer: OptimizerMemory,
        available_bytes: u64,
    ) -> Result<(), TrainError> {
        if let MicroBatch::Rows(_) = self.micro_batch_size {
            return Ok(());
        }
        let budget = available_bytes / 5 * 4;
        let need = |rows: u64| {
            let micro_batches = self.rows_per_step / rows;
            let step = self.step_size(model, rows as usize, micro_batches, optimizer);
            training_memory(model, &step).peak()
        };
        let divisors = (1..=self.rows_per_step)
            .rev()
            .filter(|d| self.rows_per_step.is_multiple_of(*d));
        let Some(rows) = divisors.into_iter().find(|rows| need(*rows) <= budget) else {
            let (needed, available) = (need(1) >> 20, available_bytes >> 20);
            return Err(TrainError::NoMemory { needed, available });
        };
        self.micro_batch_size = MicroBatch::Rows(rows);
        self.grad_accum_steps = self.rows_per_step / rows;
        Ok(())
    }

    /// The memory of training `model` with these settings on rows of its `max_seq_len` tokens; the
    /// moving average of the weights counts as state of the optimizer.
    ///
    /// # Panics
    /// If `"auto"` was not resolved.
    pub fn memory_of(&self, model: &GptConfig, optimizer: OptimizerMemory) -> MemoryEstimate {
        let (rows, micro_batches) = (self.micro_rows(), self.grad_accum_steps);
        training_memory(
            model,
            &self.step_size(model, rows, micro_batches, optimizer),
        )
    }

    fn step_size(
        &self,
        model: &GptConfig,
        rows: usize,
        micro_batches: u64,
        optimizer: OptimizerMemory,
    ) -> StepSize {
        let average = if self.ema_decay > 0.0 {
            4 * optimizer.trained.values
        } else {
            0
        };
        StepSize {
            rows,
            seq: model.max_seq_len,
            precision: self.precision.matmul(),
            activation_checkpointing: self.activation_checkpointing,
            micro_batches,
            optimizer_state: optimizer.state + average,
            optimizer_scratch: optimizer.scratch,
            trained: Some(optimizer.trained),
        }
    }

    /// Rows of one micro-batch.
    ///
    /// # Panics
    /// If `"auto"` was not resolved.
    pub fn micro_rows(&self) -> usize {
        match self.micro_batch_size {
            MicroBatch::Rows(rows) => rows as usize,
            MicroBatch::Auto(_) => panic!("fit_micro_batch resolves \"auto\" before training"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Trained;
    use sinterlm_model::Preset;

    fn auto(rows_per_step: u64) -> TrainerConfig {
        TrainerConfig {
            micro_batch_size: MicroBatch::Auto(Auto::Auto),
            rows_per_step,
            ..TrainerConfig::default()
        }
    }

    #[test]
    fn rows_that_fit_into_no_memory_are_refused() {
        for rows in [0, MOST_ROWS + 1, u64::MAX] {
            let config = TrainerConfig {
                micro_batch_size: MicroBatch::Rows(rows),
                grad_accum_steps: 3,
                ..TrainerConfig::default()
            };
            let faults = Check::of(&config);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].path, "micro_batch_size");
        }
    }

    #[test]
    fn auto_takes_all_rows_where_memory_allows_and_accumulates_where_not() {
        let model = Preset::TinyStories.config();
        let optimizer = OptimizerMemory {
            state: 8 * model.parameters().total,
            scratch: 0,
            trained: Trained::all(&model),
        };
        let mut roomy = auto(12);
        roomy.fit_micro_batch(&model, optimizer, 1 << 40).unwrap();
        assert_eq!((roomy.micro_rows(), roomy.grad_accum_steps), (12, 1));

        let mut tight = auto(12);
        let two_rows = tight.step_size(&model, 2, 6, optimizer);
        let available = training_memory(&model, &two_rows).peak() * 5 / 4 + 8;
        tight.fit_micro_batch(&model, optimizer, available).unwrap();
        assert_eq!((tight.micro_rows(), tight.grad_accum_steps), (2, 6));

        // One block's activations at a time leave room for more rows.
        let mut checkpointed = TrainerConfig {
            activation_checkpointing: true,
            ..auto(12)
        };
        checkpointed
            .fit_micro_batch(&model, optimizer, available)
            .unwrap();
        assert!(checkpointed.micro_rows() >= 6, "{checkpointed:?}");

        let refused = auto(12)
            .fit_micro_batch(&model, optimizer, 1 << 20)
            .unwrap_err();
        assert!(
            refused.to_string().contains("lower model.max_seq_len"),
            "{refused}"
        );
    }
}
