//! The Llama family as `transformers` writes it (Llama, Mistral, Qwen2, Qwen3): keys of
//! `config.json` and names of tensors, which the four share. Rotary keys are `rope`'s.

use serde_json::{Value, json};

use super::json::{Keys, one_of};
use super::place::{Place, in_block};
use super::rope;
use super::spare::InPlace;
use crate::gpt::{Activation, GptConfig, Positions};
use crate::linear::NormKind;

/// In front of every name but the head's.
pub(super) const PREFIX: &str = "model.";

/// A member of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

/// Modules of a block, ours and theirs.
const MODULES: [(&str, &str); 11] = [
    ("norm_1", "input_layernorm"),
    ("attn.q", "self_attn.q_proj"),
    ("attn.k", "self_attn.k_proj"),
    ("attn.v", "self_attn.v_proj"),
    ("attn.out", "self_attn.o_proj"),
    ("attn.q_norm", "self_attn.q_norm"),
    ("attn.k_norm", "self_attn.k_norm"),
    ("norm_2", "post_attention_layernorm"),
    ("mlp.gate", "mlp.gate_proj"),
    ("mlp.up", "mlp.up_proj"),
    ("mlp.down", "mlp.down_proj"),
];

/// The window that the classes of Mistral and Qwen give a config without the key.
const DEFAULT_WINDOW: usize = 4096;
/// The head width that Qwen3's class gives a config without the key.
const QWEN3_HEAD_DIM: usize = 128;

/// What a member's class gives a config without the key, where they differ.
struct Defaults {
    vocabulary: usize,
    inner: usize,
    context: usize,
    kv_heads: usize,
}

impl Member {
    pub(super) const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    pub(super) fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// What the names of its classes begin with.
    pub(super) fn class_name(self) -> &'static str {
        match self {
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
        }
    }

    fn defaults(self) -> Defaults {
        let (vocabulary, inner, context, kv_heads) = match self {
            Self::Llama => (32_000, 11_008, 2048, 32),
            Self::Mistral => (32_000, 14_336, 131_072, 8),
            Self::Qwen2 | Self::Qwen3 => (151_936, 22_016, 32_768, 32),
        };
        Defaults {
            vocabulary,
            inner,
            context,
            kv_heads,
        }
    }

    fn is_qwen(self) -> bool {
        matches!(self, Self::Qwen2 | Self::Qwen3)
    }
}

/// The place of the parameter at `path`; none where the family has no such parameter.
pub(super) fn place(path: &str) -> Option<Place> {
    let name = match path {
        "wte.weight" => format!("{PREFIX}embed_tokens.weight"),
        "norm.weight" => format!("{PREFIX}norm.weight"),
        "head.weight" => "lm_head.weight".to_owned(),
        _ => {
            let (layer, module, leaf) = in_block(path)?;
            let (_, name) = MODULES.iter().find(|(ours, _)| *ours == module)?;
            format!("{PREFIX}layers.{layer}.{name}.{leaf}")
        }
    };
    Some(Place::plain(name))
}

/// What the model has in place of a tensor that no parameter takes: of tables of the rotation in old
/// files.
pub(super) fn in_place_of(name: &str) -> Option<InPlace> {
    name.ends_with(".rotary_emb.inv_freq")
        .then_some(InPlace::Frequencies)
}

/// The decoder of a `config.json`; absent keys have the defaults of the member's class.
pub(super) fn from_json(member: Member, keys: &Keys<'_>) -> Result<GptConfig, String> {
    let act = keys.text("hidden_act")?.unwrap_or("silu");
    let activations = [("silu", Activation::Swiglu), ("swish", Activation::Swiglu)];
    let activation = one_of("hidden_act", act, &activations)?;
    keys.only("is_causal", true)?;
    let defaults = member.defaults();
    let d_model = keys.size("hidden_size", 4096)?;
    let n_heads = keys.size("num_attention_heads", 32)?;
    if member == Member::Llama && !d_model.is_multiple_of(n_heads) {
        return Err(format!(
            "num_attention_heads {n_heads} does not divide hidden_size {d_model}"
        ));
    }
    let n_kv_heads = match (member, keys.0.get("num_key_value_heads")) {
        (Member::Llama, None)
        | (Member::Llama | Member::Qwen2 | Member::Qwen3, Some(Value::Null)) => n_heads,
        _ => keys.size("num_key_value_heads", defaults.kv_heads)?,
    };
    let head_dim = match member {
        Member::Qwen3 => keys.size("head_dim", QWEN3_HEAD_DIM)?,
        _ => keys.optional_size("head_dim")?.unwrap_or(0),
    };
    let attention_bias = match member {
        Member::Llama | Member::Qwen3 => keys.flag("attention_bias", false)?,
        Member::Mistral | Member::Qwen2 => false,
    };
    let n_layers = keys.size("num_hidden_layers", 32)?;
    let (window, global_layers) = window(member, keys, n_layers)?;
    let longest = keys.size("max_position_embeddings", defaults.context)?;
    let (rope_theta, rope_scaling) = rope::from_json(keys, longest)?;
    Ok(GptConfig {
        vocab_size: keys.size("vocab_size", defaults.vocabulary)?,
        max_seq_len: rope::reach(&rope_scaling, longest),
        d_model,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        d_ff: keys.size("intermediate_size", defaults.inner)?,
        positions: Positions::Rope,
        rope_theta,
        rope_scaling,
        norm: NormKind::RmsNorm,
        norm_eps: keys.number("rms_norm_eps", 1e-6)?,
        qk_norm: member == Member::Qwen3,
        qkv_bias: attention_bias || member == Member::Qwen2,
        attn_out_bias: attention_bias,
        mlp_bias: member == Member::Llama && keys.flag("mlp_bias", false)?,
        activation,
        window,
        global_layers,
        dropout: keys.optional_number("attention_dropout")?.unwrap_or(0.0),
        tied_head: keys.flag("tie_word_embeddings", false)?,
        ..GptConfig::default()
    })
}

