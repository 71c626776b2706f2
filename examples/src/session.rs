//! A run: its directory, whether new or gone on with, and everything that watches it.

use std::path::Path;

use anyhow::Result;
use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::{Prepared, StoreHeader, Tokenizer};
use sinterlm::formats::{StagedDir, write_file_atomic};
use sinterlm::model::{Gpt, find_model, load_model, read_config, save_model};
use sinterlm::recipes::PretrainConfig;
use sinterlm::run::{
    EvalRecord, ExitStatus, Gate, LossPlot, MetricsFile, Observers, Options, ProgressBar,
    Provenance, RunDir, RunError, SampleFile, StopFlag, Summary, ValidFigures,
    available_memory_bytes, peak_memory_bytes,
};
use sinterlm::trainer::{
    Checkpoint, Hooks, MicroBatch, Outcome, StopCause, TrainError, find_checkpoint,
};

use crate::data::load_text;
use crate::exit::{Failure, OrFailure};
use crate::resume::check_changes;

/// Validation perplexity per GPT-2 token that a pretraining run must stay below.
const TARGET_PERPLEXITY: f64 = 40.0;

/// A run directory in the hands of this process.
#[derive(Debug)]
pub struct Session {
    /// The directory.
    pub dir: RunDir,
    /// The config in force.
    pub config: PretrainConfig,
    /// Where to go on from, on `--resume`.
    pub checkpoint: Option<Checkpoint>,
    /// Facts about the run, written to `run.json`.
    pub provenance: Provenance,
    /// Raised by Ctrl-C and SIGTERM.
    pub stop: StopFlag,
}

