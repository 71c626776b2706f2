//! Continues a prompt with a trained model, streamed to stdout:
//!
//!     cargo run --release --example generate -- --model runs/NAME --prompt "Once upon a time"

use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use sinterlm::config::Seed;
use sinterlm::data::Tokenizer;
use sinterlm::model::{SampleConfig, load_model};
use sinterlm::run::{ExitStatus, Summary, peak_memory_bytes};
use sinterlm_examples::{
    Failure, OrFailure, choose_device, continue_text, find_weights, main_with,
};

/// Continue a prompt with a trained model.
#[derive(Debug, Parser)]
struct Arguments {
    /// Weights: run directory, checkpoint or model folder.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Beginning of the text; read from stdin where absent.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Most tokens to add.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// Divides the logits before the softmax; 0 takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f64,
    /// Draw among the k likeliest tokens; 0 = all.
    #[arg(long, value_name = "K", default_value_t = 50)]
    top_k: usize,
    /// Texts to write, each with its own draws.
    #[arg(long, value_name = "N", default_value_t = 1)]
    samples: u64,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// CPU threads; all cores where absent.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// auto, flex, wgpu, vulkan, metal, cuda, cuda:1
    #[arg(long, value_name = "D", default_value = "auto")]
    device: String,
    /// Folder for summary.json; nothing is written where absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only the text, no facts about it.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    main_with(arguments.threads, || run(&arguments))
}

fn run(arguments: &Arguments) -> Result<ExitStatus, Failure> {
    let started = Instant::now();
    let (device, device_name) = choose_device(&arguments.device).or_unusable()?;
    let folder = find_weights(&arguments.model).or_unusable()?;
    let model = load_model(&folder, &device).or_unusable()?;
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json")).or_unusable()?;
    if !(0.0..=10.0).contains(&arguments.temperature) {
        let fault = anyhow::anyhow!("--temperature {}: use 0 to 10", arguments.temperature);
        return Err(fault).or_unusable();
    }
    let prompt = match &arguments.prompt {
        Some(prompt) => prompt.clone(),
        None => read_stdin().or_unusable()?,
    };
    let prompt = prompt.trim_end_matches('\n');
    if !arguments.quiet {
        eprintln!("device: {device_name}, weights: {}", folder.display());
    }
    let config = SampleConfig {
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        max_new_tokens: arguments.max_new_tokens as usize,
    };
    let mut out = std::io::stdout().lock();
    let mut tokens = 0;
    for number in 0..arguments.samples {
        let seed = Seed(arguments.seed.wrapping_add(number));
        let mut written = write!(out, "{prompt}");
        continue_text(
            &model,
            &tokenizer,
            prompt,
            &config,
            seed,
            &device,
            |piece| {
                tokens += 1;
                if written.is_ok() {
                    written = write!(out, "{piece}").and_then(|()| out.flush());
                }
            },
        );
        match written.and_then(|()| writeln!(out)) {
            // The reader has what it wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            result => result.context("stdout")?,
        }
    }
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let seconds = started.elapsed().as_secs_f64();
        let mut summary = Summary::new("generate");
        summary.tokens = Some(tokens);
        summary.seconds = Some(seconds);
        summary.tokens_per_second = Some(tokens as f64 / seconds);
        summary.peak_memory_bytes = peak_memory_bytes();
        summary.write(folder.join("summary.json"))?;
    }
    Ok(ExitStatus::Done)
}

fn read_stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("stdin")?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        anyhow::anyhow!("stdin: byte {offset} is not UTF-8; give the text as UTF-8 or by --prompt")
    })
}
