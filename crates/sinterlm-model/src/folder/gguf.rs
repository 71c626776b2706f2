//! GGUF files: the decoder that their metadata describes, and llama.cpp's names of its tensors.
//!
//! Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; names: `tensor_mapping.py` of
//! gguf-py.

use sinterlm_formats::{FormatError, GgufField, GgufFile, TensorSource};

use super::place::{Form, Place, in_block};
use crate::gpt::{Activation, GptConfig, Positions, RopeScaling, rope_divisors, yarn_factor};
use crate::linear::NormKind;

/// Largest size that the metadata may name, as in a `config.json`.
const MAX_SIZE: u64 = 1 << 31;
/// Divisors of the rotation's frequencies, where Llama 3 has its scaling.
pub(super) const DIVISORS: &str = "rope_freqs.weight";

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

/// Whether a tensor that no parameter takes does no harm: the scaling, which was read, and a copy of
/// the embedding as the head.
pub(super) fn is_spare(name: &str, config: &GptConfig) -> bool {
    name == DIVISORS || (name == "output.weight" && config.tied_head)
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
    if architecture == Architecture::Gpt2 {
        let norm_eps = keys.number("attention.layer_norm_epsilon", base.norm_eps)?;
        return Ok((architecture, GptConfig { norm_eps, ..base }));
    }
    let head_dim = keys.size("attention.key_length")?.unwrap_or(0);
    let config = GptConfig {
        n_kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(0),
        head_dim,
        positions: Positions::Rope,
        rope_theta: keys.number("rope.freq_base", 10_000.0)?,
        norm: NormKind::RmsNorm,
        norm_eps: keys.number("attention.layer_norm_rms_epsilon", 1e-5)?,
        qk_norm: has("blk.0.attn_q_norm.weight"),
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
    let rope_scaling = scaling(&keys, &config)?;
    Ok((
        architecture,
        GptConfig {
            rope_scaling,
            ..config
        },
    ))
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

/// What keeps a file from being a decoder.
#[derive(Debug)]
pub(super) enum Fault {
    Format(FormatError),
    Text(String),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

/// The keys of the file's architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    name: &'a str,
}

impl<'a> Keys<'a> {
    fn field(&self, key: &str) -> Option<GgufField<'a>> {
        self.file.field(&format!("{}.{key}", self.name))
    }

    fn size(&self, key: &str) -> Result<Option<usize>, Fault> {
        let Some(size) = self.field(key).map(|field| field.uint()).transpose()? else {
            return Ok(None);
        };
        if size > MAX_SIZE {
            let name = self.name;
            return Err(Fault::Text(format!(
                "{name}.{key} is {size}, above {MAX_SIZE}"
            )));
        }
        Ok(Some(size as usize))
    }

    /// A size above 0, which must be there.
    fn required(&self, key: &str) -> Result<usize, Fault> {
        let missing = || Fault::Text(format!("{}.{key} is missing or 0", self.name));
        self.size(key)?.filter(|size| *size > 0).ok_or_else(missing)
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, Fault> {
        let number = self.field(key).map(|field| field.float()).transpose()?;
        // Written as f32; the shortest decimal is what was meant, 1e-5 and not 9.99999975e-6.
        let meant = |number: f64| (number as f32).to_string().parse().unwrap_or(number);
        Ok(number.map_or(default, meant))
    }
}

/// The scaling of the rotation by metadata, or by the divisors of Llama 3.
fn scaling(keys: &Keys<'_>, config: &GptConfig) -> Result<RopeScaling, Fault> {
    let kind = keys
        .field("rope.scaling.type")
        .map(|field| field.text())
        .transpose()?;
    let factor = keys.number("rope.scaling.factor", 1.0)?;
    match kind {
        None | Some("none") => {}
        Some("linear") => return Ok(RopeScaling::Linear { factor }),
        Some("yarn") => {
            let original = keys.required("rope.scaling.original_context_length")?;
            return Ok(RopeScaling::Yarn {
                factor,
                original_max_seq_len: original,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention_factor: yarn_factor(factor),
                truncate: true,
            });
        }
        Some(other) => {
            return Err(Fault::Text(format!(
                "rope.scaling.type {other:?} is not supported"
            )));
        }
    }
    let Ok(divisors) = keys.file.to_f32(DIVISORS) else {
        return Ok(RopeScaling::None);
    };
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
    published.into_iter().find(matches).ok_or_else(unknown)
}
