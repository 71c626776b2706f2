//! Published families as options of the one decoder, against the numbers of `transformers`.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;
use std::convert::Infallible;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor};
use sinterlm_formats::{Dtype, SafetensorsFile};
use sinterlm_kernels::{CrossEntropyOptions, MatmulPrecision, linear, linear_cross_entropy};
use sinterlm_model::{
    Activation, CausalLm, ForwardCtx, Gpt, GptConfig, LoadOptions, NormKind, PathStack, Positions,
    RopeScaling, SaveOptions, TokenBatch, load_model, load_model_with, named_values, read_config,
    read_end_ids, save_model, save_model_with,
};
use sinterlm_testkit::{Golden, WHOLE_MODEL_F32, assert_close, fixed_weight, fixture};

const ROWS: usize = 2;

fn llama() -> GptConfig {
    GptConfig {
        vocab_size: 61,
        max_seq_len: 64,
        d_model: 32,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        d_ff: 48,
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        qkv_bias: false,
        attn_out_bias: false,
        mlp_bias: false,
        activation: Activation::Swiglu,
        ..GptConfig::default()
    }
}

fn untied() -> GptConfig {
    GptConfig {
        tied_head: false,
        ..llama()
    }
}

const LLAMA3: RopeScaling = RopeScaling::Llama3 {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_seq_len: 32,
};

/// Name of the fixture and the decoder's options.
fn families() -> [(&'static str, GptConfig); 6] {
    [
        (
            "gpt2",
            GptConfig {
                vocab_size: 61,
                max_seq_len: 16,
                d_model: 32,
                n_layers: 2,
                n_heads: 4,
                ..GptConfig::default()
            },
        ),
        ("llama", llama()),
        (
            "llama3",
            GptConfig {
                qkv_bias: true,
                attn_out_bias: true,
                rope_theta: 500_000.0,
                rope_scaling: LLAMA3,
                ..untied()
            },
        ),
        (
            "mistral",
            GptConfig {
                window: 5,
                ..untied()
            },
        ),
        (
            "qwen2",
            GptConfig {
                qkv_bias: true,
                rope_theta: 1e6,
                window: 4,
                global_layers: vec![0],
                ..llama()
            },
        ),
        (
            "qwen3",
            GptConfig {
                head_dim: 12,
                qk_norm: true,
                rope_theta: 1e6,
                ..untied()
            },
        ),
    ]
}

fn model(config: &GptConfig, device: &Device) -> Gpt {
    let filled = config.init_from(device, |spec| {
        Ok::<_, Infallible>(fixed_weight(&spec.path, &spec.shape))
    });
    filled.expect("nothing can fail")
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn ids(golden: &Golden) -> Vec<u32> {
    golden.i64("ids").iter().map(|id| *id as u32).collect()
}

fn logits(model: &Gpt, hidden: Tensor<3>) -> Vec<f32> {
    values(linear(
        hidden,
        model.head().linear.weight.val(),
        None,
        MatmulPrecision::F32,
    ))
}

/// Holds every parameter's gradient against the fixture.
struct Compare<'a> {
    golden: &'a Golden,
    tape: &'a mut Gradients,
    stack: PathStack,
    compared: usize,
}

impl ModuleVisitor for Compare<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        let grad = param.val().grad_remove(self.tape);
        let grad = values(grad.unwrap_or_else(|| panic!("{path}: none")));
        let expected = self.golden.f64(&format!("grad.{path}"));
        // A key bias shifts all scores of a query alike, unless rotation makes it differ by key.
        if expected.iter().any(|x| x.abs() > 1e-6) || !path.ends_with("attn.k.bias") {
            assert_close(&grad, expected, WHOLE_MODEL_F32, &path);
        }
        self.compared += 1;
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

#[test]
fn logits_loss_and_all_gradients_equal_transformers() {
    let device = Device::flex().autodiff();
    for (name, config) in families() {
        println!("{name}");
        let golden = Golden::load(fixture(&format!("family_{name}.safetensors")));
        let model = model(&config, &device);
        let tokens = TokenBatch::dense(&ids(&golden), ROWS, &device);
        let hidden = model.hidden(&tokens, &ForwardCtx::default(), None);
        let found = logits(&model, hidden.clone());
        assert_close(&found, golden.f64("logits"), WHOLE_MODEL_F32, name);

        let count = found.len() / config.vocab_size;
        let targets: Vec<i32> = golden.i64("targets").iter().map(|id| *id as i32).collect();
        let loss = linear_cross_entropy(
            hidden.reshape([count, config.d_model]),
            model.head().linear.weight.val(),
            Tensor::<1, Int>::from_data(&targets[..], &device),
            Tensor::full([count], 1.0 / count as f64, &device),
            &CrossEntropyOptions::default(),
        );
        let mean = values(loss.clone());
        assert_close(&mean, golden.f64("loss"), WHOLE_MODEL_F32, name);
        let mut tape = loss.backward();
        let mut compare = Compare {
            golden: &golden,
            tape: &mut tape,
            stack: PathStack::default(),
            compared: 0,
        };
        model.visit(&mut compare);
        let expected = golden.names().filter(|name| name.starts_with("grad."));
        assert_eq!(compare.compared, expected.count(), "{name}: parameters");
    }
}

/// Writes the `config.json` that a fixture holds under `key`.
fn folder_of(golden: &Golden, key: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), golden.about(key)).unwrap();
    folder
}

