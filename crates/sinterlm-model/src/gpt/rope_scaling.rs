//! The ways to stretch rotary positions, as a config names them. What they do to wavelengths is `rope`'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

/// How rotary positions reach beyond the rows of pretraining, in the forms that published models use.
///
/// The formulas are those of `transformers`; `original_max_seq_len` is the longest row of pretraining.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// Angles as they are.
    #[default]
    None,
    /// All angles divided by `factor` (Chen et al. 2023, <https://arxiv.org/abs/2306.15595>).
    Linear {
        /// How many times longer the rows become; at least 1.
        factor: f64,
    },
    /// The base grows with a batch that is longer than `original_max_seq_len` ("dynamic NTK").
    Dynamic {
        /// Growth of the base with the length; at least 1.
        factor: f64,
        /// Longest row of pretraining, in tokens.
        original_max_seq_len: usize,
    },
    /// Long wavelengths divided by `factor`, short ones kept, a ramp between (Peng et al. 2023,
    /// <https://arxiv.org/abs/2309.00071>).
    Yarn {
        /// How many times longer the rows become; at least 1.
        factor: f64,
        /// Longest row of pretraining, in tokens.
        original_max_seq_len: usize,
        /// Rotations within a row of pretraining from which a wavelength counts as short; paper: 32.
        beta_fast: f64,
        /// Rotations below which a wavelength counts as long; paper: 1.
        beta_slow: f64,
        /// Factor on rotated queries and keys; paper: `0.1·ln(factor) + 1`.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded to whole dimensions, as usual.
        truncate: bool,
    },
    /// Long wavelengths divided by `factor`, short ones kept, a ramp between, by the length in tokens
    /// (Llama 3.1).
    Llama3 {
        /// How many times longer the rows become; at least 1. Llama 3.1: 8, Llama 3.2: 32.
        factor: f64,
        /// Wavelengths above `original_max_seq_len / low_freq_factor` are long. Llama 3.1: 1.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_seq_len / high_freq_factor` are short. Llama 3.1: 4.
        high_freq_factor: f64,
        /// Longest row of pretraining, in tokens. Llama 3.1: 8192.
        original_max_seq_len: usize,
    },
}

impl Validate for RopeScaling {
    fn validate(&self, check: &mut Check) {
        let (factor, original) = match *self {
            Self::None => return,
            Self::Linear { factor } => (factor, 1),
            Self::Dynamic {
                factor,
                original_max_seq_len,
            }
            | Self::Yarn {
                factor,
                original_max_seq_len,
                ..
            }
            | Self::Llama3 {
                factor,
                original_max_seq_len,
                ..
            } => (factor, original_max_seq_len),
        };
        check.require(factor >= 1.0 && factor.is_finite(), "factor", || {
            format!("{factor} is below 1; it says how many times longer rows become")
        });
        check.require(original > 0, "original_max_seq_len", || {
            "0 tokens; write the longest row of pretraining".to_owned()
        });
        match *self {
            Self::Yarn {
                beta_fast,
                beta_slow,
                attention_factor,
                ..
            } => {
                check.require(beta_slow > 0.0 && beta_fast > beta_slow, "beta_fast", || {
                    format!("{beta_fast} is not above beta_slow {beta_slow} above 0; use 32 and 1")
                });
                check.require(attention_factor > 0.0, "attention_factor", || {
                    format!("{attention_factor} is not above 0; 1 leaves the scores alone")
                });
            }
            Self::Llama3 {
                low_freq_factor,
                high_freq_factor,
                ..
            } => check.require(
                low_freq_factor > 0.0 && high_freq_factor > low_freq_factor,
                "high_freq_factor",
                || {
                    format!(
                        "{high_freq_factor} is not above low_freq_factor {low_freq_factor} above 0; \
                         Llama 3.1 uses 4 and 1"
                    )
                },
            ),
            _ => {}
        }
    }
}
