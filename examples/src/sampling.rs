//! The command line of sampling, shared by the programs that generate.

use clap::ValueEnum;
use sinterlm::config::Seed;
use sinterlm::model::{Overflow, SampleConfig};
use sinterlm::text::ConversationConfig;

use crate::clock::unix_seconds;

/// How the next token is chosen.
#[derive(Clone, Debug, clap::Args)]
pub struct Sampling {
    /// Most tokens to add
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// Divide the logits before the softmax; 0 takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = |text: &str| within(text, 0.0, 10.0))]
    pub temperature: f64,
    /// Draw among the k likeliest tokens; 0 = all
    #[arg(long, value_name = "K", default_value_t = 50)]
    pub top_k: usize,
    /// Draw among the likeliest tokens that reach this probability together; 1 = off
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = |text: &str| within(text, 1e-6, 1.0))]
    pub top_p: f64,
    /// Draw among tokens at least this share as likely as the likeliest; 0 = off
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = |text: &str| within(text, 0.0, 1.0))]
    pub min_p: f64,
    /// Draw among the tokens of most typical surprise that reach this probability; 1 = off
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = |text: &str| within(text, 1e-6, 1.0))]
    pub typical_p: f64,
    /// Make tokens of the text so far less likely; 1 = off
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = |text: &str| within(text, 0.01, 100.0))]
    pub repetition_penalty: f64,
    /// Taken off the logit of each generated token; 0 = off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true, value_parser = |text: &str| within(text, -100.0, 100.0))]
    pub presence_penalty: f64,
    /// Taken off a token's logit for each time it was generated; 0 = off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true, value_parser = |text: &str| within(text, -100.0, 100.0))]
    pub frequency_penalty: f64,
    /// No run of so many tokens comes twice; 0 = off
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub no_repeat_ngram: usize,
    /// Added to the logit of a token, repeatable
    #[arg(long, value_name = "ID=BIAS", allow_hyphen_values = true, value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// Text that ends the answer and is left out, repeatable
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Where a text outgrows the model's context: forget its older half, or end
    #[arg(long, value_enum, default_value_t = OverflowChoice::Slide)]
    pub overflow: OverflowChoice,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// `--overflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OverflowChoice {
    /// Forget the older half and go on.
    Slide,
    /// Refuse long prompts, and end with the context.
    Error,
}

impl Sampling {
    /// As the library takes it.
    pub fn config(&self) -> SampleConfig {
        SampleConfig {
            temperature: self.temperature,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            no_repeat_ngram: self.no_repeat_ngram,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            max_new_tokens: self.max_new_tokens as usize,
            overflow: match self.overflow {
                OverflowChoice::Slide => Overflow::Slide,
                OverflowChoice::Error => Overflow::Error,
            },
        }
    }

    /// How a model answers in a conversation that begins now.
    pub fn conversation(&self) -> ConversationConfig {
        ConversationConfig {
            sample: self.config(),
            seed: self.seed(),
            stops: self.stop.clone(),
            logit_bias: self.logit_bias.clone(),
            unix_seconds: unix_seconds(),
        }
    }

    /// `--seed`.
    pub fn seed(&self) -> Seed {
        Seed(self.seed)
    }
}

fn within(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let value = text
        .parse()
        .ok()
        .filter(|value| (low..=high).contains(value));
    value.ok_or_else(|| format!("use a number from {low} to {high}"))
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parts = text.split_once('=');
    let parsed = parts.and_then(|(id, by)| Some((id.parse().ok()?, by.parse::<f32>().ok()?)));
    let parsed = parsed.filter(|(_, by)| !by.is_nan());
    parsed.ok_or_else(|| "use the id of a token and a number, as in 50256=-10".to_owned())
}
