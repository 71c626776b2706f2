//! A conversation with a trained model in the terminal:
//!
//!     cargo run --release --example chat -- --model runs/NAME
//!
//! Commands: /help /reset /save FILE /quit. A model without a chat template is addressed in a plain
//! format of roles and lines.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use sinterlm::run::ExitStatus;
use sinterlm::text::Conversation;
use sinterlm_examples::{
    Failure, ModelOptions, OrFailure, Printer, Sampling, Talk, WeightsChoice, main_with,
};

/// Talk with a trained model.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    from: ModelOptions,
    /// Weights in memory: f32, or as stored, where the file has halves or blocks (less memory, same
    /// numbers); stored on the CPU where absent.
    #[arg(long, value_enum, value_name = "AS")]
    weights: Option<WeightsChoice>,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: Sampling,
    /// Only the answers, no prompt and no facts.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    main_with(arguments.from.threads, || run(&arguments))
}

fn run(arguments: &Arguments) -> Result<ExitStatus, Failure> {
    let host = arguments.from.host()?;
    let form = WeightsChoice::on(arguments.weights, &host.device);
    let model = arguments.from.open(form, &host)?;
    if !arguments.quiet {
        let (device, path) = (&host.device_name, model.path.display());
        let format = model
            .template
            .as_ref()
            .map_or("a plain format", |_| "its template");
        eprintln!("device: {device}, weights: {path}, {format}; /help lists commands");
    }
    let chat = Conversation::new(&model, &arguments.sampling.conversation());
    let mut talk = Talk::new(chat, arguments.system.as_deref(), arguments.quiet);
    let mut out = Printer::default();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if !arguments.quiet && std::io::stdin().is_terminal() {
            out.print("> ");
        }
        let Some(line) = lines.next() else { break };
        if !talk.line(&line.context("stdin").or_unusable()?, &mut out)? {
            break;
        }
    }
    out.finish().context("stdout")?;
    Ok(ExitStatus::Done)
}
