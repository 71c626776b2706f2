//! Pretrains a GPT on TinyStories or any other text, from raw text to perplexity:
//!
//!     cargo run --release --example pretrain_tinystories -- [--train FILE] [--valid FILE] [--help]
//!
//! Without options the text comes from the local cache, the Hub or the built-in story generator.

use std::process::ExitCode;

use clap::Parser;
use sinterlm::pipeline::pretrain;
use sinterlm::run::{ExitStatus, Options};
use sinterlm_examples::{Failure, main_with, pretrain_at, training_host};

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
    let host = training_host(options)?;
    let at = pretrain_at("pretrain_tinystories", options)?;
    Ok(pretrain(at, &host)?.exit_status())
}
