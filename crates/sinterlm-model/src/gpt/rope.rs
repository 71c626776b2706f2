//! Rotary positions: the wavelengths under each scaling, and the tables of a batch. The rotation itself
//! is a kernel.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};

use super::config::{GptConfig, Positions};
use super::rope_scaling::RopeScaling;
use crate::batch::TokenBatch;

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

/// Each pair's frequency under another scaling than the config's, in radians per token.
pub(crate) fn rope_frequencies(config: &GptConfig, scaling: &RopeScaling) -> Vec<f32> {
    let config = GptConfig {
        rope_scaling: scaling.clone(),
        ..config.clone()
    };
    frequencies(&config, 0).0
}

/// What each pair's frequency is divided by under another scaling than the config's.
pub(crate) fn rope_divisors(config: &GptConfig, scaling: &RopeScaling) -> Vec<f32> {
    let plain = rope_frequencies(config, &RopeScaling::None);
    let scaled = rope_frequencies(config, scaling);
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
