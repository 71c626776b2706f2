//! GGUF files: the decoder of the metadata, the order of rows, what is refused.

use std::path::Path;

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_formats::{
    BlockType, Dtype, GgufFile, GgufMetadata, GgufValue, SafetensorsFile, TensorContent,
    TensorHeader, TensorSource, TensorType, write_gguf,
};
use sinterlm_model::{
    GptConfig, RopeScaling, find_model, load_model, named_values, read_config, read_end_ids,
    save_gguf,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close};

use super::{hidden, llama, saved};

/// The tensors of a saved Llama under llama.cpp's names, rows of q and k with neighbours paired.
fn gguf(path: &Path, folder: &Path, config: &GptConfig, extra: &[(&str, GgufValue)]) {
    let file = SafetensorsFile::open(folder.join("model.safetensors")).unwrap();
    let names = [
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
    ];
    let written: Vec<(String, Vec<usize>, Vec<f32>)> = file
        .names()
        .map(|name| {
            let (mut values, shape) =
                (file.to_f32(name).unwrap(), file.tensor(name).unwrap().shape);
            if name.contains("q_proj") || name.contains("k_proj") {
                let (half, cols) = (config.head_dim() / 2, shape[1]);
                let mut paired = Vec::new();
                for head in values.chunks(2 * half * cols) {
                    for pair in 0..half {
                        for row in [pair, half + pair] {
                            paired.extend_from_slice(&head[row * cols..][..cols]);
                        }
                    }
                }
                values = paired;
            }
            let mut name = name.to_owned();
            for (from, to) in names {
                name = name.replace(from, to);
            }
            (name, shape, values)
        })
        .collect();
    let mut metadata = GgufMetadata::new();
    for (key, value) in [
        ("general.architecture", GgufValue::from("llama")),
        ("llama.context_length", (config.max_seq_len as u32).into()),
        ("llama.embedding_length", (config.d_model as u32).into()),
        ("llama.block_count", (config.n_layers as u32).into()),
        ("llama.feed_forward_length", (config.d_ff as u32).into()),
        ("llama.attention.head_count", (config.n_heads as u32).into()),
        (
            "llama.attention.head_count_kv",
            (config.n_kv_heads as u32).into(),
        ),
        ("llama.attention.layer_norm_rms_epsilon", 1e-5f32.into()),
        ("llama.rope.freq_base", 10_000.0f32.into()),
        ("tokenizer.ggml.eos_token_id", 2u32.into()),
    ]
    .iter()
    .chain(extra)
    {
        metadata.insert((*key).to_owned(), value.clone());
    }
    let described: Vec<TensorHeader> = written
        .iter()
        .map(|(name, shape, _)| TensorHeader {
            name: name.clone(),
            dtype: TensorType::from(Dtype::F32),
            shape: shape.clone(),
        })
        .collect();
    let values = |tensor: &TensorHeader| {
        let (.., values) = written
            .iter()
            .find(|(name, ..)| *name == tensor.name)
            .unwrap();
        TensorContent::Values(values.into())
    };
    write_gguf(path, &metadata, &described, values).unwrap();
}

#[test]
fn a_gguf_gives_the_same_decoder() {
    let (folder, model) = saved(&llama());
    let path = folder.path().join("model.gguf");
    gguf(&path, folder.path(), &llama(), &[]);
    assert_eq!(find_model(&path).unwrap(), path);
    let read = read_config(&path).unwrap();
    assert_eq!(
        read,
        GptConfig {
            head_dim: 0,
            ..llama()
        }
    );
    let loaded = load_model(&path, &Device::flex()).unwrap();
    assert_eq!(named_values(&loaded), named_values(&model));
    assert_close(&hidden(&loaded), &hidden(&model), WHOLE_MODEL_F32, "hidden");
    assert_eq!(read_end_ids(&path).unwrap(), [2]);
}

#[test]
fn a_gguf_of_another_kind_is_refused_by_name() {
    let (folder, _) = saved(&llama());
    let path = folder.path().join("model.gguf");
    let refuse = |key: &str, value: GgufValue| {
        gguf(&path, folder.path(), &llama(), &[(key, value)]);
        read_config(&path).unwrap_err().to_string()
    };
    let mamba = refuse("general.architecture", "mamba".into());
    assert!(
        mamba.contains("\"mamba\" cannot be read, only gpt2, llama"),
        "{mamba}"
    );
    let experts = refuse("llama.expert_count", 8u32.into());
    assert!(experts.contains("mixtures of experts"), "{experts}");
    let partial = refuse("llama.rope.dimension_count", 2u32.into());
    assert!(partial.contains("with 2 rotated"), "{partial}");
    let huge = refuse("llama.block_count", 4_000_000_000u32.into());
    assert!(huge.contains("above 2147483648"), "{huge}");
    let many = refuse("llama.block_count", 2_000_000_000u32.into());
    assert!(many.contains("layers are more than 10000"), "{many}");
    let scaled = refuse("llama.rope.scaling.type", "longrope".into());
    assert!(scaled.contains("\"longrope\" is not supported"), "{scaled}");
}