/// Width of the window, 0 for none, and the blocks without it.
fn window(member: Member, keys: &Keys<'_>, n_layers: usize) -> Result<(usize, Vec<usize>), String> {
    // `null` is none, an absent key the class's default.
    let written = match keys.0.get("sliding_window") {
        None => DEFAULT_WINDOW,
        Some(_) => keys.optional_size("sliding_window")?.unwrap_or(0),
    };
    if member == Member::Mistral {
        return Ok((written, Vec::new()));
    }
    if !member.is_qwen() {
        return Ok((0, Vec::new()));
    }
    let in_use = keys.flag("use_sliding_window", false)?;
    let window = if in_use { written } else { 0 };
    if window == 0 {
        let types = keys.get("layer_types").and_then(Value::as_array);
        for name in types.into_iter().flatten() {
            match name.as_str() {
                Some("full_attention") => {}
                Some("sliding_attention") => {
                    return Err(
                        "layer_types names sliding_attention, and there is no window: \
                                use_sliding_window or sliding_window is missing"
                            .to_owned(),
                    );
                }
                _ => return Err(format!("layer_types names {name}, which is not known")),
            }
        }
        return Ok((0, Vec::new()));
    }
    let Some(types) = keys.get("layer_types") else {
        let first = keys.count("max_window_layers", 28)?;
        return Ok((window, (0..first.min(n_layers)).collect()));
    };
    let types: Vec<&str> = types
        .as_array()
        .map(|types| types.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if types.len() != n_layers {
        return Err(format!("layer_types does not name {n_layers} layers"));
    }
    let mut global = Vec::new();
    for (layer, name) in types.into_iter().enumerate() {
        let kinds = [("full_attention", true), ("sliding_attention", false)];
        if one_of("layer_types", name, &kinds)? {
            global.push(layer);
        }
    }
    Ok((window, global))
}

/// The `config.json` of a decoder. Options that the member lacks are lost: whoever writes it holds
/// against `from_json` what comes back.
pub(super) fn to_json(member: Member, config: &GptConfig) -> Value {
    let mut json = json!({
        "architectures": [format!("{}ForCausalLM", member.class_name())],
        "model_type": member.model_type(),
        "vocab_size": config.vocab_size,
        "max_position_embeddings": rope::written_length(config),
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff(),
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads(),
        "head_dim": config.head_dim(),
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope::to_json(&config.rope_scaling),
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": "float32",
    });
    if matches!(member, Member::Llama | Member::Qwen3) {
        json["attention_bias"] = config.attn_out_bias.into();
    }
    if member == Member::Llama {
        json["mlp_bias"] = config.mlp_bias.into();
    }
    let window = (config.window > 0).then_some(config.window);
    if member == Member::Mistral {
        json["sliding_window"] = json!(window);
    }
    if member.is_qwen() {
        json["use_sliding_window"] = window.is_some().into();
        json["sliding_window"] = json!(window);
        let first = config.global_layers.len();
        json["max_window_layers"] = (if window.is_some() {
            first
        } else {
            config.n_layers
        })
        .into();
        if window.is_some() {
            let types = (0..config.n_layers).map(|layer| match config.window_of(layer) {
                Some(_) => "sliding_attention",
                None => "full_attention",
            });
            json["layer_types"] = types.collect();
        }
    }
    json
}
