//! The scaling of the rotation in a GGUF file, with llama.cpp's meaning of the keys.

use sinterlm_formats::TensorSource;

use super::gguf_keys::{Fault, Keys};
use crate::gpt::{GptConfig, RopeScaling, rope_divisors, yarn_factor};

/// Divisors of the rotation's frequencies, where Llama 3 has its scaling.
pub(super) const DIVISORS: &str = "rope_freqs.weight";

/// The scaling by metadata, or by the divisors of Llama 3.
///
/// As in llama.cpp a factor without a type is linear, `rope.scale_linear` is the older name of the
/// factor, and YaRN's original length is the context's where it is not said.
pub(super) fn scaling(keys: &Keys<'_>, config: &GptConfig) -> Result<RopeScaling, Fault> {
    let factor = match keys.optional_number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.optional_number("rope.scale_linear")?,
    };
    let is_plain = |factor: f64| (factor - 1.0).abs() < f64::EPSILON;
    let factor = factor.filter(|factor| *factor != 0.0).unwrap_or(1.0);
    let attn_factor = keys.number("rope.scaling.attn_factor", 1.0)?;
    let scaling = match keys.text("rope.scaling.type")? {
        Some("none") => RopeScaling::None,
        None | Some("linear") if is_plain(factor) => RopeScaling::None,
        None | Some("linear") => RopeScaling::Linear { factor },
        Some("yarn") => RopeScaling::Yarn {
            factor,
            original_max_seq_len: keys
                .positive("rope.scaling.original_context_length")?
                .unwrap_or(config.max_seq_len),
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: yarn_factor(factor) * attn_factor,
            truncate: true,
        },
        Some(other) => {
            return Err(Fault::Text(format!(
                "{}.rope.scaling.type {other:?} is not supported, only none, linear, yarn",
                keys.name
            )));
        }
    };
    let is_yarn = matches!(scaling, RopeScaling::Yarn { .. });
    if !is_yarn && !is_plain(attn_factor) {
        return Err(Fault::Text(format!(
            "{}.rope.scaling.attn_factor {attn_factor} is supported with YaRN only",
            keys.name
        )));
    }
    match (divisors(keys, config)?, scaling) {
        (RopeScaling::None, scaling) => Ok(scaling),
        (divided, RopeScaling::None) => Ok(divided),
        _ => Err(Fault::Text(format!(
            "`{DIVISORS}` together with another scaling of the rotation is not supported"
        ))),
    }
}

/// The scaling that the file's divisors are, none where it has none or they are all 1.
fn divisors(keys: &Keys<'_>, config: &GptConfig) -> Result<RopeScaling, Fault> {
    if keys.file.stored(DIVISORS).is_err() {
        return Ok(RopeScaling::None);
    }
    let divisors = keys.file.to_f32(DIVISORS)?;
    // The file holds the result of the formula, not its constants: those of the published models.
    let published = [8.0, 16.0, 32.0].map(|factor| RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_seq_len: 8192,
    });
    let matches = |scaling: &RopeScaling| {
        let expected = rope_divisors(config, scaling);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs();
        expected.len() == divisors.len() && divisors.iter().zip(&expected).all(near)
    };
    let unknown = || {
        Fault::Text(format!(
            "`{DIVISORS}` is not the scaling of a known Llama 3"
        ))
    };
    std::iter::once(RopeScaling::None)
        .chain(published)
        .find(matches)
        .ok_or_else(unknown)
}
