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
use sinterlm::data::ChatMessage;
use sinterlm::run::ExitStatus;
use sinterlm::text::{Conversation, ConversationConfig};
use sinterlm_examples::{
    Failure, ModelOptions, OrFailure, Printer, Sampling, WeightsChoice, generated, main_with,
};

const HELP: &str = "\
/reset      forget the conversation
/save FILE  write it as JSON
/help       this
/quit       leave, as the end of the input does
";

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
    let (device, device_name) = arguments.from.device()?;
    let form = WeightsChoice::on(arguments.weights, &device);
    let weights = arguments.from.open(form, &device)?;
    let talks = !arguments.quiet;
    if talks {
        let path = weights.path.display();
        let format = if weights.template.is_some() {
            "its template"
        } else {
            "a plain format"
        };
        eprintln!("device: {device_name}, weights: {path}, {format}; /help lists commands");
    }
    let system = arguments
        .system
        .iter()
        .map(|text| ChatMessage::new("system", text));
    let system: Vec<ChatMessage> = system.collect();
    let sampling = &arguments.sampling;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let config = ConversationConfig {
        sample: sampling.config(),
        seed: sampling.seed(),
        stops: sampling.stop.clone(),
        logit_bias: sampling.logit_bias.clone(),
        unix_seconds: now.map_or(0, |now| now.as_secs()),
    };
    let mut chat = Conversation::new(&weights, &config);
    chat.messages.clone_from(&system);
    let mut out = Printer::default();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if talks && std::io::stdin().is_terminal() {
            out.print("> ");
        }
        let Some(line) = lines.next() else { break };
        let line = line.context("stdin").or_unusable()?;
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match command {
            "" if rest.is_empty() => {}
            "/quit" => break,
            "/help" => out.print(HELP),
            "/reset" => chat.messages.clone_from(&system),
            "/save" => match save(rest.trim(), &chat.messages) {
                Ok(()) if talks => eprintln!("saved {} messages", chat.messages.len()),
                Ok(()) => {}
                Err(error) => eprintln!("not saved: {error:#}"),
            },
            unknown if unknown.starts_with('/') => eprintln!("no command {unknown}; try /help"),
            _ => {
                let answered = chat.answer(&line, |piece| out.print(piece));
                generated(answered)?;
                out.print("\n");
            }
        }
        if out.is_closed() {
            break;
        }
    }
    out.finish().context("stdout")?;
    Ok(ExitStatus::Done)
}

fn save(path: &str, messages: &[ChatMessage]) -> anyhow::Result<()> {
    anyhow::ensure!(!path.is_empty(), "name a file, as in /save chat.json");
    let json = serde_json::to_string_pretty(messages)?;
    std::fs::write(path, json + "\n").with_context(|| path.to_owned())
}
