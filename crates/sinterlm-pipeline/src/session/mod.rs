//! A run: its directory, whether new or resumed. What it starts with, how it is trained, what watches
//! it and how it ends is in the files beside this one.

mod budget;
mod finish;
mod start;
mod train;
mod watch;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use sinterlm_config::{check_made, load_moved, to_toml};
use sinterlm_data::Tokenizer;
use sinterlm_formats::{remove_stale_staging, write_file_atomic};
use sinterlm_kernels::Isa;
use sinterlm_run::{
    MetricsFile, Provenance, RunDir, RunEnd, RunError, SampleFile, Section, Undoing,
};
use sinterlm_trainer::{Checkpoint, find_checkpoint, find_checkpoint_until, set_aside_broken};

use crate::BURN_VERSION;
use crate::error::PipelineError;
use crate::host::{Host, Mode};
use crate::resume::check_changes;
use crate::run_config::{RunAt, RunConfig};
use crate::stage::Stage;
use crate::weights::refuse_unless_text;

/// Where a run is resumed, for what has to be undone before.
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
pub struct Session<C: RunConfig> {
    /// The config in force.
    pub config: C,
    host: Host,
    dir: RunDir,
    /// Where a resumed run goes on.
    checkpoint: Option<Checkpoint>,
    resumed: Option<ResumePoint>,
    /// Facts about the run, written to `run.json`.
    provenance: Provenance,
    /// From the first file that is written until the end stands in `run.json`.
    is_running: bool,
    /// Until then a signal leaves no directory of a new run.
    unbegun: Option<Undoing>,
}

/// Where the probe of a time budget writes a checkpoint, within the run directory.
const PROBE: &str = "probe";
/// Folder in the run directory of what frozen blocks make of each row.
pub(crate) const PREFIXES: &str = "prefix";

impl<C: RunConfig> Session<C> {
    /// Checks the config and takes the run directory: a new one, or that of the run to resume.
    ///
    /// # Errors
    /// For a faulty config, a directory that holds a run already or none to resume, and a change on
    /// resume that would alter the past.
    pub fn open(at: RunAt<C>, host: &Host) -> Result<Self, PipelineError> {
        match at {
            RunAt::New { config, out } => Self::start(config, &out, host),
            RunAt::Resume { dir, set } => Self::resume(&dir, &set, host),
        }
    }

    fn start(mut config: C, out: &Path, host: &Host) -> Result<Self, PipelineError> {
        if let Some(cache) = &host.cache_dir {
            refuse_unless_text(cache)?; // the config in force names it
        }
        let check = |config: &C| config.paths().into_iter().try_for_each(refuse_unless_text);
        check(&config)?;
        // The ranges of keys are known to the loader alone.
        check_made(&config, "config")?;
        config.resolve(host)?;
        check(&config)?;
        let dir = RunDir::create(out)?;
        let folder = dir.path().to_owned();
        let undo = move || remove_unbegun(&folder);
        let unbegun = Some(host.stop.undo_if_stopped(undo));
        Ok(Self {
            config,
            host: host.clone(),
            dir,
            checkpoint: None,
            resumed: None,
            provenance: Provenance::collect(),
            is_running: false,
            unbegun,
        })
    }