/// The scaling of a file with these keys.
fn scaling(folder: &Path, extra: &[(&str, GgufValue)]) -> Result<RopeScaling, String> {
    let path = folder.join("model.gguf");
    gguf(&path, folder, &llama(), extra);
    let read = read_config(&path).map_err(|error| error.to_string());
    Ok(read?.rope_scaling)
}

/// The keys have the meaning that `llama_model::load_hparams` of llama.cpp gives them.
#[test]
fn keys_of_the_rotation_mean_what_llama_cpp_takes_them_for() {
    let (folder, _) = saved(&llama());
    let linear = RopeScaling::Linear { factor: 4.0 };
    let yarn = |original: usize, by: f64| RopeScaling::Yarn {
        factor: 4.0,
        original_max_seq_len: original,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: (0.1 * 4f64.ln() + 1.0) * by,
        truncate: true,
    };
    let factor = || ("llama.rope.scaling.factor", 4f32.into());
    let kind = |name: &str| ("llama.rope.scaling.type", GgufValue::from(name));
    let old = || ("llama.rope.scale_linear", 4f32.into());
    let attn = |by: f32| ("llama.rope.scaling.attn_factor", by.into());
    let original = ("llama.rope.scaling.original_context_length", 16u32.into());
    for (keys, expected) in [
        (vec![], RopeScaling::None),
        (vec![factor()], linear.clone()),
        (vec![factor(), kind("linear")], linear.clone()),
        (vec![old()], linear.clone()),
        (vec![old(), kind("linear")], linear.clone()),
        (
            vec![old(), ("llama.rope.scaling.factor", 1f32.into())],
            RopeScaling::None,
        ),
        (
            vec![("llama.rope.scaling.factor", 0f32.into())],
            RopeScaling::None,
        ),
        (vec![factor(), kind("none")], RopeScaling::None),
        (vec![factor(), kind("yarn")], yarn(32, 1.0)),
        (vec![old(), kind("yarn")], yarn(32, 1.0)),
        (
            vec![factor(), kind("yarn"), original.clone()],
            yarn(16, 1.0),
        ),
        (
            vec![factor(), kind("yarn"), original, attn(0.75)],
            yarn(16, 0.75),
        ),
        (vec![attn(1.0)], RopeScaling::None),
    ] {
        assert_eq!(scaling(folder.path(), &keys), Ok(expected), "{keys:?}");
    }
    for keys in [
        vec![attn(0.5)],
        vec![attn(0.5), factor()],
        vec![attn(f32::NAN)],
    ] {
        let refused = scaling(folder.path(), &keys).unwrap_err();
        assert!(
            refused.contains("llama.rope.scaling.attn_factor"),
            "{refused}"
        );
    }
}

