//! What a run does beside its steps: the places where callers plug in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sinterlm_run::{EvalRecord, Observers, SampleText, StopFlag};

use crate::config::Trigger;
use crate::error::TrainError;

/// Scores a model during the run: `(model, at the end)`; the record's step and tokens are filled
/// in by the loop.
pub type Evaluate<'a, M> = Box<dyn FnMut(&M, bool) -> Result<EvalRecord, TrainError> + 'a>;
/// Writes samples.
pub type Sample<'a, M> = Box<dyn FnMut(&M) -> Vec<SampleText> + 'a>;
/// Adds files and facts to a checkpoint that is being written.
pub type OnSave<'a> =
    Box<dyn FnMut(&Path, &mut BTreeMap<String, Value>) -> Result<(), TrainError> + 'a>;
/// Writes a model folder.
pub type SaveModel<'a, M> = Box<dyn FnMut(&Path, &M) -> Result<(), TrainError> + 'a>;

/// What a run does beside its steps, and when. Everything is off by default.
pub struct Hooks<'a, M> {
    /// Kind of the run, for observers: `pretrain`.
    pub kind: &'a str,
    /// Number of parameters, for observers.
    pub parameters: u64,
    /// Told of everything that happens.
    pub observers: Observers,
    /// When to write metrics.
    pub log: Trigger,
    /// Scores the model.
    pub evaluate: Option<Evaluate<'a, M>>,
    /// When to score it; the end always does.
    pub evaluate_at: Trigger,
    /// Writes samples.
    pub sample: Option<Sample<'a, M>>,
    /// When to write them; the end always does.
    pub sample_at: Trigger,
    /// Folder for checkpoints, and how a model is written into one.
    pub checkpoints: Option<(PathBuf, SaveModel<'a, M>)>,
    /// When to write one; the end and a signal always do.
    pub checkpoint_at: Trigger,
    /// Newest checkpoints kept; 0 = all.
    pub keep_last: usize,
    /// Adds to each checkpoint.
    pub on_save: Option<OnSave<'a>>,
    /// Set by a signal.
    pub stop: Option<StopFlag>,
}

// Written out, as a derive would ask `M: Default`.
impl<M> Default for Hooks<'_, M> {
    fn default() -> Self {
        Self {
            kind: "train",
            parameters: 0,
            observers: Observers::new(),
            log: Trigger::default(),
            evaluate: None,
            evaluate_at: Trigger::default(),
            sample: None,
            sample_at: Trigger::default(),
            checkpoints: None,
            checkpoint_at: Trigger::default(),
            keep_last: 0,
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
    /// The validation loss stopped falling.
    EarlyStopping,
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
}
