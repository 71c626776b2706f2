//! The `[eval]` table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use crate::best::{Best, Goal};
use crate::trigger::Trigger;

/// Evaluation and samples during the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Evaluate every that many steps, and at the end; 0 = only at the end.
    pub every_steps: u64,
    /// Evaluate every that many trained tokens; 0 = not by tokens.
    pub every_tokens: u64,
    /// Evaluate every that many passes over the data, or every such part of one; 0 = not by epochs.
    #[schemars(range(min = 0.0))]
    pub every_epochs: f64,
    /// Evaluate every such share of the run; 0 = not by shares.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub every_fraction: f64,
    /// The metric by which evaluations are compared: for early stopping, `checkpoint.keep_best` and
    /// `stop_at`. One of the names that an evaluation prints.
    pub best: String,
    /// Whether a smaller value of it is better (`min`) or a larger one (`max`).
    pub goal: Goal,
    /// End the run once an evaluation reaches this value of `best`; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_at: Option<f64>,
    /// Say that the run overfits after that many evaluations in a row that got worse while the training
    /// loss fell; 0 = never.
    pub overfit_patience: u64,
    /// Rows of one validation batch; 0 = as in training.
    #[schemars(range(max = 1_000_000))]
    pub micro_batch_size: u64,
    /// Most rows scored during the run (the end scores all of them); 0 = all.
    pub max_rows: u64,
    /// Beginnings that samples continue.
    pub prompts: Vec<String>,
    /// Write samples every that many steps, and at the end; 0 = only at the end.
    pub samples_every_steps: u64,
    /// Write samples every that many passes over the data; 0 = not by epochs.
    #[schemars(range(min = 0.0))]
    pub samples_every_epochs: f64,
    /// Write samples every such share of the run; 0 = not by shares.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub samples_every_fraction: f64,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every_steps: 200,
            every_tokens: 0,
            every_epochs: 0.0,
            every_fraction: 0.0,
            best: Best::default().metric,
            goal: Goal::Min,
            stop_at: None,
            overfit_patience: 3,
            micro_batch_size: 0,
            max_rows: 0,
            prompts: vec!["Once upon a time".to_owned()],
            samples_every_steps: 0,
            samples_every_epochs: 0.0,
            samples_every_fraction: 0.0,
        }
    }
}

impl EvalConfig {
    /// When to evaluate.
    pub fn trigger(&self) -> Trigger {
        Trigger {
            every_steps: self.every_steps,
            every_tokens: self.every_tokens,
            every_seconds: 0,
            every_epochs: self.every_epochs,
            every_fraction: self.every_fraction,
        }
    }

    /// How evaluations are compared.
    pub fn best(&self) -> Best {
        Best {
            metric: self.best.clone(),
            goal: self.goal,
            stop_at: self.stop_at,
            overfit_patience: self.overfit_patience,
        }
    }

    /// When to write samples.
    pub fn samples_trigger(&self) -> Trigger {
        Trigger {
            every_steps: self.samples_every_steps,
            every_epochs: self.samples_every_epochs,
            every_fraction: self.samples_every_fraction,
            ..Trigger::default()
        }
    }
}

impl Validate for EvalConfig {
    fn validate(&self, check: &mut Check) {
        let target = self.stop_at;
        check.require(target.is_none_or(f64::is_finite), "stop_at", || {
            "is no finite number; give a value of eval.best, or leave it out".to_owned()
        });
        check.require(
            self.prompts.iter().all(|prompt| !prompt.is_empty()),
            "prompts",
            || "holds an empty prompt; remove it".to_owned(),
        );
    }
}
