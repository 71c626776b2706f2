//! What the config of every run has, and where a run begins.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sinterlm_config::{Check, Seed, Validate};
use sinterlm_trainer::{
    CheckpointConfig, EvalConfig, LogConfig, OptimizerConfig, ScheduleConfig, TrainerConfig,
};

use crate::error::PipelineError;
use crate::gates::GateConfig;
use crate::host::Host;

/// Keys that only say what is watched and saved and when the run ends: [`RunConfig::FREE`] of our own
/// pipelines. Those that a pipeline lacks do no harm.
pub(crate) const FREE: &[&str] = &[
    "eval",
    "sample",
    "answers",
    "checkpoint",
    "log",
    "gates",
    "data.cache_dir",
    "data.max_download_bytes",
    "trainer.max_steps",
    "trainer.early_stopping_patience",
    "trainer.first_step_checks",
    "trainer.max_skipped_steps",
    "trainer.on_non_finite",
    "trainer.spike_z",
];

/// The ways to say how long a run is, of which a config gives one.
pub(crate) const LENGTHS: &[(&str, &str)] = &[
    ("trainer.max_steps", "trainer.budget_minutes"),
    ("trainer.max_steps", "trainer.max_epochs"),
    ("trainer.budget_minutes", "trainer.max_epochs"),
];

/// Holds the warm-up against the steps of the run, where these are known.
pub(crate) fn check_warmup(tables: &Tables<'_>, check: &mut Check) {
    let trainer = tables.trainer;
    let steps = trainer.max_steps;
    let warmup = tables.schedule.warmup(steps);
    let known = trainer.budget_minutes.is_none() && trainer.max_epochs.is_none();
    check.require(!known || warmup <= steps, "schedule.warmup_steps", || {
        format!("{warmup} is above trainer.max_steps {steps}; lower it or train longer")
    });
}

/// The config of a pipeline's runs.
pub trait RunConfig: Clone + Serialize + DeserializeOwned + JsonSchema + Validate {
    /// What the pipeline is called in events and in `summary.json`: `pretrain`.
    const KIND: &'static str;
    /// Keys, and tables as a whole, that only say what is watched and saved and when the run ends:
    /// they may change on resume. That `trainer.max_steps` leaves the past alone is checked beside.
    const FREE: &'static [&'static str];

    /// Keys of earlier releases and where they are now, for configs that runs keep.
    const MOVED: &'static [(&'static str, &'static str)] = &[];

    /// The tables that every pipeline has.
    fn tables(&self) -> Tables<'_>;

    /// The step loop's settings, of which some are resolved by the machine.
    fn trainer_mut(&mut self) -> &mut TrainerConfig;

    /// The paths that the config names; none by default.
    fn paths(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// Makes definite what is fetched or found, before the directory of a new run is made. Nothing by
    /// default.
    ///
    /// # Errors
    /// Where something that the config names cannot be used.
    fn resolve(&mut self, _host: &Host) -> Result<(), PipelineError> {
        Ok(())
    }
}

/// The tables that the config of every pipeline has.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// The one seed of the run.
    pub seed: Seed,
    /// Step loop.
    pub trainer: &'a TrainerConfig,
    /// Update rule.
    pub optimizer: &'a OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: &'a ScheduleConfig,
    /// Evaluation and samples during the run.
    pub eval: &'a EvalConfig,
    /// Checkpoints.
    pub checkpoint: &'a CheckpointConfig,
    /// Metrics.
    pub log: &'a LogConfig,
    /// What the run has to reach.
    pub gates: &'a [GateConfig],
}

/// Where a run begins.
#[derive(Clone, Debug, PartialEq)]
pub enum RunAt<C> {
    /// In a directory that holds no run yet.
    New {
        /// The config.
        config: C,
        /// The run directory.
        out: PathBuf,
    },
    /// In the directory of a run, at its newest whole checkpoint.
    Resume {
        /// The run directory.
        dir: PathBuf,
        /// Changes of the run's config, `KEY=VALUE`; those that would alter its past are refused.
        set: Vec<String>,
    },
}

impl<C> RunAt<C> {
    /// Resumes the run that `dir` holds, or begins one there with `config`.
    ///
    /// A run that is there is resumed with its own config, whatever `config` says, also where it has no
    /// step yet: [`RunAt::Resume`] takes changes, and a run that is to be another one needs another
    /// directory.
    pub fn resume_or_new(dir: impl Into<PathBuf>, config: C) -> Self {
        let dir = dir.into();
        if dir.join("config.toml").is_file() {
            let set = Vec::new();
            return Self::Resume { dir, set };
        }
        Self::New { config, out: dir }
    }
}
