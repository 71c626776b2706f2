//! What a run does beside its steps: the places where callers plug in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sinterlm_run::{EvalRecord, Observers, SampleText, StopFlag};

use crate::best::Best;
use crate::error::TrainError;
use crate::keep::Keep;
use crate::trigger::Trigger;

/// What an evaluation speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The state of a run on its way: part of the validation set may do.
    During,
    /// The result: all of it.
    Final,
}

/// Scores a model by named figures: `valid/loss`, `valid/accuracy`.
pub type Evaluate<'a, M> = Box<dyn FnMut(&M, Scope) -> Result<Vec<(String, f64)>, TrainError> + 'a>;
/// Writes samples.
pub type Sample<'a, M> = Box<dyn FnMut(&M) -> Vec<SampleText> + 'a>;
/// Adds facts to the state of a checkpoint that is about to be written.
pub type OnSave<'a> = Box<dyn FnMut(&mut BTreeMap<String, Value>) -> Result<(), TrainError> + 'a>;
/// Writes a model folder, on the thread that saves.
pub type SaveModel<M> = Arc<dyn Fn(&Path, &M) -> Result<(), TrainError> + Send + Sync>;

/// Where checkpoints go, what lies in them, and which of them stay.
pub struct Checkpoints<M> {
    /// The folder that holds them.
    pub folder: PathBuf,
    /// Writes the model into one.
    pub save_model: SaveModel<M>,
    /// Files that are copied into each.
    pub files: Vec<PathBuf>,
    /// Which stay.
    pub keep: Keep,
    /// Go on with training while one is written; the end and a signal wait for it. Costs memory
    /// for a copy of the optimizer's state, and for those weights that change meanwhile.
    pub background: bool,
}

impl<M> Checkpoints<M> {
    /// Checkpoints of nothing but the model and the trainer's state; all stay.
    pub fn new(
        folder: impl Into<PathBuf>,
        save_model: impl Fn(&Path, &M) -> Result<(), TrainError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            folder: folder.into(),
            save_model: Arc::new(save_model),
            files: Vec::new(),
            keep: Keep::default(),
            background: true,
        }
    }
}

// Written out, as derives would ask the same of `M`.
impl<M> Clone for Checkpoints<M> {
    fn clone(&self) -> Self {
        Self {
            folder: self.folder.clone(),
            save_model: Arc::clone(&self.save_model),
            files: self.files.clone(),
            keep: self.keep,
            background: self.background,
        }
    }
}

impl<M> std::fmt::Debug for Checkpoints<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints")
            .field("folder", &self.folder)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// What a run does beside its steps, and when. Everything is off by default.
pub struct Hooks<'a, M> {
    /// Kind of the run, for observers: `pretrain`.
    pub kind: &'a str,
    /// Told of everything that happens.
    pub observers: Observers,
    /// When to write metrics.
    pub log: Trigger,
    /// Scores the model.
    pub evaluate: Option<Evaluate<'a, M>>,
    /// When to score it; the end always does.
    pub evaluate_at: Trigger,
    /// The metric that evaluations are compared by, for retention and for ending the run.
    pub best: Best,
    /// Writes samples.
    pub sample: Option<Sample<'a, M>>,
    /// When to write them; the end always does.
    pub sample_at: Trigger,
    /// Where checkpoints are written.
    pub checkpoints: Option<Checkpoints<M>>,
    /// When to write one; the end and a signal always do.
    pub checkpoint_at: Trigger,
    /// Adds to the state in each checkpoint.
    pub on_save: Option<OnSave<'a>>,
    /// Set by a signal.
    pub stop: Option<StopFlag>,
}

// Written out, as a derive would ask `M: Default`.
impl<M> Default for Hooks<'_, M> {
    fn default() -> Self {
        Self {
            kind: "train",
            observers: Observers::new(),
            log: Trigger::default(),
            evaluate: None,
            evaluate_at: Trigger::default(),
            best: Best::default(),
            sample: None,
            sample_at: Trigger::default(),
            checkpoints: None,
            checkpoint_at: Trigger::default(),
            on_save: None,
            stop: None,
        }
    }
}

impl<M> std::fmt::Debug for Hooks<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// All steps are done.
    Done,
    /// Evaluations stopped getting better.
    EarlyStopping,
    /// An evaluation reached the value that the run was for.
    Reached,
    /// The objective ended it.
    Objective,
    /// A signal or the caller asked for it.
    Requested(sinterlm_run::StopReason),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why.
    pub cause: StopCause,
    /// Finished steps.
    pub steps: u64,
    /// Trained tokens.
    pub tokens: u64,
    /// Seconds of training over all sessions of the run, with evaluation and saving.
    pub seconds: f64,
    /// The last evaluation, of the whole validation set where the run was not interrupted.
    pub evaluation: Option<EvalRecord>,
    /// The samples at the end; none where the run was interrupted.
    pub samples: Vec<SampleText>,
    /// The last checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// The checkpoint of the best evaluation, where that one is kept.
    pub best_checkpoint: Option<PathBuf>,
}
