//! The `[log]` table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use crate::trigger::Trigger;

/// Logging during the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Write a line of metrics every that many steps.
    #[schemars(range(min = 1))]
    pub every_steps: u64,
    /// Write a line of metrics every that many trained tokens too; 0 = by steps only.
    pub every_tokens: u64,
    /// Write the figures and samples as event files for TensorBoard, too.
    pub tensorboard: bool,
    /// Draw `loss.png` during the run.
    pub plot: bool,
    /// Write `report.html` at the end.
    pub report: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            every_steps: 10,
            every_tokens: 0,
            tensorboard: true,
            plot: true,
            report: true,
        }
    }
}

impl LogConfig {
    /// When to log.
    pub fn trigger(&self) -> Trigger {
        Trigger {
            every_steps: self.every_steps,
            every_tokens: self.every_tokens,
            ..Trigger::default()
        }
    }
}

impl Validate for LogConfig {
    fn validate(&self, _check: &mut Check) {}
}
