//! Fine-tunes a model to tell classes of texts apart, spam from ham, and measures it on records that it
//! never saw:
//!
//!     cargo run --release --example finetune_classifier -- [--model DIR] [--train FILE] [--help]
//!
//! Without options it starts from a small base model, which is trained once and kept in the cache, and
//! learns from built-in messages, which are no benchmark. `--train FILE` takes a table or JSON of one's own.

use std::process::ExitCode;

use clap::Parser;
use sinterlm::pipeline::classify;
use sinterlm::run::ExitStatus;
use sinterlm_examples::{Failure, Tuning, main_with, training_host};

/// Fine-tune a model to tell classes of texts apart.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    tuning: Tuning,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse().tuning;
    main_with(arguments.options.threads, || run(&arguments))
}

fn run(arguments: &Tuning) -> Result<ExitStatus, Failure> {
    let host = training_host(&arguments.options)?;
    let at = arguments.classify_at("finetune_classifier")?;
    Ok(classify(at, &host)?.exit_status())
}
