//! What a run reports: plain data, and the trait that receives it.

use std::{fmt, path::Path};

use crate::{PostMortem, RunError};

/// Receives a run's events; implemented by loggers, progress bars and user callbacks.
pub trait Observer: Send {
    /// Takes note of an event.
    ///
    /// # Errors
    /// An error ends the run: return one only where continuing would be worse than stopping.
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError>;
}

/// Something that happened in a run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run starts or resumes.
    Started {
        /// The pipeline: "pretrain".
        kind: &'a str,
        /// Optimizer steps of the whole run.
        max_steps: u64,
        /// Steps already done; 0 in a new run.
        step: u64,
        /// Tokens already trained on.
        tokens: u64,
        /// Trainable parameters.
        parameters: u64,
    },
    /// An optimizer step is done.
    Step(&'a StepRecord),
    /// The model was evaluated.
    Evaluated(&'a EvalRecord),
    /// Texts were generated to look at.
    Sampled {
        /// Steps done.
        step: u64,
        /// Tokens trained on.
        tokens: u64,
        /// The texts.
        samples: &'a [SampleText],
    },
    /// A checkpoint is whole on the disk.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// The checkpoint's folder.
        path: &'a Path,
    },
    /// Something a person should know.
    Note {
        /// One line.
        text: &'a str,
    },
    /// A step's loss or gradient is not finite; reported for the first of several such steps in a
    /// row.
    NotFinite(&'a PostMortem),
    /// The run ends, whole or interrupted.
    Finished {
        /// Steps done.
        step: u64,
        /// Why: "all steps are done".
        reason: &'a str,
    },
}

/// The figures of one optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Training loss of this step in nats per token.
    pub loss: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// Tokens per second of wall time since the last log interval.
    pub tokens_per_second: f64,
    /// Further figures by their metric name.
    pub extra: Vec<(String, f64)>,
    /// True at log intervals: the step goes into the metrics file.
    pub log: bool,
}

/// The figures of one evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalRecord {
    /// Steps done.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Figures by their metric name: `valid/loss` in nats per token, `valid/perplexity`.
    pub figures: Vec<(String, f64)>,
}

impl EvalRecord {
    /// One of the figures.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let mut figures = self.figures.iter();
        figures
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }
}

/// A text that the model wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleText {
    /// What the model was given.
    pub prompt: String,
    /// What it wrote after the prompt, without it.
    pub text: String,
}

/// Passes every event on to all observers, in the order they were added.
#[derive(Default)]
pub struct Observers(Vec<Box<dyn Observer>>);

impl Observers {
    /// No observers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, observer: impl Observer + 'static) {
        self.0.push(Box::new(observer));
    }

    /// Adds one, for building in one expression.
    #[must_use]
    pub fn with(mut self, observer: impl Observer + 'static) -> Self {
        self.push(observer);
        self
    }
}

impl Observer for Observers {
    /// Stops at the first observer that fails.
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        self.0
            .iter_mut()
            .try_for_each(|observer| observer.on_event(event))
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers")
            .field("count", &self.0.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Recorder(&'static str, Arc<Mutex<Vec<String>>>);

    impl Observer for Recorder {
        fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
            let Event::Note { text } = event else {
                return Ok(());
            };
            self.1.lock().unwrap().push(format!("{} {text}", self.0));
            if *text == "fail" {
                Err(RunError::Observer(self.0.into()))
            } else {
                Ok(())
            }
        }
    }

    #[test]
    fn events_reach_observers_in_order_and_the_first_fault_ends_the_run() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let recorder = |name| Recorder(name, Arc::clone(&heard));
        let mut observers = Observers::new().with(recorder("a")).with(recorder("b"));
        observers.on_event(&Event::Note { text: "hello" }).unwrap();
        let error = observers
            .on_event(&Event::Note { text: "fail" })
            .unwrap_err();
        assert_eq!(*heard.lock().unwrap(), ["a hello", "b hello", "a fail"]);
        assert_eq!(error.to_string(), "an observer ended the run: a");
        assert_eq!(error.exit_status().code(), 1);
    }
}
