//! The run configs of the pipelines, as plain data composed of the crates' own tables.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Seed, Validate};
use sinterlm_data::{DataConfig, SourceConfig, TokenizerConfig, tokenizer_of};
use sinterlm_model::{GptConfig, SampleConfig, read_config};
use sinterlm_trainer::{
    CheckpointConfig, EvalConfig, LogConfig, LossConfig, OptimizerConfig, ScheduleConfig,
    TrainerConfig,
};

use crate::error::PipelineError;
use crate::gates::GateConfig;
use crate::hooks::WHOLE_TEXT;
use crate::host::Host;
use crate::run_config::{FREE, LENGTHS, RunConfig, Tables, check_warmup};
use crate::weights::find_weights;

/// A pretraining run: text to tokenizer to model to perplexity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// The one seed: weights, order of data, dropout, samples and generated stories descend from it.
    pub seed: u64,
    /// Weights to start from, as `--model` gives them: run directory, checkpoint or model folder.
    /// They bring the `[model]` table but for `dropout` and, unless `tokenizer.kind` is `file`,
    /// their tokenizer. Absent: weights are drawn from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Figures that the finished run is held against in `summary.json`.
    pub gates: Vec<GateConfig>,
    /// Text and its splits.
    pub data: DataConfig,
    /// Tokenizer.
    pub tokenizer: TokenizerConfig,
    /// Model.
    pub model: GptConfig,
    /// Terms of the loss.
    pub loss: LossConfig,
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

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            weights: None,
            gates: vec![GateConfig::at_most("valid/perplexity_per_gpt2_token", 40.0)],
            data: DataConfig::default(),
            tokenizer: TokenizerConfig::default(),
            model: GptConfig::default(),
            loss: LossConfig::default(),
            trainer: TrainerConfig::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            eval: EvalConfig::default(),
            sample: SampleConfig::default(),
            checkpoint: CheckpointConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl RunConfig for PretrainConfig {
    const KIND: &'static str = "pretrain";
    const FREE: &'static [&'static str] = FREE;

    const MOVED: &'static [(&'static str, &'static str)] = &[
        ("trainer.label_smoothing", "loss.label_smoothing"),
        ("trainer.z_loss", "loss.z_loss"),
    ];

    fn tables(&self) -> Tables<'_> {
        Tables {
            seed: Seed(self.seed),
            trainer: &self.trainer,
            optimizer: &self.optimizer,
            schedule: &self.schedule,
            eval: &self.eval,
            checkpoint: &self.checkpoint,
            log: &self.log,
            gates: &self.gates,
        }
    }

    fn trainer_mut(&mut self) -> &mut TrainerConfig {
        &mut self.trainer
    }

    fn paths(&self) -> Vec<&Path> {
        let mut paths: Vec<&Path> = Vec::new();
        paths.extend(self.weights.as_deref());
        paths.extend(self.data.cache_dir.as_deref());
        if let SourceConfig::Files { train, valid } = &self.data.source {
            paths.extend(train.iter().chain(valid).map(PathBuf::as_path));
        }
        if let TokenizerConfig::File { path } = &self.tokenizer {
            paths.push(path);
        }
        paths
    }

    /// Puts the weights that the config names in place of its own model and tokenizer: ids mean
    /// something else in every trained tokenizer.
    fn resolve(&mut self, host: &Host) -> Result<(), PipelineError> {
        let Some(path) = &self.weights else {
            return Ok(());
        };
        let folder = find_weights(path, host)?;
        let dropout = self.model.dropout;
        self.model = read_config(&folder)?;
        self.model.dropout = dropout;
        if !matches!(self.tokenizer, TokenizerConfig::File { .. })
            && let Some(path) = tokenizer_of(&folder)?
        {
            self.tokenizer = TokenizerConfig::File { path };
        }
        self.weights = Some(folder);
        Ok(())
    }
}

impl Validate for PretrainConfig {
    const EITHER: &'static [(&'static str, &'static str)] = LENGTHS;

    fn validate(&self, check: &mut Check) {
        for (number, gate) in self.gates.iter().enumerate() {
            check.section(&format!("gates.{number}"), gate);
        }
        check.section("data", &self.data);
        check.section("tokenizer", &self.tokenizer);
        check.section("model", &self.model);
        check.section("loss", &self.loss);
        check.section("trainer", &self.trainer);
        check.section("optimizer", &self.optimizer);
        check.section("schedule", &self.schedule);
        check.section("eval", &self.eval);
        check.section("sample", &self.sample);
        check.section("checkpoint", &self.checkpoint);
        check.section("log", &self.log);
        check_warmup(&self.tables(), check);
        let best = self.eval.best.as_str();
        let is_partial = self.eval.max_rows > 0 && WHOLE_TEXT.contains(&best);
        check.require(!is_partial, "eval.best", || {
            format!("{best} is known of the whole validation text alone; set eval.max_rows to 0, or compare by valid/loss")
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
