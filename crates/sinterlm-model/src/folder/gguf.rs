//! GGUF files: the decoder that their metadata describes, and llama.cpp's names of its tensors.
//!
//! Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; names: `tensor_mapping.py` of
//! gguf-py.

use sinterlm_formats::{FormatError, GgufFile, TensorSource};

use super::gguf_keys::{Fault, Keys, refuse_unread};
use super::gguf_rope::{DIVISORS, scaling};
use super::place::{Form, Place, in_block};
use super::spare::InPlace;
use crate::gpt::{Activation, GptConfig, Positions};
use crate::linear::NormKind;

/// The families of GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    Gpt2,
    /// Llama and Mistral, whose rotation pairs neighbours.
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    const ALL: [Self; 4] = [Self::Gpt2, Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The value of `general.architecture`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// Modules of a block, ours and theirs.
const MODULES: [(&str, &str); 11] = [
    ("norm_1", "attn_norm"),
    ("attn.q", "attn_q"),
    ("attn.k", "attn_k"),
    ("attn.v", "attn_v"),
    ("attn.out", "attn_output"),
    ("attn.q_norm", "attn_q_norm"),
    ("attn.k_norm", "attn_k_norm"),
    ("norm_2", "ffn_norm"),
    ("mlp.gate", "ffn_gate"),
    ("mlp.up", "ffn_up"),
    ("mlp.down", "ffn_down"),
];

/// The place of the parameter at `path`.
///
/// # Panics
/// If the decoder has no such parameter.
pub(super) fn place(architecture: Architecture, path: &str, config: &GptConfig) -> Place {
    match path {
        "wte.weight" => return Place::plain("token_embd.weight"),
        "wpe.weight" => return Place::plain("position_embd.weight"),
        "norm.weight" => return Place::plain("output_norm.weight"),
        "norm.bias" => return Place::plain("output_norm.bias"),
        "head.weight" => return Place::plain("output.weight"),
        _ => {}
    }
    let (layer, module, leaf) = in_block(path).expect("a parameter of a block");
    let fused = ["attn.q", "attn.k", "attn.v"]
        .iter()
        .position(|name| *name == module);
    let (name, form) = match (architecture, fused) {
        (Architecture::Gpt2, Some(index)) => {
            let transposed = false;
            ("attn_qkv", Form::Third { index, transposed })
        }
        (Architecture::Llama, Some(0)) => ("attn_q", neighbours(config.n_heads)),
        (Architecture::Llama, Some(1)) => ("attn_k", neighbours(config.n_kv_heads())),
        _ => {
            let found = MODULES.iter().find(|(ours, _)| *ours == module);
            (found.expect("every module has a name").1, Form::Plain)
        }
    };
    Place {
        name: format!("blk.{layer}.{name}.{leaf}"),
        form,
    }
}

fn neighbours(heads: usize) -> Form {
    Form::Neighbours { heads }
}

/// What the model has in place of a tensor that no parameter takes: the scaling, which was read, and
/// the embedding, with which a copy as the head was compared.
pub(super) fn in_place_of(name: &str, config: &GptConfig) -> Option<InPlace> {
    let is_scaling = name == DIVISORS && config.positions == Positions::Rope;
    let is_copy = name == "output.weight" && config.tied_head;
    (is_scaling || is_copy).then_some(InPlace::Compared)
}

/// The architecture and the decoder of a file.
pub(super) fn read(file: &GgufFile) -> Result<(Architecture, GptConfig), Fault> {
    let name = file.require("general.architecture")?.text()?;
    let found = Architecture::ALL
        .into_iter()
        .find(|known| known.name() == name);
    let Some(architecture) = found else {
        let known = Architecture::ALL.map(Architecture::name).join(", ");
        return Err(Fault::Text(format!(
            "general.architecture {name:?} cannot be read, only {known}"
        )));
    };
    let keys = Keys { file, name };
    let has = |name: &str| file.stored(name).is_ok();
    if keys.size("expert_count")?.is_some_and(|count| count > 0) {
        return Err(Fault::Text(
            "mixtures of experts are not supported".to_owned(),
        ));
    }
    let embedding = file.stored("token_embd.weight")?;
    let head = file.stored("output.weight").ok();
    let max_seq_len = keys.required("context_length")?;
    let base = GptConfig {
        vocab_size: embedding.shape.first().copied().unwrap_or(0),
        max_seq_len,
        d_model: keys.required("embedding_length")?,
        n_layers: keys.required("block_count")?,
        n_heads: keys.required("attention.head_count")?,
        d_ff: keys.required("feed_forward_length")?,
        qkv_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        attn_out_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_up.bias"),
        tied_head: head
            .is_none_or(|head| head.dtype == embedding.dtype && *head.bytes == *embedding.bytes),
        ..GptConfig::default()
    };
    let config = if architecture == Architecture::Gpt2 {
        gpt2(&keys, base)?
    } else {
        rotating(&keys, base, has("blk.0.attn_q_norm.weight"))?
    };
    Ok((architecture, config))
}

/// GPT-2, which has no rotation: what the file says of one is without effect.
fn gpt2(keys: &Keys<'_>, base: GptConfig) -> Result<GptConfig, Fault> {
    let norm_eps = keys.required_number("attention.layer_norm_epsilon")?;
    let config = GptConfig { norm_eps, ..base };
    super::family::checked(&config).map_err(Fault::Text)?;
    let expected = [
        ("attention.head_count_kv", config.n_heads),
        ("attention.key_length", config.head_dim()),
        ("attention.value_length", config.head_dim()),
        ("attention.sliding_window", 0),
    ];
    for (key, expected) in expected {
        if let Some(found) = keys.size(key)?.filter(|found| *found != expected) {
            return Err(Fault::Text(format!(
                "gpt2.{key} is {found}, only {expected} is supported"
            )));
        }
    }
    refuse_unread(keys, &config)?;
    Ok(config)
}

/// Llama and its relatives.
fn rotating(keys: &Keys<'_>, base: GptConfig, qk_norm: bool) -> Result<GptConfig, Fault> {
    let config = GptConfig {
        n_kv_heads: keys.positive("attention.head_count_kv")?.unwrap_or(0),
        head_dim: keys.positive("attention.key_length")?.unwrap_or(0),
        positions: Positions::Rope,
        rope_theta: keys.number("rope.freq_base", 10_000.0)?,
        norm: NormKind::RmsNorm,
        norm_eps: keys.required_number("attention.layer_norm_rms_epsilon")?,
        qk_norm,
        activation: Activation::Swiglu,
        window: keys.size("attention.sliding_window")?.unwrap_or(0),
        ..base
    };
    super::family::checked(&config).map_err(Fault::Text)?;
    let rotated = keys
        .size("rope.dimension_count")?
        .unwrap_or(config.head_dim());
    let values = keys
        .size("attention.value_length")?
        .unwrap_or(config.head_dim());
    if rotated != config.head_dim() || values != config.head_dim() {
        return Err(Fault::Text(format!(
            "heads of width {} with {rotated} rotated and values of width {values} are not supported",
            config.head_dim()
        )));
    }
    refuse_unread(keys, &config)?;
    let rope_scaling = scaling(keys, &config)?;
    Ok(GptConfig {
        rope_scaling,
        ..config
    })
}

/// The ids of the tokens that end a text or a turn.
pub(super) fn end_ids(file: &GgufFile) -> Result<Vec<u32>, FormatError> {
    let mut ids = Vec::new();
    for name in ["eos", "eot", "eom"] {
        if let Some(field) = file.field(&format!("tokenizer.ggml.{name}_token_id")) {
            ids.push(field.uint()? as u32);
        }
    }
    ids.dedup();
    Ok(ids)
}
