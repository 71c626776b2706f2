//! A run: its directory, whether new or gone on with, and everything that watches it.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sinterlm::burn::tensor::{DType, Device};
use sinterlm::config::Seed;
use sinterlm::data::{DataError, Prepared, StoreHeader, Tokenizer, TokenizerConfig};
use sinterlm::formats::{StagedDir, remove_stale_staging, write_file_atomic};
use sinterlm::kernels::Isa;
use sinterlm::model::{Gpt, Precision, load_model, save_model};
use sinterlm::recipes::PretrainConfig;
use sinterlm::run::{
    EvalRecord, ExitStatus, Gate, LossPlot, MetricsFile, Observers, Options, ProgressBar,
    Provenance, RunDir, RunEnd, RunError, SampleFile, StopFlag, Summary, TensorBoard, ValidFigures,
    available_memory_bytes, peak_memory_bytes, write_report,
};
use sinterlm::trainer::{
    Checkpoint, Checkpoints, Hooks, MicroBatch, Outcome, StopCause, TrainError, TrainState,
    find_checkpoint, find_checkpoint_until, set_aside_broken,
};

use crate::data::load_text;
use crate::data_files::{changed_files, data_files};
use crate::exit::{Failure, OrFailure, say};
use crate::post_mortem::PostMortemFile;
use crate::resume::check_changes;
use crate::weights::{probe_weights, take_weights};

