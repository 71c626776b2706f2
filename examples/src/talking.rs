//! A conversation at a terminal: its command line, the commands in it, and saving it.

use std::io::{BufRead, IsTerminal};

use anyhow::Context;
use sinterlm::data::ChatMessage;
use sinterlm::pipeline::{Host, PipelineError};
use sinterlm::text::{Conversation, TextModel};

use crate::exit::{Failure, OrFailure};
use crate::model_options::{ModelOptions, WeightsChoice};
use crate::printer::Printer;
use crate::sampling::Sampling;

/// What `/help` prints.
pub const HELP: &str = "\
/reset      forget the conversation
/save FILE  write it as JSON
/help       this
/quit       leave, as the end of the input does
";

/// With whom one talks, and how.
#[derive(Debug, clap::Args)]
pub struct Talking {
    /// The model.
    #[command(flatten)]
    pub from: ModelOptions,
    /// Weights in memory: f32, or as stored, where the file has halves or blocks (less memory, same
    /// numbers); stored on the CPU where absent.
    #[arg(long, value_enum, value_name = "AS")]
    weights: Option<WeightsChoice>,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    #[command(flatten)]
    sampling: Sampling,
    /// Only the answers, no prompt and no facts.
    #[arg(long)]
    quiet: bool,
}

impl Talking {
    /// The model of `--model`.
    ///
    /// # Errors
    /// Where there is none, its parts do not belong together, or its template is faulty.
    pub fn open(&self, host: &Host) -> Result<TextModel, Failure> {
        let form = WeightsChoice::on(self.weights, &host.device);
        let model = self.from.open(form, host)?;
        model.chat_template().map_err(PipelineError::from)?;
        Ok(model)
    }

    /// Says which model answers, and in which format.
    pub fn introduce(&self, host: &Host, model: &TextModel) {
        if !self.quiet {
            let (device, path) = (&host.device_name, model.path.display());
            let format = match (&model.form, &model.template) {
                (Some(_), _) => "the form of its training",
                (None, Some(_)) => "its template",
                (None, None) => "a plain format",
            };
            eprintln!("device: {device}, weights: {path}, {format}; /help lists commands");
        }
    }

    /// Reads lines from stdin and answers them on stdout until one of them ends.
    ///
    /// # Errors
    /// Where a line is no text, the template refuses the conversation, or the model cannot read or
    /// continue it.
    pub fn talk(&self, model: &TextModel) -> Result<(), Failure> {
        let chat = Conversation::new(model, &self.sampling.conversation());
        let mut talk = Talk::new(chat, self.system.as_deref(), self.quiet);
        let mut out = Printer::default();
        let mut lines = std::io::stdin().lock().lines();
        loop {
            if !self.quiet && std::io::stdin().is_terminal() {
                out.print("> ");
            }
            let Some(line) = lines.next() else { break };
            if !talk.line(&line.context("stdin").or_unusable()?, &mut out)? {
                break;
            }
        }
        Ok(out.finish().context("stdout")?)
    }
}

/// A conversation whose lines are messages or commands.
#[derive(Debug)]
pub struct Talk<'a> {
    chat: Conversation<'a>,
    /// What the model is told before the conversation.
    system: Vec<ChatMessage>,
    is_quiet: bool,
}

impl<'a> Talk<'a> {
    /// Begins a conversation, with what the model is told before it.
    pub fn new(mut chat: Conversation<'a>, system: Option<&str>, is_quiet: bool) -> Self {
        let system = system.map(|text| ChatMessage::new("system", text));
        let system: Vec<ChatMessage> = system.into_iter().collect();
        chat.messages.clone_from(&system);
        Self {
            chat,
            system,
            is_quiet,
        }
    }

    /// Follows a command or answers a message; returns whether the conversation goes on.
    ///
    /// # Errors
    /// Where the template refuses the conversation, or the model cannot read or continue it.
    pub fn line(&mut self, line: &str, out: &mut Printer) -> Result<bool, Failure> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" if rest.is_empty() => {}
            "/quit" => return Ok(false),
            "/help" => out.print(HELP),
            "/reset" => self.chat.messages.clone_from(&self.system),
            "/save" => match save(rest.trim(), &self.chat.messages) {
                Ok(()) if self.is_quiet => {}
                Ok(()) => eprintln!("saved {} messages", self.chat.messages.len()),
                Err(error) => eprintln!("not saved: {error:#}"),
            },
            unknown if unknown.starts_with('/') => eprintln!("no command {unknown}; try /help"),
            _ => {
                let answered = self.chat.answer(line, |piece| out.print(piece));
                answered.map_err(PipelineError::from)?;
                out.print("\n");
            }
        }
        Ok(!out.is_closed())
    }
}

fn save(path: &str, messages: &[ChatMessage]) -> anyhow::Result<()> {
    anyhow::ensure!(!path.is_empty(), "name a file, as in /save chat.json");
    let json = serde_json::to_string_pretty(messages)?;
    std::fs::write(path, json + "\n").with_context(|| path.to_owned())
}