#[test]
fn config_files_describe_the_same_decoders() {
    for (name, mut config) in families() {
        let golden = Golden::load(fixture(&format!("family_{name}.safetensors")));
        if name == "gpt2" {
            config.dropout = 0.1; // by default of its class
        }
        let read = read_config(folder_of(&golden, "config").path()).unwrap();
        assert_eq!(read, config, "{name}");
    }
}

/// Sizes of published checkpoints, as `transformers` counts them.
#[test]
fn published_models_have_their_number_of_parameters() {
    let [qwen, tied] = [r#""model_type": "qwen"#, r#""tie_word_embeddings": true"#];
    let smollm2 = format!(
        r#"{{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, {tied},
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 100000}}"#
    );
    let llama3_2 = format!(
        r#"{{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, {tied},
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
        "vocab_size": 128256, "max_position_embeddings": 131072, "rope_theta": 500000.0,
        "rope_scaling": {{"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"}}}}"#
    );
    let qwen2_5 = format!(
        r#"{{{qwen}2", "hidden_size": 896, "intermediate_size": 4864, {tied},
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "vocab_size": 151936, "max_position_embeddings": 32768, "sliding_window": 32768,
        "use_sliding_window": false, "max_window_layers": 21}}"#
    );
    let qwen3 = format!(
        r#"{{{qwen}3", "hidden_size": 1024, "intermediate_size": 3072, {tied}, "head_dim": 128,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "vocab_size": 151936, "max_position_embeddings": 40960, "rope_scaling": null}}"#
    );
    let mistral = r#"{"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32000, "max_position_embeddings": 32768, "sliding_window": 4096}"#;
    let folder = tempfile::tempdir().unwrap();
    for (text, parameters, window) in [
        (smollm2.as_str(), 134_515_008, 0),
        (llama3_2.as_str(), 1_235_814_400, 0),
        (qwen2_5.as_str(), 494_032_768, 0),
        (qwen3.as_str(), 596_049_920, 0),
        (mistral, 7_241_732_096, 4096),
    ] {
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let config = read_config(folder.path()).unwrap();
        assert_eq!(config.parameters().total, parameters, "{text}");
        assert_eq!(config.window, window, "{text}");
    }
}

