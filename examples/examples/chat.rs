//! A conversation with a trained model in the terminal:
//!
//!     cargo run --release --example chat -- --model runs/NAME
//!
//! Commands: /help /reset /save FILE /quit. A model that was tuned on instructions is addressed in their
//! form, another one through its chat template, one that has neither in a plain format of roles and lines.

use std::process::ExitCode;

use clap::Parser;
use sinterlm::run::ExitStatus;
use sinterlm_examples::{Failure, Talking, main_with};

/// Talk with a trained model.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    talking: Talking,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse().talking;
    main_with(arguments.from.threads, || run(&arguments))
}

fn run(arguments: &Talking) -> Result<ExitStatus, Failure> {
    let host = arguments.from.host()?;
    let model = arguments.open(&host)?;
    arguments.introduce(&host, &model);
    arguments.talk(&model)?;
    Ok(ExitStatus::Done)
}
