//! A program outside the workspace: it trains a tiny model, stops half-way, resumes the run, ends with
//! the model of a run that was not stopped, and continues a text.

use std::error::Error;
use std::path::{Path, PathBuf};

use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::{SourceConfig, TokenizerConfig};
use sinterlm::model::{GptConfig, SampleConfig};
use sinterlm::pipeline::{End, Host, PretrainConfig, RunAt, Stage, open_model, pretrain};
use sinterlm::run::{Event, Observer, RunError, StopFlag, StopReason};
use sinterlm::text::OpenOptions;

const STEPS: u64 = 12;

/// Asks a run to stop after one of its steps.
struct StopAfter(u64, StopFlag);

impl Observer for StopAfter {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(record) = event
            && record.step == self.0
        {
            self.1.request(StopReason::Request);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.ok_or("give an empty folder to work in")?);
    let whole = finished(train(&folder, "whole", None)?)?;
    match train(&folder, "broken", Some(STEPS / 2))? {
        End::Stopped { steps, .. } if steps == STEPS / 2 => {}
        other => return Err(format!("the run was not stopped half-way: {other:?}").into()),
    }
    let resumed = finished(train(&folder, "broken", None)?)?;
    if whole.model.fingerprint != resumed.model.fingerprint {
        return Err("the resumed run's model differs from the unbroken one's".into());
    }

    let options = OpenOptions::default();
    let host = Host::new(Device::flex(), "flex");
    let model = open_model(&resumed.dir, &options, &host)?;
    let text = model.continue_text("Once upon a time", &SampleConfig::greedy(16), Seed(1))?;
    if text.is_empty() {
        return Err("the model wrote nothing".into());
    }
    println!(
        "stopped after {} of {STEPS} steps and resumed: {text}",
        STEPS / 2
    );
    Ok(())
}

/// Starts a run or resumes it, up to a step.
fn train(folder: &Path, run: &str, until: Option<u64>) -> Result<End, Box<dyn Error>> {
    let mut config = PretrainConfig {
        tokenizer: TokenizerConfig::Bpe { vocab_size: 300 },
        model: GptConfig {
            vocab_size: 300,
            max_seq_len: 32,
            d_model: 32,
            n_layers: 2,
            n_heads: 2,
            dropout: 0.1,
            ..GptConfig::default()
        },
        ..PretrainConfig::default()
    };
    config.data.source = SourceConfig::Stories {
        count: 200,
        seed: None,
    };
    config.trainer.max_steps = STEPS;
    config.schedule.warmup_fraction = 0.1;
    config.sample.max_new_tokens = 8;
    let mut host = Host::new(Device::flex(), "flex");
    host.cache_dir = Some(folder.join("cache"));
    host.offline = true;
    let host = match until {
        Some(step) => {
            let stop = host.stop.clone();
            host.with_observer(StopAfter(step, stop))
        }
        None => host,
    };
    Ok(pretrain(
        RunAt::resume_or_new(folder.join(run), config),
        &host,
    )?)
}

fn finished(end: End) -> Result<Stage, Box<dyn Error>> {
    match end {
        End::Done(stage) => Ok(stage),
        other => Err(format!("the run did not finish: {other:?}").into()),
    }
}
