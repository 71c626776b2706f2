//! The `[checkpoint]` table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use crate::keep::Keep;
use crate::trigger::Trigger;

/// Checkpoints during the run; one is always written at the end and on a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Save every that many steps; 0 = not by steps.
    pub every_steps: u64,
    /// Save every that many trained tokens; 0 = not by tokens.
    pub every_tokens: u64,
    /// Save every that many seconds; 0 = not by time.
    pub every_seconds: u64,
    /// Save every that many passes over the data, or every such part of one; 0 = not by epochs.
    #[schemars(range(min = 0.0))]
    pub every_epochs: f64,
    /// Save every such share of the run; 0 = not by shares.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub every_fraction: f64,
    /// Newest checkpoints kept; 0 = all.
    pub keep_last: usize,
    /// Keep those at multiples of that many steps, too; 0 = none.
    pub keep_every: u64,
    /// Save at each new best value of `eval.best`, and keep that checkpoint until there is a better.
    pub keep_best: bool,
    /// Train on while a checkpoint is written. Costs memory for a copy of optimizer state and
    /// weights; the bytes written are the same.
    pub background: bool,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every_steps: 500,
            every_tokens: 0,
            every_seconds: 0,
            every_epochs: 0.0,
            every_fraction: 0.0,
            keep_last: 2,
            keep_every: 0,
            keep_best: false,
            background: true,
        }
    }
}

impl CheckpointConfig {
    /// When to save.
    pub fn trigger(&self) -> Trigger {
        Trigger {
            every_steps: self.every_steps,
            every_tokens: self.every_tokens,
            every_seconds: self.every_seconds,
            every_epochs: self.every_epochs,
            every_fraction: self.every_fraction,
        }
    }

    /// Which to keep.
    pub fn keep(&self) -> Keep {
        Keep {
            last: self.keep_last,
            every_steps: self.keep_every,
            best: self.keep_best,
        }
    }
}

impl Validate for CheckpointConfig {
    fn validate(&self, _check: &mut Check) {}
}
