//! The Llama family as `transformers` writes it (Llama, Mistral, Qwen2, Qwen3): keys of
//! `config.json` and names of tensors, which the four share. Rotary keys are `rope`'s.

use serde_json::{Value, json};

use super::json::{Keys, one_of};
use super::place::{Place, in_block};
use super::rope;
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

/// The window that Mistral's class gives a config without the key.
const MISTRAL_WINDOW: usize = 4096;
/// The head width that Qwen3's class gives a config without the key.
const QWEN3_HEAD_DIM: usize = 128;

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

    fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
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

/// Whether a tensor that no parameter takes does no harm: tables of the rotation in old files.
pub(super) fn is_spare(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}

pub(super) fn from_json(member: Member, keys: &Keys<'_>) -> Result<GptConfig, String> {
    let act = keys.text("hidden_act").unwrap_or("silu");
    let activations = [("silu", Activation::Swiglu), ("swish", Activation::Swiglu)];
    let activation = one_of("hidden_act", act, &activations)?;
    let (d_model, n_heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
    if member == Member::Llama && !d_model.is_multiple_of(n_heads) {
        return Err(format!(
            "num_attention_heads {n_heads} does not divide hidden_size {d_model}"
        ));
    }
    let head_dim = match (keys.optional_size("head_dim")?, member) {
        (Some(width), _) => width,
        (None, Member::Qwen3) => QWEN3_HEAD_DIM,
        (None, _) => 0,
    };
    let attention_bias = match member {
        Member::Llama | Member::Qwen3 => keys.flag("attention_bias", false)?,
        Member::Mistral | Member::Qwen2 => false,
    };
    let n_layers = keys.size("num_hidden_layers")?;
    let (window, global_layers) = window(member, keys, n_layers)?;
    let longest = keys.size("max_position_embeddings")?;
    let (rope_theta, rope_scaling) = rope::from_json(keys, longest)?;
    Ok(GptConfig {
        vocab_size: keys.size("vocab_size")?,
        max_seq_len: rope::reach(&rope_scaling, longest),
        d_model,
        n_layers,
        n_heads,
        n_kv_heads: keys.optional_size("num_key_value_heads")?.unwrap_or(0),
        head_dim,
        d_ff: keys.size("intermediate_size")?,
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
        dropout: keys.number("attention_dropout", 0.0)?,
        tied_head: keys.flag("tie_word_embeddings", false)?,
        ..GptConfig::default()
    })
}

/// Width of the window, 0 for none, and the blocks without it.
fn window(member: Member, keys: &Keys<'_>, n_layers: usize) -> Result<(usize, Vec<usize>), String> {
    if member == Member::Mistral {
        let written = keys.optional_size("sliding_window")?;
        let absent = keys.0.get("sliding_window").is_none();
        let default = if absent { MISTRAL_WINDOW } else { 0 };
        return Ok((written.unwrap_or(default), Vec::new()));
    }
    if !member.is_qwen() || !keys.flag("use_sliding_window", false)? {
        return Ok((0, Vec::new()));
    }
    let window = keys
        .optional_size("sliding_window")?
        .unwrap_or(MISTRAL_WINDOW);
    if window == 0 {
        return Ok((0, Vec::new()));
    }
    let Some(types) = keys.get("layer_types") else {
        let first = keys.optional_size("max_window_layers")?.unwrap_or(28);
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
        "architectures": [member.architecture()],
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
