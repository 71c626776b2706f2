//! The run configs of the pipelines, as plain data composed of the crates' own tables.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use sinterlm_data::{DataConfig, TokenizerConfig};
use sinterlm_model::{GptConfig, SampleConfig};
use sinterlm_trainer::{
    CheckpointConfig, EvalConfig, LogConfig, OptimizerConfig, ScheduleConfig, TrainerConfig,
};

/// A pretraining run: text to tokenizer to model to perplexity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// The one seed: weights, order of data, dropout, samples and generated stories descend from it.
    pub seed: u64,
    /// Weights to start from, as `--model` gives them: run directory, checkpoint or model folder.
    /// They bring the `[model]` table but for `dropout` and, unless `tokenizer.kind` is `file`,
    /// their tokenizer. Absent: weights are drawn from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Text and its splits.
    pub data: DataConfig,
    /// Tokenizer.
    pub tokenizer: TokenizerConfig,
    /// Model.
    pub model: GptConfig,
    /// Step loop.
    pub trainer: TrainerConfig,
    /// Update rule.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Evaluation during the run.
    pub eval: EvalConfig,
    /// Samples during the run.
    pub sample: SampleConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
    /// Metrics.
    pub log: LogConfig,
}

impl Validate for PretrainConfig {
    fn validate(&self, check: &mut Check) {
        check.section("data", &self.data);
        check.section("tokenizer", &self.tokenizer);
        check.section("model", &self.model);
        check.section("trainer", &self.trainer);
        check.section("optimizer", &self.optimizer);
        check.section("schedule", &self.schedule);
        check.section("eval", &self.eval);
        check.section("sample", &self.sample);
        check.section("checkpoint", &self.checkpoint);
        check.section("log", &self.log);
        let (warmup, steps) = (self.schedule.warmup_steps, self.trainer.max_steps);
        check.require(warmup <= steps, "schedule.warmup_steps", || {
            format!("{warmup} is above trainer.max_steps {steps}; lower it or train longer")
        });
        let wanted = match self.tokenizer {
            TokenizerConfig::Gpt2 => 50257,
            TokenizerConfig::Bpe { vocab_size } => vocab_size,
            TokenizerConfig::File { .. } => 0, // known once the file is read
        };
        let vocab_size = self.model.vocab_size;
        check.require(vocab_size >= wanted, "model.vocab_size", || {
            format!("{vocab_size} is below the tokenizer's {wanted} tokens; set it to {wanted}")
        });
    }
}
