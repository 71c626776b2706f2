//! Rotary positions in a `config.json`: `rope_theta` and `rope_scaling` as most published files have
//! them, or `rope_parameters` as `transformers` 5 writes them.

use serde_json::{Value, json};

use super::json::Keys;
use crate::gpt::{GptConfig, RopeScaling, yarn_factor};

/// Base where the file names none.
const DEFAULT_THETA: f64 = 10_000.0;

/// Numbers that a scaling may have, with the types that read them.
const NUMBERS: [(&str, &[&str]); 14] = [
    ("factor", &["linear", "dynamic", "yarn", "llama3"]),
    ("low_freq_factor", &["llama3"]),
    ("high_freq_factor", &["llama3"]),
    ("attention_factor", &["yarn"]),
    ("beta_fast", &["yarn"]),
    ("beta_slow", &["yarn"]),
    ("mscale", &["yarn"]),
    ("mscale_all_dim", &["yarn"]),
    ("attn_factor", &[]),
    ("extrapolation_factor", &[]),
    ("alpha", &[]),
    ("long_factor", &[]),
    ("short_factor", &[]),
    ("mrope_section", &[]),
];

/// Base and scaling; `longest` is `max_position_embeddings`.
pub(super) fn from_json(keys: &Keys<'_>, longest: usize) -> Result<(f64, RopeScaling), String> {
    let empty = json!({});
    // Of two the older name counts, unless it holds nothing, as in `transformers`.
    let parameters = keys
        .get("rope_scaling")
        .filter(|older| **older != empty)
        .or_else(|| keys.get("rope_parameters"));
    let rope = Keys(parameters.unwrap_or(&empty));
    let Some(entries) = rope.0.as_object() else {
        return Err(format!("the rope parameters are {}, not an object", rope.0));
    };
    if entries.values().any(Value::is_object) {
        return Err(format!(
            "rope parameters {} per layer type are not supported",
            rope.0
        ));
    }
    let theta = rope.number("rope_theta", keys.number("rope_theta", DEFAULT_THETA)?)?;
    for keys in [keys, &rope] {
        let partial = keys
            .optional_number("partial_rotary_factor")?
            .unwrap_or(1.0);
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
    let kind = match rope.text("rope_type")? {
        Some(kind) => kind,
        None => rope.text("type")?.unwrap_or("default"),
    };
    let scaling = match kind {
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
    let unread = NUMBERS.iter().find(|(key, kinds)| {
        let stretches = rope
            .get(key)
            .is_some_and(|value| *value != json!(1.0) && *value != json!(1));
        stretches && !kinds.contains(&kind)
    });
    match unread {
        None => Ok((theta, scaling)),
        Some((key, _)) => Err(format!(
            "{key} of rotary positions is nothing that rope_type {kind:?} reads; \
             name the type that it belongs to, or remove it"
        )),
    }
}

fn yarn(rope: &Keys<'_>, original: usize, longest: usize) -> Result<RopeScaling, String> {
    if rope.0.get("factor").is_none() {
        return Err("the scaling of rotary positions lacks factor".to_owned());
    }
    let ratio = longest as f64 / original as f64;
    let factor = rope.optional_number("factor")?.unwrap_or(ratio);
    let mscale = rope.optional_number("mscale")?.unwrap_or(0.0);
    let mscale_all_dim = rope.optional_number("mscale_all_dim")?.unwrap_or(0.0);
    let scaled = |mscale: f64| mscale * (yarn_factor(factor) - 1.0) + 1.0;
    let usual = if mscale > 0.0 && mscale_all_dim > 0.0 {
        scaled(mscale) / scaled(mscale_all_dim)
    } else {
        yarn_factor(factor)
    };
    Ok(RopeScaling::Yarn {
        factor,
        original_max_seq_len: original,
        beta_fast: rope.optional_number("beta_fast")?.unwrap_or(32.0),
        beta_slow: rope.optional_number("beta_slow")?.unwrap_or(1.0),
        attention_factor: rope.optional_number("attention_factor")?.unwrap_or(usual),
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