/// Validation perplexity per GPT-2 token that a pretraining run must stay below.
const TARGET_PERPLEXITY: f64 = 40.0;

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

    /// Prepares the text.
    ///
    /// # Errors
    /// Exit status 2 for faulty text, tokenizer or cache, and for text that is no longer what the
    /// run began with, unless that is accepted.
    pub fn prepare_text(&mut self, options: &Options) -> Result<Prepared, Failure> {
        let seed = Seed(self.config.seed);
        let own_tokenizer = self.dir.tokenizer_path();
        if options.accept_changed_data && own_tokenizer.is_file() {
            self.config.data.fingerprint = None;
            // One trained of the changed text would give the ids another meaning.
            let path = std::path::absolute(own_tokenizer).or_unusable()?;
            self.config.tokenizer = TokenizerConfig::File { path };
        }
        let tokenizer = self.config.tokenizer.clone();
        let prepared = load_text(options, &mut self.config.data, &tokenizer, seed)
            .map_err(|error| self.explain_change(error))
            .or_unusable()?;
        let files = data_files(&prepared.resolved.source);
        self.provenance.set("data_files", json!(files));
        say(format!("data: {}", prepared.report.text));
        self.config.data = prepared.resolved.clone();
        self.config.tokenizer = prepared.resolved_tokenizer.clone();
        self.provenance
            .set("data", prepared.fingerprints.source.as_str());
        self.provenance
            .set("tokenizer", prepared.fingerprints.tokenizer.as_str());
        Ok(prepared)
    }

    /// Puts the files that changed in place of the fingerprints, where a run goes on.
    fn explain_change(&self, error: anyhow::Error) -> anyhow::Error {
        let changed = matches!(error.downcast_ref(), Some(DataError::SourceChanged { .. }));
        if !changed || self.resumed.is_none() {
            return error;
        }
        let text = std::fs::read_to_string(self.dir.provenance_path()).unwrap_or_default();
        let record: Value = serde_json::from_str(&text).unwrap_or_default();
        let files = data_files(&self.config.data.source);
        let mut lines = changed_files(&record["data_files"], &files);
        if lines.is_empty() {
            lines.push(error.to_string());
        }
        anyhow::anyhow!(
            "the text is no longer what the run began with; put it back, or go on with what there is now by --accept-changed-data:\n  {}",
            lines.join("\n  ")
        )
    }

    /// The model at the start: the checkpoint's, the one of `--model`, or drawn from the seed.
    ///
    /// # Errors
    /// Exit status 2 for weights that can't be used or a vocabulary below the tokenizer's.
    pub fn starting_model(
        &mut self,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Gpt, Failure> {
        let checkpoint = self.checkpoint.as_ref().map(|found| &found.path);
        let folder = checkpoint.or(self.config.weights.as_ref());
        if let Some(folder) = folder {
            let own = folder.join("tokenizer.json").is_file();
            let whose = if own {
                ""
            } else {
                ", without a tokenizer: the config's is used"
            };
            say(format!("weights: {}{whose}", folder.display()));
        }
        let (found, needed) = (self.config.model.vocab_size, tokenizer.vocab_size());
        if found < needed {
            let error = anyhow::anyhow!(
                "model.vocab_size: {found} is below the tokenizer's {needed} tokens; set it to {needed}, or use the tokenizer that the weights were trained with"
            );
            return Err(error).or_unusable();
        }
        let config = &self.config.model;
        let model = match folder {
            Some(folder) => load_model(folder, device)
                .or_unusable()?
                .with_dropout(config.dropout),
            None => config.init(Seed(self.config.seed), device),
        };
        if let (Some(path), None) = (folder, checkpoint) {
            probe_weights(&model, tokenizer, path, device).or_unusable()?;
        }
        let parameters = config.parameters();
        say(format!(
            "model: {} layers, width {}, context {}, {} parameters ({} in embeddings)",
            config.n_layers,
            config.d_model,
            config.max_seq_len,
            parameters.total,
            parameters.embedding
        ));
        Ok(model)
    }

    /// Resolves what the config leaves to the machine: `trainer.precision = "auto"`, and
    /// `trainer.micro_batch_size = "auto"` by the memory that is free.
    ///
    /// # Errors
    /// Exit status 2 where nothing fits, where the device doesn't tell its memory, or where it has no
    /// half precision that is asked for.
    pub fn fit_to_machine(
        &mut self,
        model: &Gpt,
        device: &Device,
        device_name: &str,
    ) -> Result<(), Failure> {
        let available = available_memory_bytes().filter(|_| device_name == "flex");
        let config = &mut self.config;
        config.trainer.precision = config.trainer.precision.on(device);
        if config.trainer.precision == Precision::F16 && !device.supports_dtype(DType::F16) {
            let error = anyhow::anyhow!(
                "trainer.precision: {device_name} has no half precision; use \"f32\" or \"bf16\""
            );
            return Err(error).or_unusable();
        }
        let precision = format!("{:?}", config.trainer.precision).to_lowercase();
        say(format!("precision: matrix products in {precision}"));
        match (config.trainer.micro_batch_size, available) {
            (MicroBatch::Rows(_), _) => Ok(()),
            (MicroBatch::Auto(_), Some(available)) => {
                let optimizer = config.optimizer.memory_of(model);
                config.trainer.fit_micro_batch(&config.model, optimizer, available).or_unusable()
            }
            (MicroBatch::Auto(_), None) => Err(anyhow::anyhow!(
                "trainer.micro_batch_size: \"auto\" needs to know the memory, which {device_name} does not tell; give a number"
            ))
            .or_unusable(),
        }
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

    /// Logging, checkpoints and stopping as the config asks; evaluation and samples are the
    /// caller's to add.
    ///
    /// # Errors
    /// Where a file of the directory cannot be opened.
    pub fn hooks(&self, kind: &'static str, options: &Options) -> Result<Hooks<'static, Gpt>> {
        let mut observers = Observers::new()
            .with(ProgressBar::new(options.quiet))
            .with(MetricsFile::open(self.dir.metrics_path())?)
            .with(PostMortemFile::new(&self.dir))
            .with(SampleFile::new(self.dir.samples_path()));
        if self.config.log.plot {
            let plot = LossPlot::new(self.dir.loss_plot_path());
            observers.push(plot.with_history(self.dir.metrics_path()));
        }
        if self.config.log.tensorboard {
            observers.push(TensorBoard::create(self.dir.tensorboard_dir())?);
        }
        let (metrics, samples) = (self.dir.metrics_path(), self.dir.samples_path());
        let end_of_text = self.end_of_text;
        let checkpoints = Checkpoints {
            files: vec![self.dir.config_path(), self.dir.tokenizer_path()],
            keep: self.config.checkpoint.keep(),
            background: self.config.checkpoint.background,
            ..Checkpoints::new(self.dir.checkpoints_dir(), move |folder, model| {
                Ok(save_model(folder, model, end_of_text)?)
            })
        };
        Ok(Hooks {
            kind,
            parameters: self.config.model.parameters().total,
            observers,
            log: self.config.log.trigger(),
            evaluate: None,
            evaluate_at: self.config.eval.trigger(),
            sample: None,
            sample_at: self.config.eval.samples_trigger(),
            checkpoints: Some(checkpoints),
            checkpoint_at: self.config.checkpoint.trigger(),
            on_save: Some(Box::new(move |scalars| {
                for (key, file) in [("metrics_bytes", &metrics), ("samples_bytes", &samples)] {
                    flush(file)?;
                    scalars.insert(key.into(), MetricsFile::len_bytes(file).into());
                }
                Ok(())
            })),
            stop: Some(self.stop.clone()),
        })
    }

    /// Writes the final model and `summary.json`, and says on stdout how it went; after a signal
    /// it says how to go on instead.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn finish(
        &mut self,
        kind: &str,
        outcome: &Outcome,
        model: &Gpt,
        text: &StoreHeader,
    ) -> Result<ExitStatus, Failure> {
        let closed = self.close(kind, outcome, model, text);
        closed.inspect_err(|failure| self.failed(failure))
    }

    fn close(
        &mut self,
        kind: &str,
        outcome: &Outcome,
        model: &Gpt,
        text: &StoreHeader,
    ) -> Result<ExitStatus, Failure> {
        let dir = self.dir.path().display().to_string();
        if let StopCause::Requested(reason) = outcome.cause {
            self.end(&RunEnd::Stopped)?;
            let program = std::env::args().next().unwrap_or_default();
            say(format!(
                "stopped after step {}; go on with: {program} --resume {dir}",
                outcome.steps
            ));
            return Ok(reason.exit_status());
        }
        self.write_model(model)?;

        let mut summary = Summary::new(kind);
        summary.steps = Some(outcome.steps);
        summary.tokens = Some(outcome.tokens);
        summary.seconds = Some(outcome.seconds);
        summary.tokens_per_second = Some(outcome.tokens as f64 / outcome.seconds.max(1e-9));
        summary.peak_memory_bytes = peak_memory_bytes();
        if let Some(record) = &outcome.evaluation {
            let figures = valid_figures(record, text);
            if let Some(value) = figures.perplexity_per_gpt2_token {
                let gate = Gate::at_most("perplexity_per_gpt2_token", value, TARGET_PERPLEXITY);
                summary.gates.push(gate);
            }
            summary.valid = Some(figures);
        }
        summary.write(self.dir.summary_path())?;
        self.end(&RunEnd::Finished)?;
        say(format!(
            "{} steps, {} tokens, {:.0} s",
            outcome.steps, outcome.tokens, outcome.seconds
        ));
        for (name, value) in outcome.evaluation.iter().flat_map(|record| &record.figures) {
            say(format!("{name}: {value:.4}"));
        }
        for sample in &outcome.samples {
            say(format!("sample: {}{}", sample.prompt, sample.text));
        }
        if let Some(best) = &outcome.best_checkpoint {
            say(format!("best checkpoint: {}", best.display()));
        }
        say(format!("run directory: {dir}"));
        Ok(ExitStatus::Done)
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

    /// Writes `model/`. That of a run which was shorter stays until the new one is whole.
    fn write_model(&self, model: &Gpt) -> Result<()> {
        let (old, new) = (self.dir.model_dir(), self.dir.path().join("model.new"));
        let remove = |folder: &Path| match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}: cannot remove it", folder.display()))
            }
            _ => Ok(()),
        };
        remove(&new)?;
        let staged = StagedDir::create(&new)?;
        save_model(staged.path(), model, self.end_of_text)?;
        copy_into(staged.path(), &[&self.dir.tokenizer_path()])?;
        staged.commit()?;
        remove(&old)?;
        std::fs::rename(&new, &old)
            .with_context(|| format!("{}: cannot be renamed to model", new.display()))
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

/// The figures of the last evaluation, as `summary.json` names them.
fn valid_figures(record: &EvalRecord, text: &StoreHeader) -> ValidFigures {
    let figure = |name: &str| {
        record
            .figures
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| *v)
    };
    ValidFigures {
        loss: record.loss,
        perplexity: record.loss.exp(),
        bits_per_byte: figure("valid/bits_per_byte"),
        perplexity_per_gpt2_token: figure("valid/perplexity_per_gpt2_token"),
        tokens: text.tokens - 1, // the end-of-text before the first document is read, not scored
        bytes: Some(text.text_bytes),
    }
}

/// Brings what was appended to a file to the disk: a checkpoint that outlives a power cut relies on
/// it. A file that is not there has nothing to bring.
fn flush(path: &Path) -> Result<(), TrainError> {
    let Ok(file) = OpenOptions::new().append(true).open(path) else {
        return Ok(());
    };
    Ok(file.sync_all().map_err(|source| RunError::Io {
        path: path.to_owned(),
        action: "flush",
        source,
    })?)
}

fn copy_into(folder: &Path, files: &[&Path]) -> Result<(), TrainError> {
    for file in files {
        let name = file.file_name().unwrap_or_default();
        let bytes = std::fs::read(file).map_err(|source| RunError::Io {
            path: file.to_path_buf(),
            action: "read",
            source,
        })?;
        write_file_atomic(folder.join(name), |out| out.write_all(&bytes))?;
    }
    Ok(())
}