impl Session {
    /// Reads the config and takes the run directory: a new one, or on `--resume` that of a run.
    ///
    /// # Errors
    /// Exit status 2 for a faulty config, a directory that holds a run, or a change on resume
    /// that would alter the past.
    pub fn open(name: &str, options: &Options) -> Result<Self, Failure> {
        if let Some(threads) = options.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
            pool.build_global().or_unusable()?;
        }
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
        let dir = RunDir::create(options.out_or_default(name)).or_unusable()?;
        let provenance = Provenance::collect();
        let stop = StopFlag::install()?;
        Ok(Self {
            dir,
            config,
            checkpoint: None,
            provenance,
            stop,
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
        let (checkpoint, broken) = find_checkpoint(&dir.checkpoints_dir());
        for error in broken {
            eprintln!("passing over a broken checkpoint: {error}");
        }
        let steps = checkpoint.as_ref().map_or(0, |c| c.state.number("step"));
        check_changes(&old, &config, steps).or_unusable()?;
        let metrics = checkpoint
            .as_ref()
            .map_or(0, |c| c.state.number("metrics_bytes"));
        if dir.metrics_path().exists() {
            MetricsFile::cut_back(dir.metrics_path(), metrics)?;
        }
        SampleFile::cut_back(dir.samples_path(), steps)?;
        match &checkpoint {
            Some(found) => println!("resume: from {} (step {steps})", found.path.display()),
            None => println!("resume: no whole checkpoint yet, starting at step 0"),
        }
        let provenance = Provenance::collect_resumed(dir.provenance_path());
        let stop = StopFlag::install()?;
        Ok(Self {
            dir,
            config,
            checkpoint,
            provenance,
            stop,
        })
    }

    /// Prepares the text; on a fault a directory made for this run is removed again.
    ///
    /// # Errors
    /// Exit status 2 for faulty text, tokenizer or cache.
    pub fn prepare_text(&mut self, options: &Options) -> Result<Prepared, Failure> {
        let seed = Seed(self.config.seed);
        let tokenizer = self.config.tokenizer.clone();
        let prepared = match load_text(options, &mut self.config.data, &tokenizer, seed) {
            Ok(prepared) => prepared,
            Err(error) => {
                self.abandon();
                return Err(error).or_unusable();
            }
        };
        println!("data: {}", prepared.report.text);
        self.config.data = prepared.resolved.clone();
        self.config.tokenizer = prepared.resolved_tokenizer.clone();
        self.provenance
            .set("data", prepared.fingerprints.source.as_str());
        self.provenance
            .set("tokenizer", prepared.fingerprints.tokenizer.as_str());
        Ok(prepared)
    }

    /// The model at the start: drawn from the seed, loaded by `--model`, or the checkpoint's.
    ///
    /// # Errors
    /// Exit status 2 for weights that can't be used or a vocabulary below the tokenizer's.
    pub fn starting_model(
        &mut self,
        options: &Options,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Gpt, Failure> {
        let folder = match (&self.checkpoint, &options.model) {
            (Some(checkpoint), _) => Some(checkpoint.path.clone()),
            (None, Some(path)) => Some(find_model(path).or_unusable()?),
            (None, None) => None,
        };
        if let Some(folder) = &folder {
            println!("weights: {}", folder.display());
            let dropout = self.config.model.dropout;
            self.config.model = read_config(folder).or_unusable()?;
            self.config.model.dropout = dropout;
        }
        let (found, needed) = (self.config.model.vocab_size, tokenizer.vocab_size());
        if found < needed {
            self.abandon();
            let error = anyhow::anyhow!(
                "model.vocab_size: {found} is below the tokenizer's {needed} tokens; set it to {needed}, or use the tokenizer that the weights were trained with"
            );
            return Err(error).or_unusable();
        }
        let config = &self.config.model;
        let model = match folder {
            Some(folder) => load_model(&folder, device).or_unusable()?,
            None => config.init(Seed(self.config.seed), device),
        };
        let parameters = config.parameters();
        println!(
            "model: {} layers, width {}, context {}, {} parameters ({} in embeddings)",
            config.n_layers,
            config.d_model,
            config.max_seq_len,
            parameters.total,
            parameters.embedding
        );
        Ok(model)
    }

    /// Resolves `trainer.micro_batch_size = "auto"` by the memory that is free.
    ///
    /// # Errors
    /// Exit status 2 where nothing fits, or where the device doesn't tell its memory.
    pub fn fit_micro_batch(&mut self, device_name: &str) -> Result<(), Failure> {
        let available = available_memory_bytes().filter(|_| device_name == "flex");
        let config = &mut self.config;
        match (config.trainer.micro_batch_size, available) {
            (MicroBatch::Rows(_), _) => Ok(()),
            (MicroBatch::Auto(_), Some(available)) => {
                let values = config.optimizer.state_values();
                config.trainer.fit_micro_batch(&config.model, values, available).or_unusable()
            }
            (MicroBatch::Auto(_), None) => Err(anyhow::anyhow!(
                "trainer.micro_batch_size: \"auto\" needs to know the memory, which {device_name} does not tell; give a number"
            ))
            .or_unusable(),
        }
    }

    /// Whether a run that is gone on with has nothing left to do.
    pub fn is_finished(&self, steps: u64) -> bool {
        steps >= self.config.trainer.max_steps && self.dir.summary_path().is_file()
    }

    /// Writes `config.toml`, `run.json` and `tokenizer.json`.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn begin(&mut self, device_name: &str, tokenizer: &Tokenizer) -> Result<(), Failure> {
        self.dir
            .write_config(&sinterlm::config::to_toml(&self.config)?)?;
        let precision = format!("{:?}", self.config.trainer.precision).to_lowercase();
        self.provenance
            .set("device", device_name)
            .set("dtype", precision)
            .set("threads", rayon::current_num_threads())
            .set("seed", self.config.seed);
        self.provenance.write(self.dir.provenance_path())?;
        tokenizer.save(&self.dir.tokenizer_path())?;
        Ok(())
    }

    /// Logging, checkpoints and stopping as the config asks; evaluation and samples are the
    /// caller's to add.
    ///
    /// # Errors
    /// Where a file of the directory cannot be opened.
    pub fn hooks(&self, kind: &'static str, options: &Options) -> Result<Hooks<'static, Gpt>> {
        let plot = LossPlot::new(self.dir.loss_plot_path());
        let observers = Observers::new()
            .with(ProgressBar::new(options.quiet))
            .with(MetricsFile::open(self.dir.metrics_path())?)
            .with(SampleFile::new(self.dir.samples_path()))
            .with(plot.with_history(self.dir.metrics_path()));
        let (config, tokenizer) = (self.dir.config_path(), self.dir.tokenizer_path());
        let metrics = self.dir.metrics_path();
        Ok(Hooks {
            kind,
            parameters: self.config.model.parameters().total,
            observers,
            log: self.config.log.trigger(),
            evaluate: None,
            evaluate_at: self.config.eval.trigger(),
            sample: None,
            sample_at: self.config.eval.samples_trigger(),
            checkpoints: Some((
                self.dir.checkpoints_dir(),
                Box::new(|folder, model| Ok(save_model(folder, model)?)),
            )),
            checkpoint_at: self.config.checkpoint.trigger(),
            keep_last: self.config.checkpoint.keep_last,
            on_save: Some(Box::new(move |folder, scalars| {
                copy_into(folder, &[&config, &tokenizer])?;
                scalars.insert(
                    "metrics_bytes".into(),
                    MetricsFile::len_bytes(&metrics).into(),
                );
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
        let dir = self.dir.path().display().to_string();
        if let StopCause::Requested(reason) = outcome.cause {
            self.provenance.finish(self.dir.provenance_path())?;
            println!(
                "stopped after step {}; go on with: --resume {dir}",
                outcome.steps
            );
            return Ok(reason.exit_status());
        }
        let staged = StagedDir::create(self.dir.model_dir())?;
        save_model(staged.path(), model)?;
        copy_into(staged.path(), &[&self.dir.tokenizer_path()])?;
        if self.dir.model_dir().exists() {
            std::fs::remove_dir_all(self.dir.model_dir())?;
        }
        staged.commit()?;

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
        self.provenance.finish(self.dir.provenance_path())?;
        println!(
            "{} steps, {} tokens, {:.0} s",
            outcome.steps, outcome.tokens, outcome.seconds
        );
        for (name, value) in outcome.evaluation.iter().flat_map(|record| &record.figures) {
            println!("{name}: {value:.4}");
        }
        println!("run directory: {dir}");
        Ok(ExitStatus::Done)
    }

    /// Leaves a directory in which nothing was written as if it had never been made.
    pub fn abandon(&self) {
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

fn copy_into(folder: &Path, files: &[&Path]) -> Result<(), TrainError> {
    for file in files {
        let name = file.file_name().unwrap_or_default();
        let bytes = std::fs::read(file).map_err(|e| RunError::Observer(e.to_string()))?;
        write_file_atomic(folder.join(name), |out| out.write_all(&bytes))?;
    }
    Ok(())
}
