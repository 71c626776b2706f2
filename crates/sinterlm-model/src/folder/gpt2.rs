//! GPT-2 as `transformers` writes it: keys of `config.json` and names of tensors. Linear weights are
//! stored as `[d_in, d_out]`, and q, k, v side by side in one tensor.

use serde_json::{Value, json};

use super::json::{Keys, one_of};
use super::place::{Form, Place, in_block};
use crate::gpt::{Activation, GptConfig};

/// In front of every name but the head's.
pub(super) const PREFIX: &str = "transformer.";

/// Activations by the names that `transformers` gives them.
const ACTIVATIONS: [(&str, Activation); 4] = [
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu", Activation::Gelu),
    ("relu2", Activation::ReluSquared),
];

/// The place of the parameter at `path`; none where a GPT-2 has no such parameter.
pub(super) fn place(path: &str) -> Option<Place> {
    match path {
        "wte.weight" | "wpe.weight" => return Some(Place::plain(format!("{PREFIX}{path}"))),
        "norm.weight" => return Some(Place::plain(format!("{PREFIX}ln_f.weight"))),
        "norm.bias" => return Some(Place::plain(format!("{PREFIX}ln_f.bias"))),
        "head.weight" => return Some(Place::plain("lm_head.weight")),
        _ => {}
    }
    let (layer, module, leaf) = in_block(path)?;
    let (name, third) = match module {
        "norm_1" => ("ln_1", None),
        "norm_2" => ("ln_2", None),
        "attn.q" => ("attn.c_attn", Some(0)),
        "attn.k" => ("attn.c_attn", Some(1)),
        "attn.v" => ("attn.c_attn", Some(2)),
        "attn.out" => ("attn.c_proj", None),
        "mlp.up" => ("mlp.c_fc", None),
        "mlp.down" => ("mlp.c_proj", None),
        _ => return None,
    };
    let matrix = leaf == "weight" && !module.starts_with("norm");
    Some(Place {
        name: format!("{PREFIX}h.{layer}.{name}.{leaf}"),
        form: match third {
            Some(index) => Form::Third {
                index,
                transposed: matrix,
            },
            None if matrix => Form::Transposed,
            None => Form::Plain,
        },
    })
}

/// Whether a tensor that no parameter takes does no harm: buffers that `transformers` saves beside
/// the weights, and zero biases where we have none.
pub(super) fn is_spare(name: &str, config: &GptConfig) -> bool {
    name.ends_with(".attn.bias")
        || name.ends_with(".attn.masked_bias")
        || (name.ends_with(".attn.c_attn.bias") && !config.qkv_bias)
}

/// The `config.json` of a decoder. Options that GPT-2 lacks are lost: whoever writes it holds
/// against `from_json` what comes back.
pub(super) fn to_json(config: &GptConfig) -> Value {
    let same = |(_, activation): &(&str, Activation)| *activation == config.activation;
    let activation = ACTIVATIONS.into_iter().find(same).map(|(name, _)| name);
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff(),
        "activation_function": activation,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied_head,
        "qkv_bias": config.qkv_bias,
        "torch_dtype": "float32",
    })
}

pub(super) fn from_json(keys: &Keys<'_>) -> Result<GptConfig, String> {
    for (key, plain) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false),
    ] {
        keys.only(key, plain)?;
    }
    let activation = match keys.text("activation_function") {
        None => Activation::GeluTanh,
        Some(name) => one_of("activation_function", name, &ACTIVATIONS)?,
    };
    Ok(GptConfig {
        vocab_size: keys.size("vocab_size")?,
        max_seq_len: keys.size("n_positions")?,
        d_model: keys.size("n_embd")?,
        n_layers: keys.size("n_layer")?,
        n_heads: keys.size("n_head")?,
        d_ff: keys.optional_size("n_inner")?.unwrap_or(0),
        qkv_bias: keys.flag("qkv_bias", true)?,
        activation,
        dropout: keys.number("resid_pdrop", 0.0)?,
        tied_head: keys.flag("tie_word_embeddings", true)?,
        norm_eps: keys.number("layer_norm_epsilon", 1e-5)?,
        ..GptConfig::default()
    })
}
