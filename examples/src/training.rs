//! From the options of a training program to what a pipeline takes.

use sinterlm::data::SourceConfig;
use sinterlm::pipeline::{Host, Mode, PretrainConfig, RunAt, ShowProgress};
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
///
/// # Errors
/// For a faulty config, and options that do not go together.
pub fn run_at(name: &str, options: &Options) -> Result<RunAt<PretrainConfig>, Failure> {
    if let Some(dir) = &options.resume {
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
        let (dir, set) = (dir.clone(), options.set.clone());
        return Ok(RunAt::Resume { dir, set });
    }
    let path = options.config_or_default(name);
    let mut config: PretrainConfig = sinterlm::config::load(&path, &options.set).or_unusable()?;
    config.seed = options.seed.unwrap_or(config.seed);
    config.weights = options.model.clone().or(config.weights);
    if !options.train.is_empty() {
        config.data.source = SourceConfig::Files {
            train: options.train.clone(),
            valid: options.valid.clone(),
        };
        config.data.fingerprint = None;
    } else if !options.valid.is_empty() {
        let error = anyhow::anyhow!("--valid without --train: give the training text too");
        return Err(error).or_unusable();
    }
    let out = options.out_or_default(name);
    Ok(RunAt::New { config, out })
}
