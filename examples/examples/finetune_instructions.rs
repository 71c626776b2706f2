//! Fine-tunes a model to follow instructions and measures it on records that it never saw:
//!
//!     cargo run --release --example finetune_instructions -- [--model DIR] [--train FILE] [--help]
//!
//! Without options it starts from a small base model, which is trained once and kept in the cache, and
//! learns built-in tasks with closed-form answers. `--train FILE` takes Alpaca records, chats and others.

use std::process::ExitCode;

use clap::Parser;
use sinterlm::pipeline::instruct;
use sinterlm::run::ExitStatus;
use sinterlm_examples::{Failure, Tuning, main_with, training_host};

/// Fine-tune a model to follow instructions.
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
    let at = arguments.instruct_at("finetune_instructions")?;
    Ok(instruct(at, &host)?.exit_status())
}
