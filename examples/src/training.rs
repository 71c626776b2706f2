//! From the options of a training program to what a pipeline takes.

use std::path::PathBuf;

use sinterlm::data::{RecordsConfig, RecordsSource, SourceConfig};
use sinterlm::pipeline::{
    ClassifyConfig, Host, InstructConfig, Mode, PretrainConfig, RunAt, RunConfig, ShowProgress,
};
use sinterlm::run::{Options, StopFlag, shell_word};

use crate::exit::{Failure, OrFailure, say};
use crate::terminal::host_on;

/// The host of a training program: `--device` and what else is said of how it runs. Ctrl-C and SIGTERM
/// end a run with a checkpoint.
///
/// # Errors
/// Where there is no such device, or the system refuses the handlers.
pub fn training_host(options: &Options) -> Result<Host, Failure> {
    let mut host = host_on(&options.device, !options.quiet)?;
    host.stop = StopFlag::install()?;
    say(format!("device: {}", host.device_name));
    if let Some(program) = &mut host.program {
        if let Some(threads) = options.threads {
            *program = format!("{program} --threads {threads}");
        }
        if options.device != "auto" {
            let device = shell_word(&options.device);
            *program = format!("{program} --device {device}");
        }
    }
    host.offline = options.offline;
    host.accept_changed_data = options.accept_changed_data;
    host.mode = match (options.replay_step, options.plan) {
        (Some(step), _) => Mode::Replay(step.get()),
        (None, true) => Mode::Plan,
        (None, false) => Mode::Run,
    };
    host.progress = if options.quiet {
        ShowProgress::Lines
    } else {
        ShowProgress::Bar
    };
    Ok(host)
}

/// Where the run of the example `name` begins: its config with the options applied, or `--resume`.
/// `apply` puts what the options say of seed, weights and data into the config.
///
/// # Errors
/// For a faulty config, and options that do not go together.
pub fn run_at<C: RunConfig>(
    name: &str,
    options: &Options,
    test: &[PathBuf],
    apply: impl FnOnce(&mut C) -> Result<(), Failure>,
) -> Result<RunAt<C>, Failure> {
    if let Some(dir) = &options.resume {
        let fixed = options.seed.is_some()
            || options.model.is_some()
            || [&options.train, &options.valid]
                .iter()
                .any(|paths| !paths.is_empty())
            || !test.is_empty();
        if fixed {
            let error = anyhow::anyhow!(
                "--resume goes on with the run's own --seed, --model, --train, --valid and --test; leave them out"
            );
            return Err(error).or_unusable();
        }
        let (dir, set) = (dir.clone(), options.set.clone());
        return Ok(RunAt::Resume { dir, set });
    }
    let path = options.config_or_default(name);
    let mut config: C = sinterlm::config::load(&path, &options.set).or_unusable()?;
    apply(&mut config)?;
    let out = options.out_or_default(name);
    Ok(RunAt::New { config, out })
}

/// [`run_at`] of a pretraining run.
///
/// # Errors
/// As [`run_at`].
pub fn pretrain_at(name: &str, options: &Options) -> Result<RunAt<PretrainConfig>, Failure> {
    run_at(name, options, &[], |config: &mut PretrainConfig| {
        config.seed = options.seed.unwrap_or(config.seed);
        config.weights = options.model.clone().or(config.weights.take());
        if !options.train.is_empty() {
            config.data.source = SourceConfig::Files {
                train: options.train.clone(),
                valid: options.valid.clone(),
            };
            config.data.fingerprint = None;
        } else if !options.valid.is_empty() {
            return Err(anyhow::anyhow!(
                "--valid without --train: give the training text too"
            ))
            .or_unusable();
        }
        Ok(())
    })
}

/// The options of programs that fine-tune.
#[derive(Debug, clap::Args)]
pub struct Tuning {
    /// What all training programs have.
    #[command(flatten)]
    pub options: Options,
    /// Local test records, repeatable: scored once at the end, never looked at before; without it a
    /// leak-free split of --train is made
    #[arg(long, value_name = "PATH")]
    pub test: Vec<PathBuf>,
}

impl Tuning {
    /// [`run_at`] of a classification run.
    ///
    /// # Errors
    /// As [`run_at`].
    pub fn classify_at(&self, name: &str) -> Result<RunAt<ClassifyConfig>, Failure> {
        run_at(
            name,
            &self.options,
            &self.test,
            |config: &mut ClassifyConfig| {
                config.seed = self.options.seed.unwrap_or(config.seed);
                config.weights = self.options.model.clone().or(config.weights.take());
                self.put_data(&mut config.data)
            },
        )
    }

    /// [`run_at`] of an instruction tuning run.
    ///
    /// # Errors
    /// As [`run_at`].
    pub fn instruct_at(&self, name: &str) -> Result<RunAt<InstructConfig>, Failure> {
        run_at(
            name,
            &self.options,
            &self.test,
            |config: &mut InstructConfig| {
                config.seed = self.options.seed.unwrap_or(config.seed);
                config.weights = self.options.model.clone().or(config.weights.take());
                self.put_data(&mut config.data)
            },
        )
    }

    /// Puts local records in place of the configured source, or beside its own files.
    fn put_data(&self, data: &mut RecordsConfig) -> Result<(), Failure> {
        let Options { train, valid, .. } = &self.options;
        let test = &self.test;
        if train.is_empty() && valid.is_empty() && test.is_empty() {
            return Ok(());
        }
        if train.is_empty() {
            let Some(RecordsSource::Files {
                valid: own_valid,
                test: own_test,
                ..
            }) = &mut data.source
            else {
                return Err(anyhow::anyhow!(
                    "--valid or --test without --train: give the training records too"
                ))
                .or_unusable();
            };
            if !valid.is_empty() {
                own_valid.clone_from(valid);
            }
            if !test.is_empty() {
                own_test.clone_from(test);
            }
        } else {
            let (train, valid, test) = (train.clone(), valid.clone(), test.clone());
            data.source = Some(RecordsSource::Files { train, valid, test });
            data.sets.clear();
        }
        data.fingerprint = None;
        Ok(())
    }
}
