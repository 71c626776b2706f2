//! The crate's error type, and the one mapping from faults to exit statuses.

use std::path::PathBuf;

use sinterlm_config::ConfigError;
use sinterlm_data::DataError;
use sinterlm_eval::LoadProbe;
use sinterlm_formats::FormatError;
use sinterlm_model::ModelError;
use sinterlm_run::{ExitStatus, RunError, StopReason, shell_path};
use sinterlm_text::TextError;
use sinterlm_trainer::TrainError;

/// Why a pipeline could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The config is faulty.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The text or its tokenizer cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Weights cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model and its text parts cannot be used together, or no text can be generated.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The run directory cannot be used, or something in it cannot be written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint is damaged, or of another run.
    #[error(transparent)]
    Checkpoint(TrainError),
    /// Not even one row fits into the memory, or one step into the time.
    #[error(transparent)]
    DoesNotFit(TrainError),
    /// A time budget holds fewer steps than other keys ask for.
    #[error(
        "trainer.budget_minutes: {minutes} minutes hold {steps} steps on this machine, which are too few; give more minutes, or change what asks for more: {error}"
    )]
    BudgetTooShort {
        /// The budget.
        minutes: f64,
        /// The steps that it holds.
        steps: u64,
        /// What asks for more.
        error: ConfigError,
    },
    /// A number of passes has fewer steps than other keys ask for.
    #[error(
        "trainer.max_epochs: {epochs} passes over the data are {steps} steps, which are too few; give more, or change what asks for more: {error}"
    )]
    TooFewEpochs {
        /// The passes.
        epochs: f64,
        /// Their steps.
        steps: u64,
        /// What asks for more.
        error: ConfigError,
    },
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A path of weights that is not here was taken for a model of the Hub, which has none.
    #[error("{}: no such path here, a model of the Hub", path.display())]
    HubModel {
        /// The path given.
        path: PathBuf,
        /// What the Hub or its cache said.
        #[source]
        source: Box<DataError>,
    },
    /// A path of weights that is not here was taken for a model of the Hub, which is out of reach.
    #[error(
        "{}: no such path here, a model of the Hub: {endpoint} cannot be reached; check the path, or the network and HF_ENDPOINT",
        path.display()
    )]
    HubOutOfReach {
        /// The path given.
        path: PathBuf,
        /// Where the Hub was looked for.
        endpoint: String,
    },
    /// Published weights know nothing about text.
    #[error(
        "{}: the weights have {probe}; they are untrained, or not meant for this tokenizer or for English text; leave --model out to start from fresh weights",
        path.display()
    )]
    Untrained {
        /// The model folder.
        path: PathBuf,
        /// What they scored.
        probe: LoadProbe,
    },
    /// The model's vocabulary is smaller than the tokenizer's.
    #[error(
        "model.vocab_size: {found} is below the tokenizer's {needed} tokens; set it to {needed}, or use the tokenizer that the weights were trained with"
    )]
    VocabularyTooSmall {
        /// The model's.
        found: usize,
        /// The tokenizer's.
        needed: usize,
    },
    /// The device has no half precision.
    #[error("trainer.precision: {device} has no half precision; use \"f32\" or \"bf16\"")]
    NoHalfPrecision {
        /// The device as users write it.
        device: String,
    },
    /// The device does not tell how much memory it has.
    #[error(
        "trainer.micro_batch_size: \"auto\" needs to know the memory, which {device} does not tell; give a number"
    )]
    MemoryUnknown {
        /// The device as users write it.
        device: String,
    },
    /// A gate is about a figure that the run does not measure.
    #[error(
        "gates.{number}.metric: the run does not measure \"{metric}\"; use {}",
        one_of(known)
    )]
    UnknownMetric {
        /// Place of the gate in the list, from 0.
        number: usize,
        /// The figure that the gate names.
        metric: String,
        /// Figures that the run measures.
        known: Vec<String>,
    },
    /// Evaluations are to be compared by a figure that the run does not measure.
    #[error(
        "eval.best: the run does not measure \"{metric}\"; use {}",
        one_of(known)
    )]
    UnknownBest {
        /// The figure that is named.
        metric: String,
        /// Figures that the run measures.
        known: Vec<String>,
    },
    /// What is to be trained cannot be selected.
    #[error(transparent)]
    Selection(TrainError),
    /// A change of the config would alter the steps that are done.
    #[error(
        "--set would {}; start a new run for it, or leave out:\n  {}",
        altered(*steps),
        faults.join("\n  ")
    )]
    ChangedPast {
        /// Steps that are done.
        steps: u64,
        /// Each change that is refused, with what the run has.
        faults: Vec<String>,
    },
    /// The text is no longer the one that a run began with.
    #[error(
        "the text is no longer what the run began with; put it back, or go on with what there is now by --accept-changed-data:\n  {}",
        changes.join("\n  ")
    )]
    ChangedText {
        /// What is different, a file a line.
        changes: Vec<String>,
    },
    /// A path that the run's config cannot hold.
    #[error(
        "{}: is not UTF-8, and config.toml, which repeats the run, can hold no such path; rename it, or link to it under another name",
        shell_path(path)
    )]
    PathNotText {
        /// The path, from the root of the file system.
        path: PathBuf,
    },
    /// A signal ended the training of the base model that the run starts from.
    #[error("the base model's training stopped; the same command goes on with it, in {}", dir.display())]
    BaseStopped {
        /// Why.
        reason: StopReason,
        /// The base's run directory.
        dir: PathBuf,
    },
    /// Only a plan is wanted, and the base model is not there.
    #[error(
        "{}: the base model of this config is not trained yet, so there is nothing to plan with; run once without --plan, or name weights with --model",
        file.display()
    )]
    BaseMissing {
        /// The base's config.
        file: PathBuf,
    },
    /// Fine-tuning without anything to start from.
    #[error(
        "weights: fine-tuning starts from a model; name one with --model, or a pretraining config as `base`"
    )]
    NoStart,
    /// There is nothing to validate on.
    #[error(
        "there are no validation records, by which evaluations are compared; give --valid, or a split.valid_fraction above 0"
    )]
    NoValidation,
    /// A record has no answer to learn.
    #[error(
        "{origin}: is a text with a class and has no answer to learn; classes are learnt by finetune_classifier"
    )]
    NoAnswer {
        /// Where the record is from.
        origin: String,
    },
    /// The records cannot be classified.
    #[error("{0}")]
    Classes(String),
    /// An export cannot be made as it was asked for.
    #[error("{what}: {fault}")]
    Destination {
        /// The path, or the option that cannot be followed.
        what: String,
        /// What is wrong and the remedy.
        fault: String,
    },
    /// The folder of an export cannot be made.
    #[error(transparent)]
    Unwritable(FormatError),
    /// An export could not be read back.
    #[error("reading the export back")]
    ReadBack(#[source] TextError),
    /// An export could not be compared with its source.
    #[error(transparent)]
    Compare(ModelError),
    /// A model could not be written.
    #[error(transparent)]
    WriteModel(ModelError),
    /// A tokenizer or a template could not be written.
    #[error(transparent)]
    WriteText(DataError),
    /// A folder or file could not be written as a whole.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The operating system refused a file operation.
    #[error("{}: {action}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was refused: "cannot be removed".
        action: &'static str,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The model has no classes.
    #[error(
        "{}: the model has no class head of two classes or more; give one that was tuned for classes, or write texts with it by `generate`",
        path.display()
    )]
    NoClassHead {
        /// The model folder or file.
        path: PathBuf,
    },
    /// A classifier gave a score that is no number.
    #[error("{}: the scores of a text are no finite numbers; the weights are damaged", path.display())]
    ScoresNotFinite {
        /// The model folder.
        path: PathBuf,
    },
}

