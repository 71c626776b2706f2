//! The command line of `generate`, and how its texts are printed.

use std::path::PathBuf;

use anyhow::Context;
use sinterlm::model::Token;
use sinterlm::pipeline::{Host, PipelineError};
use sinterlm::run::Summary;
use sinterlm::text::{Continuing, Method, PromptRecords, TextModel};

use crate::clock::unix_seconds;
use crate::exit::{Failure, OrFailure};
use crate::model_options::{ModelOptions, WeightsChoice};
use crate::printer::Printer;
use crate::sampling::Sampling;
use crate::stdin::read_stdin;
use crate::summaries::{check_out, write_summary};

/// Texts that are written before the first of them are printed, so that any number of samples fits into
/// memory.
const BATCH: usize = 256;

/// What is continued, and how.
#[derive(Debug, clap::Args)]
pub struct Generating {
    /// The model.
    #[command(flatten)]
    pub from: ModelOptions,
    /// Weights in memory: f32, or as stored, where the file has halves or blocks (less memory, same
    /// numbers); stored on the CPU where absent.
    #[arg(long, value_enum, value_name = "AS")]
    weights: Option<WeightsChoice>,
    /// Beginning of a text, repeatable; read from stdin where absent. It is continued as it stands, also
    /// by a model that was tuned on instructions or conversations. Names of special tokens in it are text
    /// like other text; the model's own marks are put around it.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,
    /// Prompts as JSON, one object a line: prompt, instruction with input, or messages. They are written
    /// in the form that the model was tuned in, else through its chat template where it has one, and an
    /// object a line is printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "samples", "logprobs"])]
    input: Option<PathBuf>,
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

impl Generating {
    /// The model of `--model`, and that of `--draft`.
    ///
    /// # Errors
    /// Where there is none, its parts do not belong together, or `--out` can be no folder.
    pub fn open(&self, host: &Host) -> Result<(TextModel, Option<TextModel>), Failure> {
        check_out(self.out.as_deref())?;
        let form = WeightsChoice::on(self.weights, &host.device);
        let model = self.from.open(form, host)?;
        let draft = self.draft.as_ref();
        let draft = draft.map(|path| self.from.open_other(path, form, host));
        Ok((model, draft.transpose()?))
    }

    /// How the model continues texts.
    pub fn continuing<'a>(
        &self,
        model: &'a TextModel,
        draft: Option<&'a TextModel>,
    ) -> Continuing<'a> {
        let method = match (self.beams, draft) {
            (Some(beams), _) => Method::Beams(beams.into()),
            (_, Some(draft)) => Method::Draft(&draft.model, self.draft_tokens),
            _ => Method::Sample,
        };
        Continuing {
            method,
            stops: self.sampling.stop.clone(),
            logit_bias: self.sampling.logit_bias.clone(),
            ..model.continuing(&self.sampling.config(), self.sampling.seed())
        }
    }

    /// Writes the texts to stdout; returns the number of new tokens.
    ///
    /// # Errors
    /// For prompts that cannot be read or continued.
    pub fn print(
        &self,
        host: &Host,
        model: &TextModel,
        continuing: &Continuing<'_>,
    ) -> Result<usize, Failure> {
        if let Some(path) = &self.input {
            let prompts = PromptRecords::read(path).map_err(PipelineError::from)?;
            self.introduce(host, model);
            return print_answers(model, &prompts, continuing);
        }
        let mut prompts = self.prompt.clone();
        if prompts.is_empty() {
            let text = read_stdin().or_unusable()?;
            prompts.push(text.trim_end_matches('\n').to_owned());
        }
        self.introduce(host, model);
        let again = |prompt| (0..self.samples).map(move |_| prompt);
        let mut texts = prompts.iter().flat_map(again).cloned();
        let is_one = prompts.len() == 1 && self.samples == 1;
        let mut continuing = continuing.clone();
        let (mut out, mut tokens) = (Printer::default(), 0);
        loop {
            let batch: Vec<String> = texts.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                out.finish().context("stdout")?;
                return Ok(tokens);
            }
            tokens += self.print_texts(model, &batch, is_one, &continuing, &mut out)?;
            continuing.first_number += batch.len() as u64;
        }
    }

    fn introduce(&self, host: &Host, model: &TextModel) {
        if !self.quiet {
            let path = model.path.display();
            eprintln!("device: {}, weights: {path}", host.device_name);
        }
    }

    /// One text comes as it is written, several come whole and in order.
    fn print_texts(
        &self,
        model: &TextModel,
        prompts: &[String],
        stream: bool,
        continuing: &Continuing<'_>,
        out: &mut Printer,
    ) -> Result<usize, Failure> {
        let ids = prompts.iter().map(|text| model.prompt(text)).collect();
        let mut texts = prompts.to_vec();
        out.print(if stream { &prompts[0] } else { "" });
        let done = continuing.texts(&model.model, ids, |row, piece| {
            texts[row].push_str(piece);
            out.print(if stream { piece } else { "" });
        });
        let done = done.map_err(PipelineError::from)?;
        for text in &texts {
            out.print(&format!("{}\n", if stream { "" } else { text }));
        }
        for (row, generated) in done.iter().enumerate().filter(|_| self.logprobs) {
            let number = continuing.first_number + row as u64;
            for Token { id, logprob } in &generated.tokens {
                let text = model.tokenizer.decode(&[*id]);
                out.print(&format!("{number}\t{id}\t{logprob:.4}\t{text:?}\n"));
            }
        }
        Ok(done.iter().map(|generated| generated.tokens.len()).sum())
    }

    /// Writes `summary.json` where a folder is given for it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn summarise(&self, tokens: usize, seconds: f64) -> Result<(), Failure> {
        let mut summary = Summary::new("generate");
        summary.tokens = Some(tokens as u64);
        write_summary(self.out.as_deref(), summary, seconds)
    }
}

/// A JSON object a line, in the order of the prompts.
fn print_answers(
    model: &TextModel,
    prompts: &PromptRecords,
    continuing: &Continuing<'_>,
) -> Result<usize, Failure> {
    let mut out = Printer::default();
    let mut tokens = 0;
    let answered = model.answer(prompts, continuing, unix_seconds(), |answer| {
        tokens += answer.tokens;
        let line = serde_json::to_string(&answer).expect("texts and a boolean are always JSON");
        out.print(&(line + "\n"));
    });
    answered.map_err(PipelineError::from)?;
    out.finish().context("stdout")?;
    Ok(tokens)
}
