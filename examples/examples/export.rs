//! Writes a trained model for other programs, reads it back and holds it against its source:
//!
//!     cargo run --release --example export -- --model runs/NAME --to exported
//!     cargo run --release --example export -- --model runs/NAME --to exported.gguf --dtype q8_0
//!
//! The comparison is printed and lies beside the weights, `receipt.json`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use clap::Parser;
use sinterlm::model::WeightsAs;
use sinterlm::pipeline::export;
use sinterlm::run::{ExitStatus, Gate, Summary};
use sinterlm_examples::{DestinationOptions, Failure, ModelOptions, main_with, say, write_summary};

/// Write a trained model for other programs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    from: ModelOptions,
    #[command(flatten)]
    destination: DestinationOptions,
    /// Folder for summary.json; nothing is written where absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only where the export lies.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    main_with(arguments.from.threads, || run(&arguments))
}

fn run(arguments: &Arguments) -> Result<ExitStatus, Failure> {
    let (started, from) = (Instant::now(), &arguments.from);
    let destination = arguments.destination.destination();
    destination.check()?;
    let host = from.host()?;
    let source = from.open(WeightsAs::F32, &host)?;
    if !arguments.quiet {
        let path = source.path.display();
        eprintln!("device: {}, weights: {path}", host.device_name);
    }
    let receipt = export(&source, from.tokenizer.as_deref(), &destination)?;
    if !arguments.quiet || !receipt.passed {
        say(&receipt);
    }
    let mut summary = Summary::new("export");
    summary.gates = vec![Gate::at_most("faults", receipt.faults.len() as f64, 0.0)];
    let seconds = started.elapsed().as_secs_f64();
    write_summary(arguments.out.as_deref(), summary, seconds)?;
    let to = destination.to.display();
    if !receipt.passed {
        return Err(anyhow!("{to}: the copy is not the same model; it was removed").into());
    }
    say(format!("exported: {to}"));
    Ok(ExitStatus::Done)
}