    fn resume(path: &Path, set: &[String], host: &Host) -> Result<Self, PipelineError> {
        let dir = RunDir::open_existing(path)?;
        let written = dir.config_path();
        let old: C = load_moved(&written, &[], C::MOVED)?;
        let config: C = load_moved(&written, set, C::MOVED)?;
        let folder = dir.checkpoints_dir();
        let (checkpoint, broken) = match host.mode {
            Mode::Replay(step) => find_checkpoint_until(&folder, step.saturating_sub(1)),
            Mode::Run | Mode::Plan => find_checkpoint(&folder),
        };
        for error in broken {
            host.note(format!("passing over a broken checkpoint: {error}"));
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
        let pieces = check_changes(&old, &config, steps)?;
        match &checkpoint {
            Some(found) => host.say(format!(
                "resume: from {} (step {steps})",
                found.path.display()
            )),
            None => host.say("resume: no whole checkpoint yet, starting at step 0"),
        }
        if let Some(pieces) = pieces {
            host.say(format!("resume: {pieces}"));
        }
        Ok(Self {
            config,
            host: host.clone(),
            provenance: Provenance::collect_resumed(dir.provenance_path()),
            dir,
            checkpoint,
            resumed: Some(resumed),
            is_running: false,
            unbegun: None,
        })
    }

    /// Where the run computes, and who is told of it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The finished run, where one is resumed that has nothing left to do; says so.
    pub fn finished(&self) -> Option<Stage> {
        let tables = self.config.tables();
        let best = tables.eval.best();
        let found = self.checkpoint.as_ref();
        found.filter(|found| found.state.is_over(tables.trainer, &best))?;
        let stage = Stage::of_run(self.dir.path())?;
        let summary = self.dir.summary_path();
        self.host
            .say(format!("this run is finished: {}", summary.display()));
        Some(stage)
    }

    /// Undoes what a run did after the checkpoint that it is resumed from, and what was left
    /// unfinished; then writes `config.toml`, `run.json`, `tokenizer.json` and further `files`.
    fn begin(
        &mut self,
        tokenizer: &Tokenizer,
        files: &[(String, Vec<u8>)],
        sections: &[Section],
    ) -> Result<(), PipelineError> {
        if let Some(point) = &self.resumed {
            if self.dir.metrics_path().exists() {
                MetricsFile::cut_back(self.dir.metrics_path(), point.metrics_bytes)?;
            }
            let samples = self.dir.samples_path();
            match point.samples_bytes {
                Some(bytes) => SampleFile::cut_back(samples, bytes)?,
                None => SampleFile::cut_back_to_step(samples, point.steps)?,
            }
            let folder = self.dir.checkpoints_dir();
            set_aside_broken(&folder, point.newest_whole.as_deref())?;
            remove_stale_staging(&folder)?;
            remove_stale_staging(self.dir.path())?;
        }
        self.dir.write_config(&to_toml(&self.config)?)?;
        let tables = self.config.tables();
        let precision = format!("{:?}", tables.trainer.precision).to_lowercase();
        self.provenance
            .set("device", self.host.device_name.as_str())
            .set(
                "instruction_set",
                format!("{:?}", Isa::in_use()).to_lowercase(),
            )
            .set("burn", BURN_VERSION)
            .set("dtype", precision)
            .set("threads", rayon::current_num_threads())
            .set("seed", tables.seed.0);
        self.provenance.write(self.dir.provenance_path())?;
        self.is_running = true;
        tokenizer
            .save(&self.dir.tokenizer_path())
            .map_err(PipelineError::WriteText)?;
        for (name, bytes) in files {
            write_file_atomic(self.dir.path().join(name), |out| out.write_all(bytes))?;
        }
        if !sections.is_empty() {
            Section::save(self.dir.path(), "data", sections)?;
        }
        Ok(())
    }

    /// The checkpoint that the run is resumed from.
    pub(crate) fn checkpoint_path(&self) -> Option<&Path> {
        self.checkpoint.as_ref().map(|found| found.path.as_path())
    }

    /// Whether the run was begun before.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// Notes in `run.json` what the run learns from: the hash of its records and of their passport.
    pub(crate) fn note_data(&mut self, fingerprint: &str, passport: &str) {
        self.provenance
            .set("data", fingerprint)
            .set("passport", passport);
    }

    /// Notes in `run.json` by which error the run ended.
    fn failed(&mut self, error: &PipelineError) {
        // The error itself is the one to be told.
        let _ = self.end(&RunEnd::Failed(error.with_causes()));
    }

    /// Writes the end into `run.json`, then `report.html`, without which results are still whole.
    fn end(&mut self, end: &RunEnd) -> Result<(), RunError> {
        self.is_running = false;
        self.provenance.finish(self.dir.provenance_path(), end)?;
        #[cfg(feature = "report")]
        if self.config.tables().log.report
            && let Err(error) = sinterlm_run::write_report(self.dir.path())
        {
            self.host.note(format!("no report: {error}"));
        }
        Ok(())
    }
}

impl<C: RunConfig> Drop for Session<C> {
    /// Leaves a directory in which nothing was written as if it had never been made, and no run
    /// without an end.
    fn drop(&mut self) {
        if self.is_running {
            let why = "the program ended early, see its last message".to_owned();
            let _ = self.end(&RunEnd::Failed(why));
        }
        if !self.dir.config_path().exists() {
            let _ = self.remove_prefixes();
            remove_empty(self.dir.path());
        }
    }
}

/// Removes what a run leaves before it writes its config. A probe may be writing at the same time.
fn remove_unbegun(folder: &Path) {
    for _ in 0..20 {
        for part in [PROBE, PREFIXES] {
            let _ = std::fs::remove_dir_all(folder.join(part));
        }
        if ![PROBE, PREFIXES]
            .iter()
            .any(|part| folder.join(part).exists())
        {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    remove_empty(folder);
}

/// Removes a folder with nothing but a lock in it. Only an empty folder can be removed: whatever a run
/// wrote stays.
fn remove_empty(folder: &Path) {
    let _ = std::fs::remove_file(folder.join(".lock"));
    let _ = std::fs::remove_dir(folder);
}
