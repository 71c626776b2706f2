//! The decoder's hyperparameters and what they must satisfy. Scaling of rotary positions is
//! `rope_scaling`'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::rope_scaling::RopeScaling;
use crate::linear::NormKind;

/// How the model knows where a token stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned vector per position, added to the token's (GPT-2).
    #[default]
    Learned,
    /// Queries and keys are rotated by their position (Su et al. 2021, <https://arxiv.org/abs/2104.09864>),
    /// halves of a head paired as in the Llama family.
    Rope,
}

/// Activation of the feed-forward layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU in the tanh form that GPT-2 was trained with (`gelu_new`).
    #[default]
    GeluTanh,
    /// GELU by the error function (Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
    Gelu,
    /// `max(x, 0)²` (So et al. 2021, <https://arxiv.org/abs/2109.08668>).
    ReluSquared,
    /// `silu(gate)·up` with two projections (Shazeer 2020, <https://arxiv.org/abs/2002.05202>; Llama).
    Swiglu,
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
    /// Attention heads per block; divides `d_model` unless `head_dim` is set. GPT-2 124M: 12.
    #[schemars(range(min = 1))]
    pub n_heads: usize,
    /// Key and value heads per block, each shared by `n_heads / n_kv_heads` query heads (Ainslie et
    /// al. 2023, <https://arxiv.org/abs/2305.13245>); 0 means `n_heads`. Llama 3 8B: 8 of 32.
    pub n_kv_heads: usize,
    /// Width of one head; 0 means `d_model / n_heads`. Qwen3: 128.
    pub head_dim: usize,
    /// Width of the feed-forward layer; 0 means four times `d_model`, with `swiglu` two thirds of
    /// that, rounded up to a multiple of 64: about as many weights.
    pub d_ff: usize,
    /// Where positions enter, `learned` (GPT-2) or `rope` (Llama).
    pub positions: Positions,
    /// Base of the rotation's wavelengths, above 1; with `rope`. Llama 2: 10000, Llama 3: 500000.
    pub rope_theta: f64,
    /// Stretching of the rotation to rows longer than those of pretraining; with `rope`.
    pub rope_scaling: RopeScaling,
    /// Normalisation, `layer_norm` (GPT-2) or `rms_norm` (Llama).
    pub norm: NormKind,
    /// Added to the variance or mean square in norms. GPT-2: 1e-5.
    pub norm_eps: f64,
    /// Whether each query and key head is normalised by its root mean square, with a learned weight,
    /// before it is rotated (Qwen3).
    pub qk_norm: bool,
    /// Whether the q, k and v projections have a bias; GPT-2 and Qwen2 have.
    pub qkv_bias: bool,
    /// Whether the projection after attention has a bias; GPT-2 has.
    pub attn_out_bias: bool,
    /// Whether the feed-forward projections have a bias; GPT-2 has.
    pub mlp_bias: bool,
    /// Feed-forward activation, `gelu_tanh` (GPT-2), `gelu`, `relu_squared` or `swiglu` (Llama).
    pub activation: Activation,
    /// Most tokens that one attends to, itself among them; 0 means all before it. Mistral 7B v0.1: 4096.
    pub window: usize,
    /// Numbers of the blocks, from 0, that attend to all tokens despite `window`.
    pub global_layers: Vec<usize>,
    /// Soft cap `c·tanh(x/c)` on attention scores; 0 means none. Gemma 2: 50.
    #[schemars(range(min = 0.0))]
    pub attn_softcap: f64,
    /// Soft cap `c·tanh(x/c)` on the logits; 0 means none. Gemma 2: 30.
    #[schemars(range(min = 0.0))]
    pub logits_softcap: f64,
    /// Dropout probability after the embeddings, in attention and before each residual sum; 0 to 0.9.
    /// What is frozen drops nothing.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub dropout: f64,
    /// Whether the output projection is the token embedding; GPT-2's is.
    pub tied_head: bool,
}

