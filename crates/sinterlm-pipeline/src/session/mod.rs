//! A run: its directory, whether new or gone on with. What it starts with, what watches it and how it
//! ends is in the files beside this one.

mod finish;
mod start;
mod watch;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};

use sinterlm::data::Tokenizer;
use sinterlm::formats::remove_stale_staging;
use sinterlm::kernels::Isa;
use sinterlm::recipes::PretrainConfig;
use sinterlm::run::{
    MetricsFile, Options, Provenance, RunDir, RunEnd, RunError, SampleFile, StopFlag, write_report,
};
use sinterlm::trainer::{
    Checkpoint, TrainState, find_checkpoint, find_checkpoint_until, set_aside_broken,
};

use crate::exit::{Failure, OrFailure, say};
use crate::resume::check_changes;
use crate::weights::take_weights;

/// Where a run goes on, for what has to be taken back before it does.
#[derive(Debug)]
struct ResumePoint {
    newest_whole: Option<PathBuf>,
    steps: u64,
    metrics_bytes: u64,
    /// Absent from checkpoints of format version 1.
    samples_bytes: Option<u64>,
}

/// A run directory in the hands of this process.
#[derive(Debug)]
pub struct Session {
    /// The directory.
    pub dir: RunDir,
    /// The config in force.
    pub config: PretrainConfig,
    /// Where to go on from, on `--resume`.
    pub checkpoint: Option<Checkpoint>,
    resumed: Option<ResumePoint>,
    /// The tokenizer's id, known from [`begin`](Self::begin) on.
    end_of_text: u32,
    /// Facts about the run, written to `run.json`.
    pub provenance: Provenance,
    /// Raised by Ctrl-C and SIGTERM.
    pub stop: StopFlag,
    /// From [`begin`](Self::begin) on, until the end is written to `run.json`.
    is_running: bool,
}

impl Session {
    /// Reads the config and takes the run directory: a new one, or on `--resume` that of a run.
    ///
    /// # Errors
    /// Exit status 2 for a faulty config, a directory that holds a run, or a change on resume
    /// that would alter the past.
    pub fn open(name: &str, options: &Options) -> Result<Self, Failure> {
        match &options.resume {
            Some(path) => Self::resume(path, options),
            None => Self::start(name, options),
        }
    }

    fn start(name: &str, options: &Options) -> Result<Self, Failure> {
        let path = options.config_or_default(name);
        let mut config: PretrainConfig =
            sinterlm::config::load(&path, &options.set).or_unusable()?;
        config.seed = options.seed.unwrap_or(config.seed);
        config.weights = options.model.clone().or(config.weights);
        take_weights(&mut config, options.offline).or_unusable()?;
        let dir = RunDir::create(options.out_or_default(name)).or_unusable()?;
        let provenance = Provenance::collect();
        let stop = StopFlag::install()?;
        Ok(Self {
            dir,
            config,
            checkpoint: None,
            resumed: None,
            end_of_text: 0,
            provenance,
            stop,
            is_running: false,
        })
    }

    fn resume(path: &Path, options: &Options) -> Result<Self, Failure> {
        let fixed = options.seed.is_some()
            || options.model.is_some()
            || !options.train.is_empty()
            || !options.valid.is_empty();
        if fixed {
            let error = anyhow::anyhow!(
                "--resume goes on with the run's own --seed, --model, --train and --valid; leave them out"
            );
            return Err(error).or_unusable();
        }
        let dir = RunDir::open_existing(path).or_unusable()?;
        let old: PretrainConfig = sinterlm::config::load(&dir.config_path(), &[]).or_unusable()?;
        let config = sinterlm::config::load(&dir.config_path(), &options.set).or_unusable()?;
        let folder = dir.checkpoints_dir();
        let (checkpoint, broken) = match options.replay_step {
            Some(step) => find_checkpoint_until(&folder, step.get() - 1),
            None => find_checkpoint(&folder),
        };
        for error in broken {
            let note = format!("passing over a broken checkpoint: {error}");
            let _ = writeln!(std::io::stderr(), "{note}");
        }
        let number = |key| checkpoint.as_ref().map_or(0, |c| c.state.number(key));
        let resumed = ResumePoint {
            newest_whole: checkpoint.as_ref().map(|c| c.path.clone()),
            steps: number("step"),
            metrics_bytes: number("metrics_bytes"),
            samples_bytes: checkpoint
                .as_ref()
                .and_then(|c| c.state.scalars.get("samples_bytes")?.as_u64()),
        };
        let steps = resumed.steps;
        let pieces = check_changes(&old, &config, steps).or_unusable()?;
        match &checkpoint {
            Some(found) => say(format!(
                "resume: from {} (step {steps})",
                found.path.display()
            )),
            None => say("resume: no whole checkpoint yet, starting at step 0"),
        }
        if let Some(pieces) = pieces {
            say(format!("resume: {pieces}"));
        }
        let provenance = Provenance::collect_resumed(dir.provenance_path());
        let stop = StopFlag::install()?;
        Ok(Self {
            dir,
            config,
            checkpoint,
            resumed: Some(resumed),
            end_of_text: 0,
            provenance,
            stop,
            is_running: false,
        })
    }

