//! Writing a decoder as a GGUF file that llama.cpp reads: metadata, names and order of tensors. What
//! belongs to the tokenizer is the caller's to add.

use std::path::Path;

use sinterlm_formats::{BlockType, Dtype, GgufMetadata, GgufValue, TensorType, write_gguf};

use super::file_tensors::{FileTensors, refuse_deltas};
use super::gguf::{Architecture, place};
use super::gguf_rope::DIVISORS;
use crate::error::ModelError;
use crate::gpt::{Activation, Gpt, GptConfig, Positions, RopeScaling, rope_divisors, yarn_factor};
use crate::linear::NormKind;

/// Writes a model as a GGUF file in one step and returns its size in bytes.
///
/// Matrices are stored as `dtype`, or as F16 where their rows are not whole blocks of it; vectors stay
/// in F32, as llama.cpp wants them. The matrix that gives the logits has at least 8 bits: with 4 or 5
/// it costs more than all the others together (llama.cpp's own quantiser keeps it finer, too).
/// `metadata` goes into the file beside what describes the decoder: the tokenizer, the chat template,
/// a name. Values are copied and encoded one tensor at a time.
///
/// # Errors
/// [`ModelError::NotGguf`] for a decoder that llama.cpp has no architecture for, or a `dtype` that
/// cannot be encoded; [`ModelError::Format`] where the file cannot be written.
pub fn save_gguf(
    path: &Path,
    model: &Gpt,
    dtype: TensorType,
    metadata: GgufMetadata,
) -> Result<u64, ModelError> {
    let config = model.config();
    if !dtype.can_encode() {
        let fault = format!("{dtype} can be read and not encoded");
        return Err(ModelError::NotGguf(fault));
    }
    refuse_deltas(model)?;
    let architecture = architecture(config).map_err(ModelError::NotGguf)?;
    let mut all = metadata;
    all.extend(description(architecture, config, dtype));

    let mut tensors = FileTensors::of(model, |path| place(architecture, path, config));
    if let scaling @ RopeScaling::Llama3 { .. } = &config.rope_scaling {
        tensors.give(DIVISORS.to_owned(), rope_divisors(config, scaling));
    }
    let last = if config.tied_head {
        "wte.weight"
    } else {
        "head.weight"
    };
    let head = place(architecture, last, config).name;
    let headers = tensors.headers(|name, shape| {
        let wanted = if name == head { finer(dtype) } else { dtype };
        type_of(shape, wanted)
    });
    Ok(write_gguf(path, &all, &headers, |tensor| {
        tensors.take(tensor)
    })?)
}

/// How a tensor of this shape is stored.
fn type_of(shape: &[usize], wanted: TensorType) -> TensorType {
    match shape {
        [_, cols] if cols.is_multiple_of(wanted.block_len()) => wanted,
        [_, _] => Dtype::F16.into(),
        _ => Dtype::F32.into(),
    }
}

/// The type of the matrix that gives the logits.
fn finer(dtype: TensorType) -> TensorType {
    match dtype {
        TensorType::Blocks(_) => BlockType::Q8_0.into(),
        plain => plain,
    }
}

/// llama.cpp's architecture for a decoder, or what it lacks.
fn architecture(config: &GptConfig) -> Result<Architecture, String> {
    let lacking = |what: &str| Err(format!("llama.cpp has no architecture with {what}"));
    if config.attn_softcap > 0.0 || config.logits_softcap > 0.0 {
        return lacking("these soft caps");
    }
    if config.window > 0 && config.window < config.max_seq_len {
        return lacking("this sliding window");
    }
    if config.positions == Positions::Learned {
        let as_gpt2 = config.norm == NormKind::LayerNorm
            && config.activation == Activation::GeluTanh
            && (config.attn_out_bias && config.mlp_bias && !config.qk_norm)
            && config.n_kv_heads() == config.n_heads
            && config.head_dim() * config.n_heads == config.d_model;
        return if as_gpt2 {
            Ok(Architecture::Gpt2)
        } else {
            lacking("learned positions that is not GPT-2")
        };
    }
    if config.norm != NormKind::RmsNorm || config.activation != Activation::Swiglu {
        return lacking("rotation and without RMS norm and SwiGLU");
    }
    match config.rope_scaling {
        RopeScaling::Dynamic { .. } => return lacking("dynamic scaling of the rotation"),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            attention_factor,
            truncate,
            ..
        } => {
            let usual = [beta_fast - 32.0, beta_slow - 1.0];
            let is_usual = truncate && usual.iter().all(|difference| difference.abs() < 1e-6);
            if !is_usual || attn_factor(factor, attention_factor).is_none() {
                return lacking("these constants of YaRN");
            }
        }
        _ => {}
    }
    let GptConfig {
        qk_norm,
        qkv_bias,
        attn_out_bias,
        mlp_bias,
        ..
    } = *config;
    let has_divisors = matches!(config.rope_scaling, RopeScaling::Llama3 { .. });
    match (qk_norm, qkv_bias, attn_out_bias || mlp_bias) {
        // It reads divisors of the rotation in its Llama alone, which may have these biases, too.
        (false, true, false) if !has_divisors => Ok(Architecture::Qwen2),
        (false, _, _) => Ok(Architecture::Llama),
        (true, false, false) if has_divisors => {
            lacking("normalised queries and Llama 3's scaling of the rotation")
        }
        (true, false, false) => Ok(Architecture::Qwen3),
        (true, _, _) => lacking("normalised queries and biases"),
    }
}