#[test]
fn folders_have_the_tensors_of_transformers_and_come_back() {
    let device = Device::flex();
    for (name, config) in families() {
        let golden = Golden::load(fixture(&format!("family_{name}.safetensors")));
        let model = model(&config, &device);
        let folder = tempfile::tempdir().unwrap();
        save_model(folder.path(), &model, 7).unwrap();

        let file = SafetensorsFile::open(folder.path().join("model.safetensors")).unwrap();
        let written: BTreeMap<String, Vec<usize>> = file
            .names()
            .map(|name| (name.to_owned(), file.tensor(name).unwrap().shape.clone()))
            .collect();
        let expected: BTreeMap<String, Vec<usize>> =
            serde_json::from_str(golden.about("tensors")).unwrap();
        assert_eq!(written, expected, "{name}");

        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let written = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        let (written, expected) = (json(&written), json(golden.about("config")));
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&written[key], value, "{name}: {key}");
        }
        assert_eq!(read_end_ids(folder.path()).unwrap(), [7]);

        let options = LoadOptions::default();
        let (loaded, report) = load_model_with(folder.path(), &device, &options).unwrap();
        assert_eq!(named_values(&loaded), named_values(&model), "{name}");
        assert_eq!(report.loaded, named_values(&model).len(), "{name}");
        let in_place = name != "gpt2"; // which stores its matrices transposed
        assert_eq!(report.copied_bytes == 0, in_place, "{name}: {report:?}");
    }
}

#[test]
fn half_floats_and_marks_are_written_as_asked() {
    let device = Device::flex();
    for (name, config) in families() {
        let model = model(&config, &device);
        for (dtype, called, error) in [
            (Dtype::F16, "float16", 1.0 / 2048.0),
            (Dtype::BF16, "bfloat16", 1.0 / 256.0),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let options = SaveOptions {
                dtype,
                begin: None,
                ends: vec![3, 5],
            };
            save_model_with(folder.path(), &model, &options).unwrap();
            let file = SafetensorsFile::open(folder.path().join("model.safetensors")).unwrap();
            assert!(
                file.names()
                    .all(|name| file.tensor(name).unwrap().dtype == dtype)
            );
            let written = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
            let written: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(written["torch_dtype"], called);
            assert!(written["bos_token_id"].is_null());
            assert_eq!(read_end_ids(folder.path()).unwrap(), [3, 5]);
            let loaded = load_model(folder.path(), &device).unwrap();
            for (found, exact) in named_values(&loaded).iter().zip(named_values(&model)) {
                assert_eq!(found.path, exact.path);
                for (found, exact) in found.values.iter().zip(&exact.values) {
                    let near = (found - exact).abs() <= error * exact.abs() + 1e-7;
                    assert!(near, "{name}, {dtype}: {found} {exact}");
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let options = SaveOptions {
            dtype: Dtype::I32,
            ..SaveOptions::new(0)
        };
        let refused = save_model_with(folder.path(), &model, &options).unwrap_err();
        assert!(refused.to_string().contains("only F32, F16 and BF16"));
    }
}

#[test]
fn rotations_of_every_scaling_equal_transformers() {
    let device = Device::flex();
    let golden = Golden::load(fixture("family_scaled.safetensors"));
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_max_seq_len: 16,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 0.1 * 4f64.ln() + 1.0,
        truncate: true,
    };
    let dynamic = RopeScaling::Dynamic {
        factor: 3.0,
        original_max_seq_len: 8,
    };
    for (name, rope_scaling) in [
        ("linear", RopeScaling::Linear { factor: 4.0 }),
        ("dynamic", dynamic),
        ("yarn", yarn),
        ("llama3", LLAMA3),
    ] {
        let config = GptConfig {
            rope_scaling,
            ..llama()
        };
        let read = read_config(folder_of(&golden, &format!("config.{name}")).path()).unwrap();
        assert_eq!(read.rope_scaling, config.rope_scaling, "{name}");
        let model = model(&config, &device);
        let tokens = TokenBatch::dense(&ids(&golden), ROWS, &device);
        let found = logits(&model, model.hidden(&tokens, &ForwardCtx::default(), None));
        let expected = golden.f64(&format!("logits.{name}"));
        assert_close(&found, expected, WHOLE_MODEL_F32, name);
    }
}