#[test]
fn keys_that_would_change_the_numbers_are_refused_by_name() {
    let (folder, _) = saved(&llama());
    let yarn = ("llama.rope.scaling.type", GgufValue::from("yarn"));
    let read = |key: &str, value: &GgufValue, extra: &[(&str, GgufValue)]| {
        let all = [&[(key, value.clone())], extra].concat();
        scaling(folder.path(), &all)
    };
    for (key, neutral, other) in [
        (
            "llama.rope.scaling.yarn_log_multiplier",
            0f32.into(),
            GgufValue::from(0.1f32),
        ),
        (
            "llama.rope.scaling.yarn_ext_factor",
            1f32.into(),
            0.5f32.into(),
        ),
        (
            "llama.rope.scaling.yarn_attn_factor",
            1f32.into(),
            0.9f32.into(),
        ),
        (
            "llama.rope.scaling.yarn_beta_fast",
            32f32.into(),
            8f32.into(),
        ),
        (
            "llama.rope.scaling.yarn_beta_slow",
            1f32.into(),
            2f32.into(),
        ),
        ("llama.rope.scaling.alpha", 1f32.into(), 1000f32.into()),
        (
            "llama.rope.dimension_sections",
            vec![0u32, 0].into(),
            vec![16u32, 24].into(),
        ),
        ("llama.rope.of_tomorrow", 0u32.into(), 1u32.into()),
        ("llama.attention.scale", 0.5f32.into(), 0.25f32.into()),
        ("llama.attention.causal", true.into(), false.into()),
        ("llama.attention.max_alibi_bias", 0f32.into(), 8f32.into()),
        ("llama.attention.clamp_kqv", 0f32.into(), 8f32.into()),
        (
            "llama.attention.temperature_scale",
            0f32.into(),
            0.1f32.into(),
        ),
        ("llama.attention.q_lora_rank", 0u32.into(), 8u32.into()),
        ("llama.attention.of_tomorrow", false.into(), "yes".into()),
        (
            "llama.attention.head_count",
            vec![4u32, 4].into(),
            vec![4u32, 2].into(),
        ),
        (
            "llama.attention.head_count_kv",
            vec![2u32, 2].into(),
            0u32.into(),
        ),
        (
            "llama.feed_forward_length",
            vec![24u32, 24].into(),
            vec![24u32, 12].into(),
        ),
        ("llama.logit_scale", 1f32.into(), 0.5f32.into()),
        ("llama.final_logit_softcapping", 0f32.into(), 30f32.into()),
        ("llama.use_parallel_residual", false.into(), true.into()),
        ("llama.hidden_activation", "silu".into(), "gelu".into()),
    ] {
        let extra = std::slice::from_ref(&yarn);
        let found = read(key, &neutral, extra);
        assert!(found.is_ok(), "{key}: {found:?}");
        let refused = read(key, &other, extra).unwrap_err();
        assert!(refused.contains(key), "{refused}");
    }
    // Without YaRN they say nothing, and a pattern needs a window.
    let free = [
        ("llama.rope.scaling.yarn_beta_fast", GgufValue::from(8f32)),
        ("llama.rope.scaling.finetuned", true.into()),
        ("llama.attention.sliding_window_pattern", 2u32.into()),
        ("llama.rope.freq_base_swa", 5f32.into()),
    ];
    for (key, value) in &free {
        assert_eq!(read(key, value, &[]), Ok(RopeScaling::None), "{key}");
    }
    let window = [("llama.attention.sliding_window", 8u32.into())];
    for (key, value) in &free[2..] {
        let refused = read(key, value, &window).unwrap_err();
        assert!(refused.contains(key), "{refused}");
    }
}

#[test]
fn a_key_that_llama_cpp_needs_is_called_missing() {
    let (folder, model) = saved(&llama());
    let path = folder.path().join("model.gguf");
    save_gguf(&path, &model, Dtype::F32.into(), GgufMetadata::new()).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let headers: Vec<TensorHeader> = file
        .tensor_names()
        .into_iter()
        .map(|name| {
            let stored = file.stored(name).unwrap();
            TensorHeader {
                name: name.to_owned(),
                dtype: stored.dtype,
                shape: stored.shape,
            }
        })
        .collect();
    for key in [
        "llama.attention.layer_norm_rms_epsilon",
        "llama.attention.head_count",
        "llama.context_length",
    ] {
        let mut metadata = file.metadata().clone();
        metadata.remove(key).unwrap();
        let without = folder.path().join("without.gguf");
        write_gguf(&without, &metadata, &headers, |tensor| {
            TensorContent::Values(file.to_f32(&tensor.name).unwrap().into())
        })
        .unwrap();
        let said = read_config(&without).unwrap_err().to_string();
        assert!(said.contains(&format!("{key} is missing")), "{said}");
    }
}

/// A decoder of each architecture that is written.
fn written() -> Vec<(&'static str, GptConfig)> {
    let scaled = GptConfig {
        max_seq_len: 64,
        rope_theta: 500_000.0,
        rope_scaling: RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_seq_len: 8192,
        },
        head_dim: 32,
        ..llama()
    };
    vec![
        ("llama", scaled),
        (
            "llama",
            GptConfig {
                tied_head: true,
                qkv_bias: true,
                attn_out_bias: true,
                rope_scaling: RopeScaling::Linear { factor: 2.0 },
                ..llama()
            },
        ),
        (
            "qwen2",
            GptConfig {
                qkv_bias: true,
                ..llama()
            },
        ),
        (
            "llama",
            GptConfig {
                qkv_bias: true,
                rope_scaling: RopeScaling::Llama3 {
                    factor: 8.0,
                    low_freq_factor: 1.0,
                    high_freq_factor: 4.0,
                    original_max_seq_len: 8192,
                },
                head_dim: 32,
                ..llama()
            },
        ),
        (
            "llama",
            GptConfig {
                rope_scaling: RopeScaling::Yarn {
                    factor: 4.0,
                    original_max_seq_len: 16,
                    beta_fast: 32.0,
                    beta_slow: 1.0,
                    attention_factor: (0.1 * 4f64.ln() + 1.0) * 0.75,
                    truncate: true,
                },
                ..llama()
            },
        ),
        (
            "qwen3",
            GptConfig {
                qk_norm: true,
                head_dim: 6,
                ..llama()
            },
        ),
        (
            "gpt2",
            GptConfig {
                vocab_size: 50,
                max_seq_len: 32,
                d_model: 16,
                n_layers: 2,
                n_heads: 4,
                ..GptConfig::default()
            },
        ),
    ]
}

