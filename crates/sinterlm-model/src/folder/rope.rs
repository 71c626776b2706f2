//! Rotary positions in a `config.json`: `rope_theta` and `rope_scaling` as most published files have
//! them, or `rope_parameters` as `transformers` 5 writes them.

use serde_json::{Value, json};

use super::json::Keys;
use crate::gpt::{GptConfig, RopeScaling, yarn_factor};

/// Base where the file names none.
const DEFAULT_THETA: f64 = 10_000.0;

/// Base and scaling; `longest` is `max_position_embeddings`.
pub(super) fn from_json(keys: &Keys<'_>, longest: usize) -> Result<(f64, RopeScaling), String> {
    let empty = json!({});
    let parameters = keys
        .get("rope_parameters")
        .or_else(|| keys.get("rope_scaling"));
    let rope = Keys(parameters.unwrap_or(&empty));
    if rope
        .0
        .as_object()
        .is_none_or(|rope| rope.values().any(Value::is_object))
    {
        return Err(format!(
            "rope parameters {} per layer type are not supported",
            rope.0
        ));
    }
    let theta = rope.number("rope_theta", keys.number("rope_theta", DEFAULT_THETA)?)?;
    for keys in [keys, &rope] {
        let partial = keys.number("partial_rotary_factor", 1.0)?;
        if (partial - 1.0).abs() > f64::EPSILON {
            return Err(format!(
                "partial_rotary_factor {partial} is not supported, only 1"
            ));
        }
    }
    let required = |key: &str| {
        let missing = || format!("the scaling of rotary positions lacks {key}");
        rope.get(key).ok_or_else(missing)?;
        rope.number(key, 0.0)
    };
    let original = || -> Result<usize, String> {
        let outer = keys.optional_size("original_max_position_embeddings")?;
        let inner = rope.optional_size("original_max_position_embeddings")?;
        Ok(outer.or(inner).unwrap_or(longest))
    };
    let kind = rope.text("rope_type").or_else(|| rope.text("type"));
    let scaling = match kind.unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: required("factor")?,
        },
        "dynamic" => RopeScaling::Dynamic {
            factor: required("factor")?,
            original_max_seq_len: longest,
        },
        "yarn" => yarn(&rope, original()?, longest)?,
        "llama3" => RopeScaling::Llama3 {
            factor: required("factor")?,
            low_freq_factor: required("low_freq_factor")?,
            high_freq_factor: required("high_freq_factor")?,
            original_max_seq_len: original()?,
        },
        other => {
            return Err(format!(
                "rope_type {other:?} is not supported, only default, linear, dynamic, yarn, llama3"
            ));
        }
    };
    Ok((theta, scaling))
}

fn yarn(rope: &Keys<'_>, original: usize, longest: usize) -> Result<RopeScaling, String> {
    let factor = rope.number("factor", longest as f64 / original as f64)?;
    let [mscale, mscale_all_dim] = [
        rope.number("mscale", 0.0)?,
        rope.number("mscale_all_dim", 0.0)?,
    ];
    let scaled = |mscale: f64| mscale * (yarn_factor(factor) - 1.0) + 1.0;
    let usual = if mscale > 0.0 && mscale_all_dim > 0.0 {
        scaled(mscale) / scaled(mscale_all_dim)
    } else {
        yarn_factor(factor)
    };
    Ok(RopeScaling::Yarn {
        factor,
        original_max_seq_len: original,
        beta_fast: rope.number("beta_fast", 32.0)?,
        beta_slow: rope.number("beta_slow", 1.0)?,
        attention_factor: rope.number("attention_factor", usual)?,
        truncate: rope.flag("truncate", true)?,
    })
}

/// Longest row of a model whose file says `longest`: dynamic scaling goes `factor` times beyond.
pub(super) fn reach(scaling: &RopeScaling, longest: usize) -> usize {
    match scaling {
        RopeScaling::Dynamic { factor, .. } => (longest as f64 * factor.max(1.0)) as usize,
        _ => longest,
    }
}

/// What the file says of a decoder's longest row.
pub(super) fn written_length(config: &GptConfig) -> usize {
    match config.rope_scaling {
        RopeScaling::Dynamic {
            original_max_seq_len,
            ..
        } => original_max_seq_len,
        _ => config.max_seq_len,
    }
}

/// The value of `rope_scaling`, in the form that old and new readers know.
pub(super) fn to_json(scaling: &RopeScaling) -> Value {
    match *scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor, .. } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Yarn {
            factor,
            original_max_seq_len,
            beta_fast,
            beta_slow,
            attention_factor,
            truncate,
        } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original_max_seq_len,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "attention_factor": attention_factor,
            "truncate": truncate,
        }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_seq_len,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_seq_len,
        }),
    }
}
