//! Continues prompts with a trained model; one text is streamed to stdout, several come in order:
//!
//!     cargo run --release --example generate -- --model runs/NAME --prompt "Once upon a time"

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use sinterlm::model::Token;
use sinterlm::run::{ExitStatus, Summary, peak_memory_bytes};
use sinterlm::text::{Continuing, Method};
use sinterlm_examples::{
    Failure, ModelOptions, OrFailure, Printer, Sampling, WeightsChoice, generated, main_with,
    read_stdin,
};

/// Continue prompts with a trained model.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    from: ModelOptions,
    /// Weights in memory: f32, or as stored, where the file has halves or blocks (less memory, same
    /// numbers); stored on the CPU where absent.
    #[arg(long, value_enum, value_name = "AS")]
    weights: Option<WeightsChoice>,
    /// Beginning of a text, repeatable; read from stdin where absent.
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    #[command(flatten)]
    sampling: Sampling,
    /// Texts to write for each prompt, each with its own draws.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Print each new token with its log-probability under the model, in nats.
    #[arg(long)]
    logprobs: bool,
    /// Search for the likeliest text with so many beams; the sampling options don't count then.
    #[arg(long, value_name = "N", conflicts_with_all = ["draft", "samples"], value_parser = clap::value_parser!(u16).range(1..))]
    beams: Option<u16>,
    /// A smaller model of the same tokenizer that drafts tokens; the texts stay the large one's.
    #[arg(long, value_name = "PATH")]
    draft: Option<PathBuf>,
    /// Tokens drafted at a time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    draft_tokens: usize,
    /// Folder for summary.json; nothing is written where absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only the texts, no facts about them.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    main_with(arguments.from.threads, || run(&arguments))
}

fn run(arguments: &Arguments) -> Result<ExitStatus, Failure> {
    let started = Instant::now();
    let from = &arguments.from;
    let (device, device_name) = from.device()?;
    let form = WeightsChoice::on(arguments.weights, &device);
    let weights = from.open(form, &device)?;
    let draft = arguments.draft.as_ref();
    let draft = draft.map(|path| from.open_other(path, form, &device));
    let draft = draft.transpose()?;
    let mut prompts = arguments.prompt.clone();
    if prompts.is_empty() {
        let text = read_stdin().or_unusable()?;
        prompts.push(text.trim_end_matches('\n').to_owned());
    }
    if !arguments.quiet {
        let path = weights.path.display();
        eprintln!("device: {device_name}, weights: {path}");
    }
    let sampling = &arguments.sampling;
    let method = match (arguments.beams, &draft) {
        (Some(beams), _) => Method::Beams(beams.into()),
        (_, Some(draft)) => Method::Draft(&draft.model, arguments.draft_tokens),
        _ => Method::Sample,
    };
    let continuing = Continuing {
        method,
        stops: sampling.stop.clone(),
        logit_bias: sampling.logit_bias.clone(),
        ..weights.continuing(&sampling.config(), sampling.seed())
    };
    let again = |prompt| std::iter::repeat_n(prompt, arguments.samples as usize);
    let prompts: Vec<String> = prompts.into_iter().flat_map(again).collect();
    let ids = prompts.iter().map(|text| weights.prompt(text)).collect();
    // One text comes as it is written, several come whole and in order.
    let mut out = Printer::default();
    let stream = prompts.len() == 1;
    let mut texts = prompts.clone();
    out.print(if stream { &prompts[0] } else { "" });
    let done = continuing.texts(&weights.model, ids, |row, piece| {
        texts[row].push_str(piece);
        out.print(if stream { piece } else { "" });
    });
    let done = generated(done)?;
    for text in &texts {
        out.print(&format!("{}\n", if stream { "" } else { text }));
    }
    for (row, generated) in done.iter().enumerate().filter(|_| arguments.logprobs) {
        for Token { id, logprob } in &generated.tokens {
            let text = weights.tokenizer.decode(&[*id]);
            out.print(&format!("{row}\t{id}\t{logprob:.4}\t{text:?}\n"));
        }
    }
    out.finish().context("stdout")?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let tokens: usize = done.iter().map(|generated| generated.tokens.len()).sum();
        let seconds = started.elapsed().as_secs_f64();
        let mut summary = Summary::new("generate");
        summary.tokens = Some(tokens as u64);
        summary.seconds = Some(seconds);
        summary.tokens_per_second = Some(tokens as f64 / seconds);
        summary.peak_memory_bytes = peak_memory_bytes();
        summary.write(folder.join("summary.json"))?;
    }
    Ok(ExitStatus::Done)
}
