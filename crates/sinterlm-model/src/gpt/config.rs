//! The decoder's hyperparameters and what they must satisfy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

/// Activation of the feed-forward layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU in the tanh form that GPT-2 was trained with (`gelu_new`).
    #[default]
    GeluTanh,
    /// GELU by the error function (Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
    Gelu,
}

/// Hyperparameters of a [`Gpt`](crate::Gpt); the defaults are the reference model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GptConfig {
    /// Number of token ids; at least the tokenizer's vocabulary. GPT-2: 50257.
    #[schemars(range(min = 1))]
    pub vocab_size: usize,
    /// Longest row in tokens. GPT-2: 1024.
    #[schemars(range(min = 1))]
    pub max_seq_len: usize,
    /// Width of the residual stream. GPT-2 124M: 768.
    #[schemars(range(min = 1))]
    pub d_model: usize,
    /// Number of blocks. GPT-2 124M: 12.
    #[schemars(range(min = 1))]
    pub n_layers: usize,
    /// Attention heads per block; divides `d_model`. GPT-2 124M: 12.
    #[schemars(range(min = 1))]
    pub n_heads: usize,
    /// Width of the feed-forward layer; 0 means four times `d_model`.
    pub d_ff: usize,
    /// Whether the q, k and v projections have a bias; GPT-2 has.
    pub qkv_bias: bool,
    /// Feed-forward activation, `gelu_tanh` (GPT-2) or `gelu`.
    pub activation: Activation,
    /// Dropout probability after the embeddings, in attention and before each residual sum; 0 to 0.9.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub dropout: f64,
    /// Whether the output projection is the token embedding; GPT-2's is.
    pub tied_head: bool,
    /// Added to the variance in layer norms. GPT-2: 1e-5.
    pub norm_eps: f64,
}

impl Default for GptConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50257,
            max_seq_len: 1024,
            d_model: 512,
            n_layers: 6,
            n_heads: 8,
            d_ff: 0,
            qkv_bias: true,
            activation: Activation::GeluTanh,
            dropout: 0.0,
            tied_head: true,
            norm_eps: 1e-5,
        }
    }
}

impl GptConfig {
    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Width of the feed-forward layer with the default resolved.
    pub fn d_ff(&self) -> usize {
        if self.d_ff == 0 {
            4 * self.d_model
        } else {
            self.d_ff
        }
    }

    /// Initial standard deviation of a projection that ends in a residual sum: scaled by
    /// `1/√(2·n_layers)`, one factor per sum on the residual path (Radford et al. 2019, section 2.3).
    pub(super) fn residual_std(&self, std: f64) -> f64 {
        std / (2.0 * self.n_layers as f64).sqrt()
    }
}

impl Validate for GptConfig {
    fn validate(&self, check: &mut Check) {
        let (d_model, n_heads) = (self.d_model, self.n_heads);
        check.require(
            n_heads > 0 && d_model.is_multiple_of(n_heads),
            "n_heads",
            || {
                let fits: Vec<String> = (1..=d_model.min(64))
                    .filter(|h| d_model.is_multiple_of(*h) && d_model / h >= 16)
                    .map(|h| h.to_string())
                    .collect();
                let fits = if fits.is_empty() {
                    "1".to_owned()
                } else {
                    fits.join(", ")
                };
                format!("{n_heads} does not divide d_model {d_model}; use one of {fits}")
            },
        );
        check.require(
            self.norm_eps > 0.0 && self.norm_eps < 0.1,
            "norm_eps",
            || {
                format!(
                    "{} is not a small positive number; GPT-2 uses 1e-5",
                    self.norm_eps
                )
            },
        );
    }
}
