//! Rotary positions: the wavelengths, how they are stretched, and the tables of a batch. The
//! rotation itself is a kernel.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::config::{GptConfig, Positions};
use crate::batch::TokenBatch;

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

/// Cosines and sines of a batch, each `[batch or 1, seq, head_dim/2]`.
pub(super) type RopeTables = (Tensor<3>, Tensor<3>);

/// The tables of a batch; `None` where positions are learned.
pub(super) fn rope_tables(
    config: &GptConfig,
    tokens: &TokenBatch,
    device: &Device,
) -> Option<RopeTables> {
    if config.positions != Positions::Rope {
        return None;
    }
    let (rows, positions) = match tokens.shared_positions() {
        Some(row) => (1, row),
        None => (tokens.layout.rows, tokens.host_positions()),
    };
    let longest = positions.iter().max().map_or(0, |last| *last as usize + 1);
    let (frequencies, factor) = frequencies(config, longest);
    let table = |of: fn(f64) -> f64| {
        let values: Vec<f32> = positions
            .iter()
            .flat_map(|&position| {
                // The angle is rounded to f32 as in `transformers`, which at late positions matters.
                let angle = move |frequency: &f32| f64::from(position as f32 * frequency);
                frequencies
                    .iter()
                    .map(move |frequency| (of(angle(frequency)) * factor) as f32)
            })
            .collect();
        let shape = [rows, tokens.layout.seq, frequencies.len()];
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    Some((table(f64::cos), table(f64::sin)))
}

/// The factor on rotated queries and keys that YaRN's paper gives for a scaling, `0.1·ln(factor) + 1`.
pub(crate) fn yarn_factor(factor: f64) -> f64 {
    0.1 * factor.max(1.0).ln() + 1.0
}

/// What each pair's frequency is divided by under another scaling than the config's.
pub(crate) fn rope_divisors(config: &GptConfig, scaling: &RopeScaling) -> Vec<f32> {
    let of = |rope_scaling: &RopeScaling| {
        let config = GptConfig {
            rope_scaling: rope_scaling.clone(),
            ..config.clone()
        };
        frequencies(&config, 0).0
    };
    let (plain, scaled) = (of(&RopeScaling::None), of(scaling));
    plain
        .iter()
        .zip(&scaled)
        .map(|(plain, scaled)| plain / scaled)
        .collect()
}

/// Radians per token of each pair of a head, and the factor on cosines and sines, for a batch whose
/// longest row has `longest` tokens.
fn frequencies(config: &GptConfig, longest: usize) -> (Vec<f32>, f64) {
    let head_dim = config.head_dim() as f64;
    let of_base = |base: f64| -> Vec<f64> {
        let pairs = config.head_dim() / 2;
        (0..pairs)
            .map(|pair| base.powf(-2.0 * pair as f64 / head_dim))
            .collect()
    };
    let theta = config.rope_theta;
    let plain = of_base(theta);
    let (scaled, attention_factor) = match config.rope_scaling {
        RopeScaling::None => (plain, 1.0),
        RopeScaling::Linear { factor } => (plain.iter().map(|f| f / factor).collect(), 1.0),
        RopeScaling::Dynamic {
            factor,
            original_max_seq_len,
        } => {
            let original = original_max_seq_len as f64;
            let length = (longest as f64).max(original);
            let growth = factor * length / original - (factor - 1.0);
            (
                of_base(theta * growth.powf(head_dim / (head_dim - 2.0))),
                1.0,
            )
        }
        RopeScaling::Yarn {
            factor,
            original_max_seq_len,
            beta_fast,
            beta_slow,
            attention_factor,
            truncate,
        } => {
            // The pair that rotates so many times within a row of pretraining.
            let pair_of = |rotations: f64| {
                head_dim * (original_max_seq_len as f64 / (rotations * 2.0 * PI)).ln()
                    / (2.0 * theta.ln())
            };
            let (mut low, mut high) = (pair_of(beta_fast), pair_of(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            let (low, high) = (low.max(0.0), high.min(head_dim - 1.0));
            let width = if low < high { high - low } else { 0.001 };
            let stretched = |(pair, f): (usize, &f64)| {
                let long = ((pair as f64 - low) / width).clamp(0.0, 1.0);
                f / factor * long + f * (1.0 - long)
            };
            (
                plain.iter().enumerate().map(stretched).collect(),
                attention_factor,
            )
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_seq_len,
        } => {
            let stretched = |f: &f64| {
                // Rotations within a row of pretraining, between the two factors a share of short.
                let rotations = original_max_seq_len as f64 * f / (2.0 * PI);
                let short = (rotations - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let short = short.clamp(0.0, 1.0);
                f / factor * (1.0 - short) + f * short
            };
            (plain.iter().map(stretched).collect(), 1.0)
        }
    };
    (
        scaled.into_iter().map(|f| f as f32).collect(),
        attention_factor,
    )
}
