//! Gives the classes of texts, one JSON object a line, by a model that was tuned for them:
//!
//!     cargo run --release --example classify -- --model runs/NAME --text "WIN a prize now"
//!
//! With `--input FILE` it reads JSON, CSV, TSV or lines, without either stdin.

use std::process::ExitCode;

use clap::Parser;
use sinterlm::run::ExitStatus;
use sinterlm_examples::{Classifying, Failure, main_with};

/// Find the classes of texts.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    classifying: Classifying,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse().classifying;
    main_with(arguments.from.threads, || run(&arguments))
}

fn run(arguments: &Classifying) -> Result<ExitStatus, Failure> {
    let host = arguments.from.host()?;
    let model = arguments.from.open_classes(&host)?;
    let texts = arguments.texts()?;
    arguments.introduce(&host, &model);
    arguments.print(&model, &texts)?;
    Ok(ExitStatus::Done)
}
