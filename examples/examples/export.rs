//! Writes a trained model for other programs, reads it back and holds it against its source:
//!
//!     cargo run --release --example export -- --model runs/NAME --to exported
//!     cargo run --release --example export -- --model runs/NAME --to exported.gguf --dtype q8_0
//!
//! The comparison is printed and lies beside the weights, `receipt.json`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sinterlm::model::WeightsAs;
use sinterlm::pipeline::export;
use sinterlm::run::ExitStatus;
use sinterlm_examples::{Exporting, Failure, main_with};

/// Write a trained model for other programs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    exporting: Exporting,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse().exporting;
    main_with(arguments.from.threads, || run(&arguments))
}

fn run(arguments: &Exporting) -> Result<ExitStatus, Failure> {
    let started = Instant::now();
    let destination = arguments.destination()?;
    let host = arguments.from.host()?;
    let source = arguments.from.open(WeightsAs::F32, &host)?;
    arguments.introduce(&host, &source);
    let receipt = export(&source, arguments.from.tokenizer.as_deref(), &destination)?;
    arguments.report(&receipt, started.elapsed().as_secs_f64())?;
    Ok(ExitStatus::Done)
}
