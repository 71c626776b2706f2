//! GPT-2 as `transformers` writes it: keys of `config.json` and names of tensors. Linear weights are
//! stored as `[d_in, d_out]`, and q, k, v side by side in one tensor.

use serde_json::{Value, json};

use super::json::{Keys, one_of};
use super::place::{Form, Place, in_block};
use super::spare::InPlace;
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

/// What the model has in place of a tensor that no parameter takes: of buffers that `transformers`
/// saved beside the weights, and of zero biases where we have none.
pub(super) fn in_place_of(name: &str, config: &GptConfig) -> Option<InPlace> {
    if name.ends_with(".attn.bias") {
        Some(InPlace::CausalMask)
    } else if name.ends_with(".attn.masked_bias") {
        Some(InPlace::MaskedScore)
    } else {
        (name.ends_with(".attn.c_attn.bias") && !config.qkv_bias).then_some(InPlace::Zeros)
    }
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

/// Keys that other classes have for the same, which `transformers` takes before GPT-2's own.
const OTHER_NAMES: [(&str, &str); 4] = [
    ("n_embd", "hidden_size"),
    ("n_positions", "max_position_embeddings"),
    ("n_head", "num_attention_heads"),
    ("n_layer", "num_hidden_layers"),
];

/// The decoder of a `config.json`; absent keys have the defaults of `GPT2Config`. Of its three
/// probabilities of dropout the one before residual sums is taken for all.
pub(super) fn from_json(keys: &Keys<'_>) -> Result<GptConfig, String> {
    for (key, plain) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false),
        ("is_causal", true),
    ] {
        keys.only(key, plain)?;
    }
    let activation = match keys.text("activation_function")? {
        None => Activation::GeluTanh,
        Some(name) => one_of("activation_function", name, &ACTIVATIONS)?,
    };
    let size = |key: &str, default: usize| {
        let known = OTHER_NAMES.iter().find(|(own, _)| *own == key);
        let other = known
            .map(|(_, other)| *other)
            .filter(|other| keys.0.get(other).is_some());
        keys.size(other.unwrap_or(key), default)
    };
    Ok(GptConfig {
        vocab_size: size("vocab_size", 50_257)?,
        max_seq_len: size("n_positions", 1024)?,
        d_model: size("n_embd", 768)?,
        n_layers: size("n_layer", 12)?,
        n_heads: size("n_head", 12)?,
        d_ff: keys.optional_size("n_inner")?.unwrap_or(0),
        qkv_bias: keys.flag("qkv_bias", true)?,
        activation,
        dropout: keys.number("resid_pdrop", 0.1)?,
        tied_head: keys.flag("tie_word_embeddings", true)?,
        norm_eps: keys.number("layer_norm_epsilon", 1e-5)?,
        ..GptConfig::default()
    })
}
