//! Pretrains a GPT on TinyStories or any other text, from raw text to perplexity:
//!
//!     cargo run --release --example pretrain_tinystories -- [--train FILE] [--valid FILE] [--help]
//!
//! Without options the text comes from the local cache, the Hub or the built-in story generator.

use std::process::ExitCode;

use clap::Parser;
use sinterlm::config::Seed;
use sinterlm::data::{TrainWindows, ValidWindows};
use sinterlm::run::{ExitStatus, Options};
use sinterlm::trainer::{NextToken, Trainer};
use sinterlm_examples::{
    Failure, OrFailure, Plan, Session, choose_device, evaluator, main_with, replay, sampler, say,
};

const NAME: &str = "pretrain_tinystories";

/// Pretrain a GPT on TinyStories or any other text.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    main_with(arguments.options.threads, || run(&arguments.options))
}

fn run(options: &Options) -> Result<ExitStatus, Failure> {
    let (plain, device_name) = choose_device(&options.device).or_unusable()?;
    let device = plain.clone().autodiff();
    say(format!("device: {device_name}"));

    let mut session = Session::open(NAME, options)?;
    if session.is_finished() {
        let summary = session.dir.summary_path();
        say(format!("this run is finished: {}", summary.display()));
        return Ok(ExitStatus::Done);
    }
    let prepared = session.prepare_text(options)?;
    let model = session.starting_model(&prepared.tokenizer, &device)?;
    session.fit_to_machine(&model, &device, &device_name)?;
    let config = session.config.clone();
    let (seed, seq) = (Seed(config.seed), config.model.max_seq_len);
    let train = TrainWindows::new(prepared.train, seq, seed).or_unusable()?;
    let valid = ValidWindows::new(prepared.valid, seq).or_unusable()?;
    let (rows_per_epoch, first) = (train.rows_per_epoch(), train.batch(0, 2));

    let objective = NextToken::new(train, &config.trainer, &device);
    let mut trainer = Trainer::new(
        model,
        objective,
        config.trainer.clone(),
        config.optimizer.clone(),
        config.schedule.clone(),
        seed,
        &device,
    )
    .fresh_weights(config.weights.is_none());
    if let Some(checkpoint) = session.checkpoint.take() {
        trainer.resume(checkpoint).or_unusable()?;
    }
    if let Some(step) = options.replay_step {
        return replay(&mut trainer, step.get());
    }
    if options.plan {
        let plan = Plan {
            device: &device_name,
            model: &config.model,
            trainer: &config.trainer,
            optimizer: &config.optimizer,
            checkpoint: &config.checkpoint,
            rows_per_epoch,
            first: &first,
        };
        plan.print(trainer, &prepared.tokenizer)?;
        return Ok(ExitStatus::Done);
    }
    session.begin(&device_name, &prepared.tokenizer)?;

    let rows = match config.eval.micro_batch_size {
        0 => config.trainer.micro_rows(),
        rows => rows as usize,
    };
    let text = valid.store().header().clone();
    let (tokenizer, prompts) = (prepared.tokenizer.clone(), config.eval.prompts.clone());
    let mut hooks = session.hooks("pretrain", options)?;
    hooks.evaluate = Some(evaluator(
        valid,
        rows,
        config.eval.max_rows,
        config.trainer.precision,
        plain.clone(),
    ));
    hooks.sample = Some(sampler(
        tokenizer,
        prompts,
        config.sample.clone(),
        seed,
        plain,
    ));
    let outcome = trainer.run(&mut hooks);
    drop(hooks);
    let outcome = outcome.inspect_err(|error| session.failed(error))?;
    session.finish("pretrain", &outcome, &trainer.export(), &text)
}