#[test]
fn a_written_gguf_gives_the_decoder_back() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for (architecture, config) in written() {
        let model = config.init(Seed(3), &device);
        let metadata = GgufMetadata::from([("general.name".to_owned(), "tiny".into())]);
        let size = save_gguf(&path, &model, Dtype::F32.into(), metadata).unwrap();
        assert_eq!(size, std::fs::metadata(&path).unwrap().len());
        let file = GgufFile::open(&path).unwrap();
        let text = |key: &str| file.require(key).unwrap().text().unwrap();
        assert_eq!(text("general.architecture"), architecture);
        assert_eq!(text("general.name"), "tiny");

        let loaded = load_model(&path, &device).unwrap();
        assert_eq!(
            named_values(&loaded),
            named_values(&model),
            "{architecture}"
        );
        let (found, config) = (loaded.config(), model.config());
        assert_eq!(found.rope_scaling, config.rope_scaling);
        assert_eq!(hidden(&loaded), hidden(&model), "{architecture}");
    }
}

#[test]
fn matrices_are_rounded_or_quantised_and_vectors_are_not() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let config = GptConfig {
        d_model: 32,
        n_heads: 8,
        d_ff: 48, // rows of the last projection are not whole blocks
        tied_head: true,
        ..llama()
    };
    let model = config.init(Seed(3), &device);
    for (dtype, coarse) in [
        (TensorType::from(Dtype::F16), 1e-3),
        (BlockType::Q8_0.into(), 1e-2),
        (BlockType::Q4_0.into(), 0.2),
    ] {
        save_gguf(&path, &model, dtype, GgufMetadata::new()).unwrap();
        let file = GgufFile::open(&path).unwrap();
        let stored = |name: &str| file.stored(name).unwrap().dtype;
        assert_eq!(stored("blk.1.attn_q.weight"), dtype);
        assert_eq!(stored("blk.1.attn_norm.weight"), Dtype::F32.into());
        let head = match dtype {
            TensorType::Blocks(_) => BlockType::Q8_0.into(),
            plain => plain,
        };
        assert_eq!(stored("token_embd.weight"), head, "it gives the logits");
        if dtype != Dtype::F16.into() {
            assert_eq!(stored("blk.1.ffn_down.weight"), Dtype::F16.into());
        }
        let loaded = load_model(&path, &device).unwrap();
        for (found, exact) in named_values(&loaded).iter().zip(named_values(&model)) {
            let largest = exact.values.iter().fold(0f32, |a, x| a.max(x.abs()));
            for (found, exact) in found.values.iter().zip(&exact.values) {
                let error = (found - exact).abs();
                assert!(error <= coarse * largest, "{dtype}: {found} {exact}");
            }
        }
    }
}

#[test]
fn what_llama_cpp_has_no_architecture_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |config: GptConfig, dtype: TensorType| {
        let model = config.init(Seed(3), &Device::flex());
        let path = folder.path().join("model.gguf");
        let refused = save_gguf(&path, &model, dtype, GgufMetadata::new()).unwrap_err();
        assert!(!path.exists());
        refused.to_string()
    };
    let window = GptConfig {
        window: 8,
        ..llama()
    };
    let squared = GptConfig {
        activation: sinterlm_model::Activation::ReluSquared,
        ..llama()
    };
    let single = TensorType::from(Dtype::F32);
    assert!(refuse(window, single).contains("with this sliding window"));
    assert!(refuse(squared, single).contains("without RMS norm and SwiGLU"));
    let coded = refuse(llama(), BlockType::Q6K.into());
    assert!(coded.contains("can be read and not encoded"), "{coded}");
}