impl Default for GptConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50257,
            max_seq_len: 1024,
            d_model: 512,
            n_layers: 6,
            n_heads: 8,
            n_kv_heads: 0,
            head_dim: 0,
            d_ff: 0,
            positions: Positions::Learned,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            norm: NormKind::LayerNorm,
            norm_eps: 1e-5,
            qk_norm: false,
            qkv_bias: true,
            attn_out_bias: true,
            mlp_bias: true,
            activation: Activation::GeluTanh,
            window: 0,
            global_layers: Vec::new(),
            attn_softcap: 0.0,
            logits_softcap: 0.0,
            dropout: 0.0,
            tied_head: true,
        }
    }
}

impl GptConfig {
    /// Width of one head with the default resolved.
    pub fn head_dim(&self) -> usize {
        if self.head_dim == 0 {
            self.d_model / self.n_heads
        } else {
            self.head_dim
        }
    }

    /// Number of key and value heads with the default resolved.
    pub fn n_kv_heads(&self) -> usize {
        if self.n_kv_heads == 0 {
            self.n_heads
        } else {
            self.n_kv_heads
        }
    }

    /// Width of the feed-forward layer with the default resolved.
    pub fn d_ff(&self) -> usize {
        match (self.d_ff, self.is_gated()) {
            (0, false) => 4 * self.d_model,
            (0, true) => (8 * self.d_model / 3).next_multiple_of(64),
            (given, _) => given,
        }
    }

    /// Most tokens that one attends to in block `layer`; `None` means all before it.
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        (self.window > 0 && !self.global_layers.contains(&layer)).then_some(self.window)
    }

    /// Widths of all query heads together and of all key heads together.
    pub fn attention_widths(&self) -> [usize; 2] {
        [self.n_heads, self.n_kv_heads()].map(|heads| heads * self.head_dim())
    }

    /// Whether the feed-forward layer has a gate projection.
    pub fn is_gated(&self) -> bool {
        self.activation == Activation::Swiglu
    }

    /// Initial standard deviation of a projection that ends in a residual sum: scaled by
    /// `1/√(2·n_layers)`, one factor per sum on the residual path (Radford et al. 2019, section 2.3).
    pub(super) fn residual_std(&self, std: f64) -> f64 {
        std / (2.0 * self.n_layers as f64).sqrt()
    }

    fn validate_heads(&self, check: &mut Check) {
        let (d_model, n_heads) = (self.d_model, self.n_heads);
        check.require(
            n_heads > 0 && (self.head_dim > 0 || d_model.is_multiple_of(n_heads)),
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
        let n_kv_heads = self.n_kv_heads();
        check.require(
            n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
            "n_kv_heads",
            || {
                format!(
                    "{n_kv_heads} does not divide n_heads {n_heads}; use a divisor, or 0 for all"
                )
            },
        );
    }

    fn validate_rope(&self, check: &mut Check) {
        if self.positions == Positions::Learned {
            check.require(
                self.rope_scaling == RopeScaling::None,
                "rope_scaling",
                || {
                    "there is no rotation to scale; set positions = \"rope\" or remove it"
                        .to_owned()
                },
            );
            return;
        }
        let head_dim = if self.n_heads > 0 { self.head_dim() } else { 0 };
        check.require(head_dim.is_multiple_of(2), "head_dim", || {
            format!("{head_dim} is odd, and rope rotates halves; use an even width")
        });
        check.require(
            self.rope_theta > 1.0 && self.rope_theta.is_finite(),
            "rope_theta",
            || format!("{} is not above 1; Llama 2 uses 10000", self.rope_theta),
        );
        check.section("rope_scaling", &self.rope_scaling);
    }
}

impl Validate for GptConfig {
    fn validate(&self, check: &mut Check) {
        self.validate_heads(check);
        self.validate_rope(check);
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
        let n_layers = self.n_layers;
        if let Some(layer) = self.global_layers.iter().find(|layer| **layer >= n_layers) {
            check.fault(
                "global_layers",
                format!(
                    "{layer} is no block; they are numbered 0 to {}",
                    n_layers.max(1) - 1
                ),
            );
        }
        check.require(
            self.window > 0 || self.global_layers.is_empty(),
            "global_layers",
            || "every block attends to all tokens as window is 0; set it or remove this".to_owned(),
        );
    }
}