/// What llama.cpp is to multiply YaRN's usual factor on queries and keys by, as a file holds it; none
/// where the product is another number.
fn attn_factor(factor: f64, attention_factor: f64) -> Option<f32> {
    let usual = yarn_factor(factor);
    let ratio = (attention_factor / usual) as f32;
    let read: f64 = ratio.to_string().parse().ok()?;
    ((usual * read - attention_factor).abs() < f64::EPSILON).then_some(ratio)
}

/// The metadata that describes the decoder.
fn description(architecture: Architecture, config: &GptConfig, dtype: TensorType) -> GgufMetadata {
    let name = architecture.name();
    let head_dim = config.head_dim();
    let mut metadata = GgufMetadata::new();
    metadata.insert("general.architecture".to_owned(), name.into());
    if let Some(number) = file_type(dtype) {
        metadata.insert("general.file_type".to_owned(), number.into());
    }
    if let TensorType::Blocks(_) = dtype {
        metadata.insert("general.quantization_version".to_owned(), 2u32.into());
    }
    let mut put = |key: &str, value: GgufValue| {
        metadata.insert(format!("{name}.{key}"), value);
    };
    for (key, size) in [
        ("vocab_size", config.vocab_size),
        ("context_length", config.max_seq_len),
        ("embedding_length", config.d_model),
        ("block_count", config.n_layers),
        ("feed_forward_length", config.d_ff()),
        ("attention.head_count", config.n_heads),
        ("attention.head_count_kv", config.n_kv_heads()),
    ] {
        put(key, (size as u32).into());
    }
    let norm_eps = GgufValue::from(config.norm_eps as f32);
    if architecture == Architecture::Gpt2 {
        put("attention.layer_norm_epsilon", norm_eps);
        return metadata;
    }
    put("attention.layer_norm_rms_epsilon", norm_eps);
    for key in [
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
    ] {
        put(key, (head_dim as u32).into());
    }
    put("rope.freq_base", (config.rope_theta as f32).into());
    match config.rope_scaling {
        RopeScaling::Linear { factor } => {
            put("rope.scaling.type", "linear".into());
            put("rope.scaling.factor", (factor as f32).into());
        }
        RopeScaling::Yarn {
            factor,
            original_max_seq_len,
            attention_factor,
            ..
        } => {
            put("rope.scaling.type", "yarn".into());
            put("rope.scaling.factor", (factor as f32).into());
            let ratio = attn_factor(factor, attention_factor).unwrap_or(1.0);
            if (ratio - 1.0).abs() > f32::EPSILON {
                put("rope.scaling.attn_factor", ratio.into());
            }
            let original = GgufValue::from(original_max_seq_len as u32);
            put("rope.scaling.original_context_length", original);
        }
        _ => {}
    }
    metadata
}

/// llama.cpp's number for a file of mostly this type (`enum llama_ftype`).
fn file_type(dtype: TensorType) -> Option<u32> {
    match dtype {
        TensorType::Plain(Dtype::F32) => Some(0),
        TensorType::Plain(Dtype::F16) => Some(1),
        TensorType::Blocks(BlockType::Q4_0) => Some(2),
        TensorType::Blocks(BlockType::Q4_1) => Some(3),
        TensorType::Blocks(BlockType::Q8_0) => Some(7),
        TensorType::Blocks(BlockType::Q5_0) => Some(8),
        TensorType::Blocks(BlockType::Q5_1) => Some(9),
        TensorType::Plain(Dtype::BF16) => Some(32),
        _ => None,
    }
}
