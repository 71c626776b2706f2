//! Continues prompts with a trained model; one text is streamed to stdout, several come in order:
//!
//!     cargo run --release --example generate -- --model runs/NAME --prompt "Once upon a time"
//!
//! With `--input FILE` it answers prompts, instructions or conversations, one JSON object a line in and
//! out.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sinterlm::run::ExitStatus;
use sinterlm_examples::{Failure, Generating, main_with};

/// Continue prompts with a trained model.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    generating: Generating,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse().generating;
    main_with(arguments.from.threads, || run(&arguments))
}

fn run(arguments: &Generating) -> Result<ExitStatus, Failure> {
    let started = Instant::now();
    let host = arguments.from.host()?;
    let (model, draft) = arguments.open(&host)?;
    let continuing = arguments.continuing(&model, draft.as_ref());
    let tokens = arguments.print(&host, &model, &continuing)?;
    arguments.summarise(tokens, started.elapsed().as_secs_f64())?;
    Ok(ExitStatus::Done)
}
