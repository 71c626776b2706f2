//! The config of an instruction tuning run.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Seed, Validate};
use sinterlm_data::{
    BatchesConfig, HygieneStep, InstructionTasks, RecordsConfig, RecordsSource, RowsConfig,
    SplitConfig,
};
use sinterlm_eval::Normalisation;
use sinterlm_model::{GptConfig, SampleConfig, has_class_head};
use sinterlm_text::TextError;
use sinterlm_trainer::{
    CheckpointConfig, EvalConfig, LogConfig, LossConfig, OptimizerConfig, ScheduleConfig,
    TrainerConfig,
};

use crate::error::PipelineError;
use crate::gates::GateConfig;
use crate::host::Host;
use crate::run_config::{FREE, LENGTHS, RunConfig, Tables, check_warmup};
use crate::trainable::TrainableConfig;
use crate::tuning::{resolve_records, resolve_start};

/// An instruction tuning run: records with answers to a model that answers, and its figures on records
/// that it never saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InstructConfig {
    /// The one seed: split, order of data, dropout and samples descend from it.
    pub seed: u64,
    /// Weights to start from, as `--model` gives them: run directory, checkpoint, model folder or file, or
    /// a name on the Hub. They bring the `[model]` table but for `dropout`, and their tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// A pretraining config whose model is started from where `weights` names none; it is trained once and
    /// kept in the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Figures that the finished run is held against in `summary.json`.
    pub gates: Vec<GateConfig>,
    /// Records with answers; built-in instructions where no source is given.
    pub data: RecordsConfig,
    /// Steps of hygiene, in the order in which they run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hygiene: Vec<HygieneStep>,
    /// How records are divided.
    pub split: SplitConfig,
    /// How records become rows of tokens, and which of them are trained.
    pub rows: RowsConfig,
    /// How rows become batches.
    pub batches: BatchesConfig,
    /// Which parts are trained.
    pub trainable: TrainableConfig,
    /// The decoder; of the weights but for `dropout`.
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
    /// The answers that are scored.
    pub answers: AnswersConfig,
    /// Samples during the run.
    pub sample: SampleConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
    /// Metrics.
    pub log: LogConfig,
}

/// The answers that are written, greedily, and scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnswersConfig {
    /// Most tokens of an answer.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// Validation records that are answered at each evaluation during the run; 0 = none.
    pub during: usize,
    /// Most test records that are answered at the end; 0 = all.
    pub most: usize,
    /// The form in which an answer is compared with its reference.
    pub normalisation: Normalisation,
    /// Count exact matches only where the reference has at most so many words; 0 = everywhere. Longer
    /// answers have no single right form.
    pub exact_words: usize,
    /// Let the model that was started from answer the test records, too.
    pub before: bool,
}

impl Default for AnswersConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            during: 64,
            most: 0,
            normalisation: Normalisation::Plain,
            exact_words: 0,
            before: true,
        }
    }
}

impl Validate for AnswersConfig {
    fn validate(&self, _check: &mut Check) {}
}

impl Default for InstructConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            weights: None,
            base: None,
            gates: Vec::new(),
            data: RecordsConfig::default(),
            hygiene: Vec::new(),
            split: SplitConfig::default(),
            rows: RowsConfig::default(),
            batches: BatchesConfig::default(),
            trainable: TrainableConfig::default(),
            model: GptConfig::default(),
            loss: LossConfig::default(),
            trainer: TrainerConfig::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            eval: EvalConfig {
                prompts: Vec::new(),
                ..EvalConfig::default()
            },
            answers: AnswersConfig::default(),
            sample: SampleConfig::default(),
            checkpoint: CheckpointConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl RunConfig for InstructConfig {
    const KIND: &'static str = "instruct";
    const FREE: &'static [&'static str] = FREE;

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
        let sources = self.data.sources().flat_map(RecordsSource::paths);
        let own = self
            .weights
            .as_deref()
            .into_iter()
            .chain(self.base.as_deref());
        own.chain(sources).collect()
    }

    fn resolve(&mut self, host: &Host) -> Result<(), PipelineError> {
        if self.data.sources().next().is_none() {
            self.data.source = Some(RecordsSource::Instructions(InstructionTasks::default()));
        }
        resolve_records(&mut self.data, host)?;
        resolve_start(&mut self.weights, &mut self.base, &mut self.model, host)?;
        if let Some(path) = &self.weights
            && has_class_head(path)?
        {
            let path = path.clone();
            return Err(TextError::HasClassHead { path }.into());
        }
        let context = self.model.max_seq_len;
        if self.rows.max_seq_len > context {
            host.note(format!(
                "rows.max_seq_len: {} is above the model's context; {context} is used",
                self.rows.max_seq_len
            ));
            self.rows.max_seq_len = context;
        }
        let head = (!self.model.tied_head).then_some("head");
        let (trainer, optimizer) = (&mut self.trainer, &mut self.optimizer);
        self.trainable
            .resolve(&self.model, head, trainer, optimizer);
        Ok(())
    }
}

impl Validate for InstructConfig {
    const EITHER: &'static [(&'static str, &'static str)] = LENGTHS;

    fn validate(&self, check: &mut Check) {
        for (number, gate) in self.gates.iter().enumerate() {
            check.section(&format!("gates.{number}"), gate);
        }
        check.section("data", &self.data);
        for (number, step) in self.hygiene.iter().enumerate() {
            check.section(&format!("hygiene.{number}"), step);
        }
        check.section("split", &self.split);
        check.section("rows", &self.rows);
        check.section("batches", &self.batches);
        check.section("trainable", &self.trainable);
        check.section("model", &self.model);
        check.section("loss", &self.loss);
        check.section("trainer", &self.trainer);
        check.section("optimizer", &self.optimizer);
        check.section("schedule", &self.schedule);
        check.section("eval", &self.eval);
        check.section("answers", &self.answers);
        check.section("sample", &self.sample);
        check.section("checkpoint", &self.checkpoint);
        check.section("log", &self.log);
        check.require(
            self.batches.max_epochs.is_none(),
            "batches.max_epochs",
            || "a run's length is said by trainer.max_epochs; use that".to_owned(),
        );
        check_warmup(&self.tables(), check);
    }
}