impl PipelineError {
    /// The status that a program ending by this error exits with: 2 for options, configs, data and
    /// weights that cannot be used, found before anything is trained or overwritten; 1 for what fails
    /// while running.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Run(error) => error.exit_status(),
            Self::BaseStopped { reason, .. } => reason.exit_status(),
            Self::Text(TextError::Model(ModelError::LogitsNotFinite { .. }))
            | Self::Train(_)
            | Self::ReadBack(_)
            | Self::ScoresNotFinite { .. }
            | Self::Compare(_)
            | Self::WriteModel(_)
            | Self::WriteText(_)
            | Self::Format(_)
            | Self::File { .. } => ExitStatus::Failed,
            _ => ExitStatus::Unusable,
        }
    }

    /// The error with its causes, on one line where they have one.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

fn altered(steps: u64) -> String {
    match steps {
        0 => "make this another run".to_owned(),
        _ => format!("change the {steps} steps that are done"),
    }
}

fn one_of(known: &[String]) -> String {
    match known {
        [] => "no gate, it measures nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_before_a_run_is_told_apart_from_what_fails_in_it() {
        let path = PathBuf::from("here");
        let missing = || DataError::SourceMissing { path: path.clone() };
        let unusable = [
            PipelineError::Data(missing()),
            PipelineError::Run(RunError::HoldsRun { path: path.clone() }),
            PipelineError::Text(TextError::Model(ModelError::EmptyPrompt)),
            PipelineError::Checkpoint(TrainError::NoTokens { step: 1 }),
        ];
        for error in unusable {
            assert_eq!(error.exit_status(), ExitStatus::Unusable, "{error}");
        }
        let position = 3;
        let failed = [
            PipelineError::WriteText(missing()),
            PipelineError::Run(RunError::Observer("no".to_owned())),
            PipelineError::Text(ModelError::LogitsNotFinite { position }.into()),
            PipelineError::Train(TrainError::NoTokens { step: 1 }),
        ];
        for error in failed {
            assert_eq!(error.exit_status(), ExitStatus::Failed, "{error}");
        }
    }

    #[test]
    fn causes_follow_what_they_caused() {
        let path = PathBuf::from("here");
        let source = DataError::SourceMissing { path: path.clone() };
        let text = PipelineError::HubModel {
            path,
            source: Box::new(source),
        }
        .with_causes();
        assert!(
            text.starts_with("here: no such path here, a model of the Hub: here: no such file")
        );
    }
}
