//! The crate's error type.

use std::path::PathBuf;

use sinterlm_formats::FormatError;
use sinterlm_model::ModelError;
use sinterlm_run::RunError;

/// What can go wrong while training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file could not be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Weights could not be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An observer or the run directory failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The loss or a gradient is infinite or not a number.
    #[error(
        "step {step}: {what} is not finite{}; nothing was updated: lower optimizer.peak_lr, or look for broken text in the data",
        match skipped { 0 => String::new(), n => format!(" and {n} steps before it were skipped") }
    )]
    NotFinite {
        /// The optimizer step in hand.
        step: u64,
        /// The loss, or the gradient of the parameter nearest to it where that is not finite; with the
        /// first such activation.
        what: String,
        /// Steps right before it that were skipped for the same reason.
        skipped: u64,
    },
    /// The first step of a new run shows a mistake.
    #[error(
        "step 1: {}\nset trainer.first_step_checks = false where this is meant to be so",
        faults.join("\nstep 1: ")
    )]
    FirstStep {
        /// What is wrong with what, and the remedy.
        faults: Vec<String>,
    },
    /// A pattern in a config selects nothing.
    #[error("{key}: {fault}")]
    Selection {
        /// The key that holds it.
        key: String,
        /// The pattern, with the nearest name.
        fault: ModelError,
    },
    /// Every parameter is frozen.
    #[error(
        "nothing is left to train: select more by trainer.train_only and trainer.freeze, and make the model on an autodiff device; packed weights are always frozen"
    )]
    NothingToTrain,
    /// Something is to happen by passes over data that has no end.
    #[error("{key}: this objective has no epochs; use every_steps, every_tokens or every_fraction")]
    NoEpochs {
        /// The key.
        key: &'static str,
    },
    /// Evaluations are to be compared by a metric that they do not give.
    #[error(
        "eval.best: evaluations during the run give no `{metric}`; {}{}",
        if known.is_empty() { "they give no figure at all".to_owned() } else { format!("use one of {}", known.join(", ")) },
        match nearest { Some(name) => format!(" (did you mean `{name}`?)"), None => String::new() }
    )]
    NoMetric {
        /// The metric.
        metric: String,
        /// Those that there are.
        known: Vec<String>,
        /// The one that may have been meant.
        nearest: Option<String>,
    },
    /// A step has no token to train on.
    #[error("step {step}: the batch has no token with a loss weight above zero; check the data")]
    NoTokens {
        /// The optimizer step in hand.
        step: u64,
    },
    /// A checkpoint cannot be used.
    #[error("{path}: {fault}; {remedy}")]
    Checkpoint {
        /// The checkpoint or the file in it.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
        /// What to do.
        remedy: String,
    },
    /// The thread that writes checkpoints could not be started.
    #[error("cannot start a thread to save on; set checkpoint.background = false")]
    Thread(#[source] std::io::Error),
    /// A time budget holds no step.
    #[error(
        "trainer.budget_minutes: the {budget:.3} s that the probe left hold no step: one takes {step:.3} s, the work beside the steps {beside:.3} s; raise it, or make a step smaller"
    )]
    NoTime {
        /// Seconds that are left.
        budget: f64,
        /// Seconds of one step.
        step: f64,
        /// Seconds of evaluation, samples and the checkpoint at the end.
        beside: f64,
    },
    /// No micro-batch fits the memory.
    #[error(
        "one row needs about {needed} MiB and {available} MiB are free; lower model.max_seq_len or model.d_model"
    )]
    NoMemory {
        /// Estimated need of the smallest micro-batch, MiB.
        needed: u64,
        /// What is free, MiB.
        available: u64,
    },
    /// A model cannot be scored.
    #[error("evaluation: {0}")]
    Evaluation(String),
    /// The data has an end, and the run goes on.
    #[error("step {step} is behind the end of the data; train for fewer steps")]
    DataEnded {
        /// The step.
        step: u64,
    },
    /// Labelled rows do not fit each other, or the model.
    #[error("labelled rows: {0}")]
    ClassRows(String),
}

impl TrainError {
    pub(crate) fn selection(key: impl Into<String>, fault: ModelError) -> Self {
        let key = key.into();
        Self::Selection { key, fault }
    }

    pub(crate) fn no_metric(metric: &str, figures: &[(String, f64)]) -> Self {
        let known: Vec<String> = figures.iter().map(|(name, _)| name.clone()).collect();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let nearest = sinterlm_config::nearest(metric, &names).map(str::to_owned);
        Self::NoMetric {
            metric: metric.to_owned(),
            known,
            nearest,
        }
    }
}
