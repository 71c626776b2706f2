//! How the next token is chosen: the settings, as they stand in configs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

/// How the next token is chosen. What is switched on acts in the order of the fields here, but for
/// the temperature, which follows the penalties: the order of Hugging Face's `generate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// Divides the logits before the softmax; 0 takes the likeliest token (greedy).
    #[schemars(range(min = 0.0, max = 10.0))]
    pub temperature: f64,
    /// Divides positive and multiplies negative logits of tokens that the text holds already
    /// (Keskar et al. 2019, <https://arxiv.org/abs/1909.05858>, who take 1.2); 1 = off.
    #[schemars(range(min = 0.01, max = 100.0))]
    pub repetition_penalty: f64,
    /// Taken off the logit of each token that was generated before; 0 = off.
    #[schemars(range(min = -100.0, max = 100.0))]
    pub presence_penalty: f64,
    /// Taken off the logit of a token for each time that it was generated before; 0 = off.
    #[schemars(range(min = -100.0, max = 100.0))]
    pub frequency_penalty: f64,
    /// No run of so many tokens occurs twice in a text; 0 = off.
    pub no_repeat_ngram: usize,
    /// Draws among the k likeliest tokens only; 0 means all.
    pub top_k: usize,
    /// Draws among the fewest likeliest tokens whose probabilities reach this sum (Holtzman et al.
    /// 2020, <https://arxiv.org/abs/1904.09751>); 1 = off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f64,
    /// Draws among tokens at least this share as likely as the likeliest (Nguyen et al. 2024,
    /// <https://arxiv.org/abs/2407.01082>, who take 0.05 to 0.1); 0 = off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_p: f64,
    /// Draws among the fewest tokens whose surprise is nearest to the entropy and whose
    /// probabilities reach this sum (Meister et al. 2023, <https://arxiv.org/abs/2202.00666>);
    /// 1 = off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub typical_p: f64,
    /// Most tokens to add.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// What happens where a text outgrows the model's context.
    pub overflow: Overflow,
}

/// What happens where a text outgrows the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The older half of the context is forgotten and the rest is read again.
    #[default]
    Slide,
    /// A prompt that does not fit is refused, and a text ends with the context.
    Error,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            no_repeat_ngram: 0,
            top_k: 50,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            max_new_tokens: 200,
            overflow: Overflow::Slide,
        }
    }
}

impl SampleConfig {
    /// The likeliest token each time.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            temperature: 0.0,
            max_new_tokens,
            ..Self::default()
        }
    }

    /// Draws from the model's own distribution, nothing cut off: what rollouts need.
    pub fn plain(max_new_tokens: usize) -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            max_new_tokens,
            ..Self::default()
        }
    }
}

impl Validate for SampleConfig {
    fn validate(&self, check: &mut Check) {
        for (field, value) in [("top_p", self.top_p), ("typical_p", self.typical_p)] {
            check.require(value > 0.0, field, || {
                "0 leaves no token; use 1 to switch it off".to_owned()
            });
        }
    }
}