    /// Whether a run that is gone on with has nothing left to do.
    pub fn is_finished(&self) -> bool {
        let (config, patience) = (
            &self.config.trainer,
            self.config.trainer.early_stopping_patience,
        );
        let is_over = |state: &TrainState| {
            state.number("step") >= config.max_steps
                || (patience > 0 && state.number("since_best") >= patience)
        };
        let state = self.checkpoint.as_ref().map(|found| &found.state);
        state.is_some_and(is_over) && self.dir.summary_path().is_file()
    }

    /// Takes back what a run did after the checkpoint that it goes on from, and what was left
    /// unfinished; then writes `config.toml`, `run.json` and `tokenizer.json`.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn begin(&mut self, device_name: &str, tokenizer: &Tokenizer) -> Result<(), Failure> {
        if let Some(point) = &self.resumed {
            if self.dir.metrics_path().exists() {
                MetricsFile::cut_back(self.dir.metrics_path(), point.metrics_bytes)?;
            }
            let samples = self.dir.samples_path();
            SampleFile::cut_back(&samples, point.steps)?;
            if let Some(bytes) = point.samples_bytes.filter(|_| samples.exists()) {
                MetricsFile::cut_back(samples, bytes)?; // texts of the run's end, written again
            }
            let folder = self.dir.checkpoints_dir();
            set_aside_broken(&folder, point.newest_whole.as_deref())?;
            remove_stale_staging(&folder)?;
            remove_stale_staging(self.dir.path())?;
        }
        self.dir
            .write_config(&sinterlm::config::to_toml(&self.config)?)?;
        let precision = format!("{:?}", self.config.trainer.precision).to_lowercase();
        self.provenance
            .set("device", device_name)
            .set(
                "instruction_set",
                format!("{:?}", Isa::in_use()).to_lowercase(),
            )
            .set("burn", sinterlm::BURN_VERSION)
            .set("dtype", precision)
            .set("threads", rayon::current_num_threads())
            .set("seed", self.config.seed);
        self.provenance.write(self.dir.provenance_path())?;
        self.is_running = true;
        tokenizer.save(&self.dir.tokenizer_path())?;
        self.end_of_text = tokenizer.end_of_text();
        Ok(())
    }

    /// Notes in `run.json` by which error the run ended, for its result to be passed through:
    /// `run(..).inspect_err(|error| session.failed(error))`. Called once; a run that ends in another
    /// way than this or [`finish`](Self::finish) is noted when the session is dropped.
    pub fn failed(&mut self, error: &impl Display) {
        // The error itself is the one to be told.
        let _ = self.end(&RunEnd::Failed(error.to_string()));
    }

    /// Writes the end into `run.json`, then `report.html`, without which results are still whole.
    fn end(&mut self, end: &RunEnd) -> Result<(), RunError> {
        self.is_running = false;
        self.provenance.finish(self.dir.provenance_path(), end)?;
        if self.config.log.report
            && let Err(error) = write_report(self.dir.path())
        {
            let _ = writeln!(std::io::stderr(), "no report: {error}");
        }
        Ok(())
    }
}

impl Drop for Session {
    /// Leaves a directory in which nothing was written as if it had never been made, and no run
    /// without an end.
    fn drop(&mut self) {
        if self.is_running {
            self.failed(&"the program ended early, see its last message");
        }
        // Only an empty folder can be removed: whatever a run wrote stays.
        if !self.dir.config_path().exists() {
            let _ = std::fs::remove_file(self.dir.path().join(".lock"));
            let _ = std::fs::remove_dir(self.dir.path());
        }
    }
}
