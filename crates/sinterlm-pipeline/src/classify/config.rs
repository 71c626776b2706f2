//! The config of a classification run.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Seed, Validate};
use sinterlm_data::{HygieneStep, RecordsConfig, RecordsSource, SpamMessages, SplitConfig};
use sinterlm_model::{GptConfig, Pool};
use sinterlm_trainer::{
    CheckpointConfig, EvalConfig, LogConfig, OptimizerConfig, ScheduleConfig, TrainerConfig,
};

use crate::error::PipelineError;
use crate::gates::GateConfig;
use crate::host::Host;
use crate::run_config::{FREE, LENGTHS, RunConfig, Tables, check_warmup};
use crate::trainable::TrainableConfig;
use crate::tuning::{resolve_records, resolve_start};

/// A classification run: labelled records to a decoder with a class head, and its figures on records that
/// it never saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifyConfig {
    /// The one seed: head, split, order of data and dropout descend from it.
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
    /// Labelled records; built-in messages where no source is given.
    pub data: RecordsConfig,
    /// Steps of hygiene, in the order in which they run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hygiene: Vec<HygieneStep>,
    /// How records are divided.
    pub split: SplitConfig,
    /// What is read and what the classes weigh.
    pub classes: ClassesConfig,
    /// Which parts are trained.
    pub trainable: TrainableConfig,
    /// The decoder; of the weights but for `dropout`.
    pub model: GptConfig,
    /// Step loop.
    pub trainer: TrainerConfig,
    /// Update rule.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Evaluation during the run.
    pub eval: EvalConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
    /// Metrics.
    pub log: LogConfig,
}

/// What of a text is read, and what each class weighs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassesConfig {
    /// Names of the classes in the order of the head's outputs; those of the training records in
    /// alphabetical order where absent. Of two, the second is the one that a threshold decides about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The token that the head reads: `last` (as `transformers` does), `first`, `mean`, or
    /// `last_column`, which reads padding.
    pub pool: Pool,
    /// The most tokens of a text that are read; 0 = as many as the model reads. Longer texts lose
    /// their end.
    pub max_tokens: usize,
    /// What a class weighs in the loss: `none`, each row the same, or `balanced`, each class the same.
    pub weights: ClassWeighting,
    /// Share of the target probability spread over the classes, 0 to 0.5.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub label_smoothing: f64,
    /// Of two classes: choose the threshold on validation records, for balanced accuracy, and predict the
    /// second class from it on; else the more probable class is predicted.
    pub choose_threshold: bool,
    /// Score a bag of words on the same records beside.
    pub bag_of_words: bool,
}

/// What classes weigh in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeighting {
    /// Each row the same.
    #[default]
    None,
    /// Each class the same, however many rows it has.
    Balanced,
}

impl Default for ClassesConfig {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            pool: Pool::Last,
            max_tokens: 0,
            weights: ClassWeighting::None,
            label_smoothing: 0.0,
            choose_threshold: true,
            bag_of_words: true,
        }
    }
}

impl Validate for ClassesConfig {
    fn validate(&self, check: &mut Check) {
        let count = self.labels.len();
        check.require(count != 1, "labels", || {
            "names one class, which there is nothing to tell from; name all of them".to_owned()
        });
        let twice = (1..count).find(|&at| self.labels[..at].contains(&self.labels[at]));
        check.require(twice.is_none(), "labels", || {
            let name = twice.map_or("", |at| self.labels[at].as_str());
            format!("names `{name}` twice; name each class once")
        });
    }
}

impl RunConfig for ClassifyConfig {
    const KIND: &'static str = "classify";
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
            self.data.source = Some(RecordsSource::Messages(SpamMessages::default()));
        }
        resolve_records(&mut self.data, host)?;
        resolve_start(&mut self.weights, &mut self.base, &mut self.model, host)?;
        if self.classes.pool == Pool::First || self.classes.max_tokens == 1 {
            // A token that sees itself alone gives queries and keys no gradient, as the checks want one.
            self.trainer.first_step_checks = false;
        }
        let (trainer, optimizer) = (&mut self.trainer, &mut self.optimizer);
        self.trainable
            .resolve(&self.model, Some("score"), trainer, optimizer);
        Ok(())
    }
}

impl Validate for ClassifyConfig {
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
        check.section("classes", &self.classes);
        check.section("trainable", &self.trainable);
        check.section("model", &self.model);
        check.section("trainer", &self.trainer);
        check.section("optimizer", &self.optimizer);
        check.section("schedule", &self.schedule);
        check.section("eval", &self.eval);
        check.section("checkpoint", &self.checkpoint);
        check.section("log", &self.log);
        check_warmup(&self.tables(), check);
    }
}
