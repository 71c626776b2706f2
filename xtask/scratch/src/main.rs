//! A program outside the workspace: it trains a tiny model, stops half-way, resumes from the checkpoint
//! in a second trainer, ends with the bytes of a run that was not stopped, and continues a text.

use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::{StoryGenerator, TokenStore, Tokenizer, TrainWindows};
use sinterlm::model::{Gpt, GptConfig, Request, SampleConfig, generate, load_model, save_model};
use sinterlm::run::{Event, Observer, Observers, RunError, StopFlag, StopReason};
use sinterlm::trainer::{
    Checkpoints, Hooks, MicroBatch, NextToken, OptimizerConfig, ScheduleConfig, Trainer,
    TrainerConfig, find_checkpoint,
};

const SEED: Seed = Seed(7);
const STEPS: u64 = 12;
const SEQ: usize = 32;

/// Asks a run to stop behind one of its steps.
struct StopAfter(u64, StopFlag);

impl Observer for StopAfter {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(record) = event
            && record.step == self.0
        {
            self.1.request(StopReason::Terminate);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.ok_or("give an empty folder to work in")?);
    let stories = StoryGenerator::new(SEED.0);
    let text: Vec<String> = (0..200).map(|number| stories.story(number)).collect();
    let documents = || text.iter().map(String::as_str);
    let tokenizer = Tokenizer::train_bpe(documents(), 300)?;
    let store = TokenStore::from_documents(&tokenizer, documents());
    tokenizer.save(&folder.join("tokenizer.json"))?;

    let whole = train(&folder, "whole", &store, STEPS)?;
    let half = train(&folder, "broken", &store, STEPS / 2)?;
    let resumed = train(&folder, "broken", &store, STEPS)?;
    if half == resumed {
        return Err("the run was not stopped half-way".into());
    }
    for name in ["model.safetensors", "trainer.safetensors"] {
        if fs::read(whole.join(name))? != fs::read(resumed.join(name))? {
            return Err(
                format!("{name} of the resumed run differs from the unbroken one's").into(),
            );
        }
    }

    let device = Device::flex();
    let model = load_model(&resumed, &device)?;
    let tokenizer = Tokenizer::from_file(&resumed.join("tokenizer.json"))?;
    let (prompt, mut written) = ("Once upon a time", String::new());
    let request = Request {
        prompt: tokenizer.encode(prompt),
        ..Request::default()
    };
    let greedy = SampleConfig::greedy(16);
    generate(&model, &[request], &greedy, SEED, &device, |_row, token| {
        written.push_str(&tokenizer.decode(&[token.id]));
        ControlFlow::Continue(())
    })?;
    if written.is_empty() {
        return Err("the model wrote nothing".into());
    }
    println!(
        "{STEPS} steps, stopped at {} and resumed: {prompt}{written}",
        STEPS / 2
    );
    Ok(())
}

/// Trains up to the step `end`, from the newest checkpoint of the run where it has one; gives the
/// last checkpoint.
fn train(
    folder: &Path,
    run: &str,
    store: &TokenStore,
    end: u64,
) -> Result<PathBuf, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let tokenizer = folder.join("tokenizer.json");
    let checkpoints = folder.join(run);
    let (found, _broken) = find_checkpoint(&checkpoints);
    let fresh = GptConfig {
        vocab_size: Tokenizer::from_file(&tokenizer)?.vocab_size(),
        max_seq_len: SEQ,
        d_model: 32,
        n_layers: 2,
        n_heads: 2,
        dropout: 0.1,
        ..GptConfig::default()
    };
    let model = match &found {
        Some(checkpoint) => load_model(&checkpoint.path, &device)?,
        None => fresh.init(SEED, &device),
    };
    let config = TrainerConfig {
        max_steps: STEPS,
        micro_batch_size: MicroBatch::Rows(4),
        ..TrainerConfig::default()
    };
    let windows = TrainWindows::new(store.clone(), SEQ, SEED)?;
    let objective = NextToken::new(windows, &config, &device);
    let (optimizer, schedule) = (OptimizerConfig::default(), ScheduleConfig::default());
    let mut trainer = Trainer::new(model, objective, config, optimizer, schedule, SEED, &device);
    if let Some(checkpoint) = found {
        trainer.resume(checkpoint)?;
    }
    let stop = StopFlag::new();
    let mut hooks = Hooks {
        observers: Observers::new().with(StopAfter(end, stop.clone())),
        checkpoints: Some(Checkpoints {
            files: vec![tokenizer],
            ..Checkpoints::new(checkpoints, |folder, model: &Gpt| {
                Ok(save_model(folder, model, 0)?)
            })
        }),
        stop: Some(stop),
        ..Hooks::default()
    };
    let ended = trainer.run(&mut hooks)?;
    Ok(ended.checkpoint.ok_or("the run left no checkpoint")?)
}
