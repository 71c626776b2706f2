//! Where a pipeline runs: its device, how it is stopped, and who is told what.

use std::fmt::{self, Debug, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use sinterlm_data::Progress;
use sinterlm_run::{Event, Observer, Observers, ProgressLines, RunError, StopFlag, shell_path};

use crate::rows::RowStyle;

/// What a pipeline does with a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Trains it.
    #[default]
    Run,
    /// Tells what it would do, after a probe of a few steps; nothing is written.
    Plan,
    /// Computes one step of a resumed run again, counted from 1, with a look at every activation and
    /// gradient; nothing is written.
    Replay(u64),
}

/// How a run shows where it is, on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShowProgress {
    /// Not at all.
    #[default]
    No,
    /// A line per log interval.
    Lines,
    /// A bar where stderr is a terminal and the feature `progress` is on, lines elsewhere.
    Bar,
}

/// Something to be told while a pipeline works.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Told<'a> {
    /// A line of results: what is used, measured and written. Programs print it to stdout.
    Result(&'a str),
    /// A line that a person should see, for stderr.
    Note(&'a str),
    /// How far the text is prepared.
    Preparing(Progress),
    /// How much of a model's file is fetched.
    Downloading {
        /// The file's name.
        file: &'a str,
        /// Bytes that are here.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Where and how pipelines run.
///
/// ```
/// use burn::tensor::Device;
/// use sinterlm_pipeline::{Host, Told};
///
/// let host = Host::new(Device::flex(), "flex").with_teller(|told| {
///     if let Told::Result(line) = told {
///         println!("{line}");
///     }
/// });
/// assert!(!host.offline);
/// ```
#[derive(Clone)]
pub struct Host {
    /// Where models compute, without autodiff.
    pub device: Device,
    /// The device as users write it, `flex`: it decides whose memory is looked at.
    pub device_name: String,
    /// Ends a run after the step in hand.
    pub stop: StopFlag,
    /// Never touch the network.
    pub offline: bool,
    /// Resume although the text changed, with the run's own tokenizer.
    pub accept_changed_data: bool,
    /// What is done with a run.
    pub mode: Mode,
    /// How a run shows where it is.
    pub progress: ShowProgress,
    /// How a plan marks trained tokens.
    pub row_style: RowStyle,
    /// Where tokenised text is kept if the config names no folder.
    pub cache_dir: Option<PathBuf>,
    /// What a person types in a shell before `--resume DIR` to resume a run; absent where no program
    /// does that. [`shell_word`](sinterlm_run::shell_word) quotes a program's path.
    pub program: Option<String>,
    observers: Vec<Shared>,
    tell: Arc<dyn Fn(Told<'_>) + Send + Sync>,
}

impl Host {
    /// A host that prints nothing, sets no signal handlers and may use the network.
    pub fn new(device: Device, name: impl Into<String>) -> Self {
        Self {
            device,
            device_name: name.into(),
            stop: StopFlag::new(),
            offline: false,
            accept_changed_data: false,
            mode: Mode::default(),
            progress: ShowProgress::default(),
            row_style: RowStyle::default(),
            cache_dir: None,
            program: None,
            observers: Vec::new(),
            tell: Arc::new(|_| ()),
        }
    }

    /// Adds an observer of the events of every run, after those that write the run directory.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Shared(Arc::new(Mutex::new(observer))));
        self
    }

    /// Hands what is told to `tell`.
    #[must_use]
    pub fn with_teller(mut self, tell: impl Fn(Told<'_>) + Send + Sync + 'static) -> Self {
        self.tell = Arc::new(tell);
        self
    }

    pub(crate) fn tell(&self, told: Told<'_>) {
        (self.tell)(told);
    }

    pub(crate) fn say(&self, line: impl Display) {
        self.tell(Told::Result(&line.to_string()));
    }

    pub(crate) fn note(&self, line: impl Display) {
        self.tell(Told::Note(&line.to_string()));
    }

    /// The command that resumes a run.
    pub(crate) fn resume_command(&self, dir: &Path) -> Option<String> {
        let program = self.program.as_ref()?;
        Some(format!("{program} --resume {}", shell_path(dir)))
    }

    /// What shows where the run is.
    pub(crate) fn progress_observers(&self) -> Observers {
        match self.progress {
            ShowProgress::No => Observers::new(),
            ShowProgress::Lines => Observers::new().with(ProgressLines::new()),
            #[cfg(feature = "progress")]
            ShowProgress::Bar => Observers::new().with(sinterlm_run::ProgressBar::new(false)),
            #[cfg(not(feature = "progress"))]
            ShowProgress::Bar => Observers::new().with(ProgressLines::new()),
        }
    }

    /// The observers that the user added.
    pub(crate) fn add_observers(&self, observers: &mut Observers) {
        for observer in &self.observers {
            observers.push(observer.clone());
        }
    }
}

impl Debug for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("device_name", &self.device_name)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// An observer of all runs on a host.
#[derive(Clone)]
struct Shared(Arc<Mutex<dyn Observer>>);

impl Observer for Shared {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        let mut observer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        observer.on_event(event)
    }
}
