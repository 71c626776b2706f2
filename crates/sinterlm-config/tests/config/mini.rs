//! A run config in miniature, with every kind of section that real ones have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, ConfigError, Seed, Validate, parse};

/// Everything one run needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The one seed.
    pub(crate) seed: Seed,
    /// The network.
    pub(crate) model: Model,
    /// Length of training.
    #[serde(default)]
    pub(crate) trainer: Trainer,
    /// Learning rate over time.
    #[serde(default)]
    pub(crate) schedule: Schedule,
    /// Update rule.
    #[serde(default)]
    pub(crate) optimizer: Optimizer,
    /// Where texts come from.
    #[serde(default)]
    pub(crate) data: Data,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // d_model is the field's word
pub(crate) struct Model {
    /// Width.
    #[schemars(range(min = 8))]
    pub(crate) d_model: usize,
    /// Attention heads; divides `d_model`.
    #[schemars(range(min = 1))]
    pub(crate) n_heads: usize,
    /// Heads of keys and values; all heads where absent.
    #[serde(default)]
    pub(crate) n_kv_heads: Option<u32>,
    /// Form of the normalisation.
    #[serde(default)]
    pub(crate) norm: Norm,
    /// Share of activations dropped.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub(crate) dropout: f32,
}

fn tenth() -> f32 {
    0.1
}

/// Normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Norm {
    /// With mean and bias.
    #[default]
    LayerNorm,
    /// Scale alone.
    RmsNorm,
}

/// Length of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Trainer {
    /// Optimizer steps.
    pub(crate) max_steps: u64,
    /// Evaluates before the first step.
    pub(crate) eval_first: bool,
    /// Name of the run; made up where absent.
    pub(crate) name: Option<String>,
}

impl Default for Trainer {
    fn default() -> Self {
        Self {
            max_steps: 2000,
            eval_first: false,
            name: None,
        }
    }
}

/// Learning rate over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Schedule {
    /// Always the peak.
    Constant,
    /// Down a half cosine.
    Cosine {
        /// Steps up to the peak.
        #[serde(default)]
        warmup_steps: u64,
        /// Last rate over peak rate.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 1.0))]
        min_ratio: f64,
    },
    /// Up, level, down.
    WarmupStableDecay {
        /// Steps up to the peak.
        #[serde(default)]
        warmup_steps: u64,
        /// Steps down to zero.
        decay_steps: u64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Cosine {
            warmup_steps: 100,
            min_ratio: 0.1,
        }
    }
}

/// Update rule, each with a config of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Optimizer {
    /// Adam with decoupled decay.
    Adamw(AdamW),
    /// Plain descent.
    Sgd(Sgd),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adamw(AdamW::default())
    }
}

/// Adam with decoupled decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdamW {
    /// Greatest learning rate.
    pub(crate) peak_lr: f64,
    /// Decay rates of the two moments.
    pub(crate) betas: [f64; 2],
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            peak_lr: 1e-3,
            betas: [0.9, 0.95],
        }
    }
}

/// Plain descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sgd {
    /// Greatest learning rate.
    pub(crate) peak_lr: f64,
}

/// Where texts come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// Sources, read in order.
    pub(crate) sources: Vec<Source>,
    /// Share of each named set.
    pub(crate) weights: BTreeMap<String, f64>,
    /// What to do with long texts.
    pub(crate) long: Option<Long>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Source {
    /// Files on this machine.
    Local {
        /// Files or folders.
        paths: Vec<PathBuf>,
    },
    /// A data set by name.
    Named {
        /// Its name.
        name: String,
        /// Its revision.
        #[serde(default)]
        revision: Option<String>,
    },
}

/// What to do with long texts, tagged from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Long {
    /// Drop them.
    Drop,
    /// Cut them.
    Cut {
        /// Greatest length in tokens.
        max_tokens: u32,
    },
    /// Split them at this text.
    Split(String),
}

impl Validate for Run {
    fn validate(&self, check: &mut Check) {
        check.section("model", &self.model);
        let trainer = &self.trainer;
        check.require(
            !trainer.eval_first || trainer.name.is_some(),
            "trainer.name",
            || "missing with eval_first = true; name the run".to_owned(),
        );
        if let Schedule::Cosine { warmup_steps, .. } = self.schedule {
            let max_steps = self.trainer.max_steps;
            check.require(warmup_steps <= max_steps, "schedule.warmup_steps", || {
                format!("{warmup_steps} is above max_steps {max_steps}; lower it or train longer")
            });
        }
    }
}

impl Validate for Model {
    fn validate(&self, check: &mut Check) {
        check.require(self.d_model.is_multiple_of(self.n_heads), "n_heads", || {
            format!(
                "{} does not divide d_model {}; use 4 or 8",
                self.n_heads, self.d_model
            )
        });
        if let Some(n_kv_heads) = self.n_kv_heads {
            check.require(n_kv_heads as usize <= self.n_heads, "n_kv_heads", || {
                format!("{n_kv_heads} is above n_heads {}; lower it", self.n_heads)
            });
        }
    }
}

/// The smallest text that loads.
pub(crate) const SMALLEST: &str = "seed = 1\n[model]\nd_model = 64\nn_heads = 4\n";

/// The config in a text, with options.
pub(crate) fn run(text: &str, overrides: &[&str]) -> Result<Run, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    parse(text, "configs/run.toml", &overrides)
}

/// The message that refuses a text.
pub(crate) fn refusal(text: &str, overrides: &[&str]) -> String {
    run(text, overrides)
        .expect_err("this config is wrong")
        .to_string()
}
