//! Supervised loading: whatever does not match is refused in one report; shards, half floats, GGUF
//! and llama2.c give the same decoder.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_formats::{
    Dtype, GgufData, GgufMetadata, GgufTensor, GgufValue, SafetensorsFile, TensorEntry, TensorType,
    write_gguf, write_safetensors,
};
use sinterlm_kernels::{MatmulPrecision, linear};
use sinterlm_model::{
    Activation, CausalLm, ForwardCtx, Gpt, GptConfig, LoadOptions, ModelError, NormKind, Positions,
    TokenBatch, find_model, load_model, load_model_with, named_values, read_config, read_end_ids,
    save_model,
};
use sinterlm_testkit::{Golden, WHOLE_MODEL_F32, assert_close, fixture, test_data};

/// Name, type, shape and bytes of a tensor.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn llama() -> GptConfig {
    GptConfig {
        vocab_size: 50,
        max_seq_len: 32,
        d_model: 16,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 4,
        d_ff: 24,
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        qkv_bias: false,
        attn_out_bias: false,
        mlp_bias: false,
        activation: Activation::Swiglu,
        tied_head: false,
        ..GptConfig::default()
    }
}

fn saved(config: &GptConfig) -> (tempfile::TempDir, Gpt) {
    let model = config.init(Seed(3), &Device::flex());
    let folder = tempfile::tempdir().unwrap();
    save_model(folder.path(), &model, 0).unwrap();
    (folder, model)
}

fn tensors(folder: &Path) -> Vec<Stored> {
    let file = SafetensorsFile::open(folder.join("model.safetensors")).unwrap();
    file.names()
        .map(|name| {
            let tensor = file.tensor(name).unwrap();
            (
                name.to_owned(),
                tensor.dtype,
                tensor.shape.clone(),
                tensor.data.to_vec(),
            )
        })
        .collect()
}

fn write(path: &Path, tensors: &[Stored]) {
    let entry = |(name, dtype, shape, data): &Stored| TensorEntry {
        name: name.clone(),
        dtype: *dtype,
        shape: shape.clone(),
        data: data.clone().into(),
    };
    let entries: Vec<TensorEntry<'_>> = tensors.iter().map(entry).collect();
    write_safetensors(path, &entries, &BTreeMap::new()).unwrap();
}

/// Rewrites a saved model's tensors.
fn changed(config: &GptConfig, change: impl Fn(&mut Vec<Stored>)) -> tempfile::TempDir {
    let (folder, _) = saved(config);
    let mut all = tensors(folder.path());
    change(&mut all);
    write(&folder.path().join("model.safetensors"), &all);
    folder
}

fn rename(tensors: &mut [Stored], from: &str, to: &str) {
    for (name, ..) in tensors {
        *name = name.replace(from, to);
    }
}

fn hidden(model: &Gpt) -> Vec<f32> {
    let ids: Vec<u32> = (0..20).map(|i| i * 7 % 50).collect();
    let tokens = TokenBatch::dense(&ids, 1, &Device::flex());
    let hidden: Tensor<3> = model.hidden(&tokens, &ForwardCtx::default(), None);
    hidden.into_data().try_into_vec().unwrap()
}

#[test]
fn everything_that_does_not_match_is_told_in_one_report() {
    let folder = changed(&llama(), |tensors| {
        rename(
            tensors,
            "layers.1.mlp.up_proj",
            "layers.1.mlp.up_projection",
        );
        tensors.retain(|(name, ..)| name != "model.layers.0.self_attn.q_proj.weight");
        let norm = tensors
            .iter_mut()
            .find(|(name, ..)| name == "model.norm.weight");
        let norm = norm.unwrap();
        norm.2 = vec![15];
        norm.3.truncate(60);
        let gate = tensors
            .iter_mut()
            .find(|(name, ..)| name.contains("0.mlp.gate_proj"));
        gate.unwrap().1 = Dtype::I32;
        tensors.push((
            "model.layers.2.weight".into(),
            Dtype::F32,
            vec![1],
            vec![0; 4],
        ));
        // Known to do no harm.
        let table = "model.layers.0.self_attn.rotary_emb.inv_freq";
        tensors.push((table.into(), Dtype::F32, vec![1], vec![0; 4]));
    });
    let error = load_model(folder.path(), &Device::flex()).unwrap_err();
    let report = error.to_string();
    for line in [
        "6 tensors and the model do not match",
        "`model.layers.1.mlp.up_proj.weight` is missing, there is `model.layers.1.mlp.up_projection.weight`",
        "`model.layers.0.self_attn.q_proj.weight` is missing",
        "`model.norm.weight` is [15], the model needs [16]",
        "`model.layers.0.mlp.gate_proj.weight` holds I32, not floats",
        "`model.layers.2.weight` is taken by no parameter",
    ] {
        assert!(report.contains(line), "{line}\nin {report}");
    }
    assert!(!report.contains("inv_freq"), "{report}");
    let ModelError::Weights(faults) = error else {
        panic!("{report}");
    };
    assert_eq!(
        (
            faults.missing.len(),
            faults.unfit.len(),
            faults.unused.len()
        ),
        (2, 2, 2)
    );
}

#[test]
fn a_load_may_be_asked_to_pass_over_missing_and_unused_tensors() {
    let folder = changed(&llama(), |tensors| {
        rename(tensors, "layers.1.mlp.up_proj", "layers.1.mlp.other");
    });
    let device = Device::flex();
    let options = LoadOptions {
        fill_missing: Some(Seed(8)),
        allow_unused: true,
    };
    let (model, report) = load_model_with(folder.path(), &device, &options).unwrap();
    assert_eq!(report.missing, ["model.layers.1.mlp.up_proj.weight"]);
    assert_eq!(report.unused, ["model.layers.1.mlp.other.weight"]);
    let drawn = named_values(&llama().init(Seed(8), &device));
    let saved = named_values(&llama().init(Seed(3), &device));
    for ((found, drawn), saved) in named_values(&model).iter().zip(&drawn).zip(&saved) {
        let missing = found.path == "blocks.1.mlp.up.weight";
        assert_eq!(found, if missing { drawn } else { saved });
    }
    for options in [
        LoadOptions {
            fill_missing: None,
            ..options
        },
        LoadOptions {
            allow_unused: false,
            ..options
        },
    ] {
        assert!(load_model_with(folder.path(), &device, &options).is_err());
    }
}

#[test]
fn shards_base_names_and_either_name_of_a_tied_table_are_understood() {
    let device = Device::flex();
    let config = GptConfig {
        tied_head: true,
        ..llama()
    };
    let (folder, model) = saved(&config);
    let expected = named_values(&model);
    let same = |folder: &Path| {
        let loaded = load_model(folder, &device).unwrap();
        assert_eq!(named_values(&loaded), expected);
    };

    let all = tensors(folder.path());
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let (first, second) = all.split_at(all.len() / 2);
    let mut weight_map = BTreeMap::new();
    for (shard, part) in [("a.safetensors", first), ("b.safetensors", second)] {
        write(&folder.path().join(shard), part);
        weight_map.extend(part.iter().map(|(name, ..)| (name.clone(), shard)));
    }
    let index = serde_json::json!({ "weight_map": weight_map });
    let path = folder.path().join("model.safetensors.index.json");
    std::fs::write(path, index.to_string()).unwrap();
    same(folder.path());

    same(changed(&config, |tensors| rename(tensors, "model.", "")).path());
    same(
        changed(&config, |tensors| {
            rename(tensors, "model.embed_tokens.weight", "lm_head.weight");
        })
        .path(),
    );
    let with_copy = changed(&config, |tensors| {
        let mut head = tensors
            .iter()
            .find(|(name, ..)| name.contains("embed"))
            .unwrap()
            .clone();
        head.0 = "lm_head.weight".into();
        tensors.push(head);
    });
    same(with_copy.path());
}

#[test]
fn mapped_weights_may_be_trained_and_leave_their_file_alone() {
    let (folder, model) = saved(&llama());
    let path = folder.path().join("model.safetensors");
    let before = std::fs::read(&path).unwrap();
    let device = Device::flex().autodiff();
    let (mut mapped, report) =
        load_model_with(folder.path(), &device, &LoadOptions::default()).unwrap();
    assert_eq!(report.copied_bytes, 0, "{report:?}");

    struct Move;
    impl burn::module::ModuleMapper for Move {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            param.map(|tensor| (tensor.detach() + 1.0).detach().require_grad())
        }
    }
    mapped = burn::module::Module::map(mapped, &mut Move);
    for (moved, saved) in named_values(&mapped).iter().zip(named_values(&model)) {
        let pairs = moved.values.iter().zip(&saved.values);
        assert!(
            pairs
                .into_iter()
                .all(|(moved, saved)| *moved == saved + 1.0)
        );
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn half_floats_are_widened() {
    let folder = changed(&llama(), |tensors| {
        for (_, dtype, _, data) in tensors {
            *dtype = Dtype::BF16;
            *data = data
                .chunks(4)
                .flat_map(|value| [value[2], value[3]])
                .collect();
        }
    });
    let device = Device::flex();
    let (model, report) = load_model_with(folder.path(), &device, &LoadOptions::default()).unwrap();
    assert_eq!(report.mapped_bytes, 0);
    let exact = named_values(&llama().init(Seed(3), &device));
    for (found, exact) in named_values(&model).iter().zip(&exact) {
        for (found, exact) in found.values.iter().zip(&exact.values) {
            assert_eq!(found.to_bits(), exact.to_bits() & 0xffff_0000);
        }
    }
}

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
    let described: Vec<GgufTensor> = written
        .iter()
        .map(|(name, shape, _)| GgufTensor {
            name: name.clone(),
            dtype: TensorType::from(Dtype::F32),
            shape: shape.clone(),
        })
        .collect();
    let values = |tensor: &GgufTensor| {
        let (.., values) = written
            .iter()
            .find(|(name, ..)| *name == tensor.name)
            .unwrap();
        GgufData::Values(values.into())
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

/// Really trained weights in the legacy format of llama2.c; the stored continuation of the start
/// token is that of llama2.c itself and of a re-implementation in f64.
#[test]
fn a_trained_llama2c_file_continues_as_llama2c_does() {
    let Some(path) = test_data("weights_tiny_llama/aidreams260K.bin") else {
        return;
    };
    let device = Device::flex();
    let model = load_model(&path, &device).unwrap();
    let text = std::fs::read_to_string(path.with_file_name("aidreams260K_greedy.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(stored[key].clone()).unwrap() };
    let expected: Vec<u32> = numbers("greedy_ids").iter().map(|id| *id as u32).collect();

    let mut cache = model.new_cache(1, 128);
    let mut found = vec![1];
    while found.len() < 128 {
        let last = [found[found.len() - 1]];
        let tokens = TokenBatch::continuing(&last, 1, cache.len(), &device);
        let logits = model.last_logits(&tokens, &ForwardCtx::default(), Some(&mut cache));
        let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        if found.len() == 1 {
            assert_close(
                &logits,
                &numbers("logits_after_bos_float64"),
                WHOLE_MODEL_F32,
                "logits",
            );
        }
        let order = |a: &usize, b: &usize| logits[*a].total_cmp(&logits[*b]);
        found.push((0..logits.len()).max_by(order).unwrap() as u32);
    }
    assert_eq!(found[found.len() - expected.len()..], expected);
}

#[test]
fn config_files_of_other_models_are_refused_by_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |change: serde_json::Value| {
        let (saved_folder, _) = saved(&llama());
        let text = std::fs::read_to_string(saved_folder.path().join("config.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (key, value) in change.as_object().unwrap() {
            json[key] = value.clone();
        }
        std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
        read_config(folder.path()).unwrap_err().to_string()
    };
    for (change, said) in [
        (
            serde_json::json!({ "model_type": "mamba" }),
            "model_type \"mamba\" cannot be read, only llama",
        ),
        (
            serde_json::json!({ "hidden_act": "gelu" }),
            "hidden_act \"gelu\" is not supported",
        ),
        (
            serde_json::json!({ "rope_scaling": { "type": "su", "factor": 2 } }),
            "rope_type \"su\"",
        ),
        (
            serde_json::json!({ "rope_scaling": { "type": "linear" } }),
            "lacks factor",
        ),
        (
            serde_json::json!({ "partial_rotary_factor": 0.5 }),
            "partial_rotary_factor 0.5",
        ),
        (
            serde_json::json!({ "num_hidden_layers": 1_000_000 }),
            "1000000 layers are more",
        ),
        (
            serde_json::json!({ "hidden_size": 1u64 << 40 }),
            "hidden_size is 1099511627776",
        ),
        (
            serde_json::json!({ "hidden_size": -1 }),
            "hidden_size is -1",
        ),
        (
            serde_json::json!({ "num_key_value_heads": 3 }),
            "n_kv_heads: 3 does not divide",
        ),
        (
            serde_json::json!({ "quantization_config": { "quant_method": "gptq" } }),
            "quantised by gptq",
        ),
    ] {
        let found = refuse(change);
        assert!(found.contains(said), "{said}\nin {found}");
    }
}

#[test]
fn the_newest_keys_of_rotation_are_read_too() {
    let (folder, _) = saved(&llama());
    let path = folder.path().join("config.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    json.as_object_mut()
        .unwrap()
        .retain(|key, _| !key.starts_with("rope"));
    json["rope_parameters"] = serde_json::json!({ "rope_type": "default", "rope_theta": 5e5 });
    json["eos_token_id"] = serde_json::json!([3, 9]);
    std::fs::write(&path, json.to_string()).unwrap();
    let read = read_config(folder.path()).unwrap();
    assert_eq!(
        read,
        GptConfig {
            rope_theta: 5e5,
            ..llama()
        }
    );
    assert_eq!(read_end_ids(folder.path()).unwrap(), [3, 9]);
    let generation = folder.path().join("generation_config.json");
    std::fs::write(generation, "{\"eos_token_id\": [4]}").unwrap();
    assert_eq!(read_end_ids(folder.path()).unwrap(), [4]);
}

/// Published weights, dequantised: the numbers are those of `transformers` on the same file, see
/// `fixtures/gen_smollm2.py`.
#[test]
fn the_published_smollm2_gives_the_logits_of_transformers() {
    let Some(path) = std::env::var_os("SINTERLM_SMOLLM2") else {
        eprintln!("skipped: set SINTERLM_SMOLLM2 to the GGUF of SmolLM2-135M-Instruct in Q4_1");
        return;
    };
    let golden = Golden::load(fixture("smollm2.json"));
    let device = Device::flex();
    let (model, report) =
        load_model_with(Path::new(&path), &device, &LoadOptions::default()).unwrap();
    assert_eq!(model.config().parameters().total, 134_515_008);
    assert_eq!(report.loaded, named_values(&model).len());

    let ids: Vec<u32> = golden.i64("ids").iter().map(|id| *id as u32).collect();
    let tokens = TokenBatch::dense(&ids, 1, &device);
    let hidden = model.hidden(&tokens, &ForwardCtx::default(), None);
    let logits = linear(hidden, model.head().weight, None, MatmulPrecision::F32);
    let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
    let vocab = logits.len() / ids.len();
    for (at, expected) in golden
        .i64("positions")
        .iter()
        .zip(golden.f64("logits").chunks(8))
    {
        let found = &logits[*at as usize * vocab..][..vocab];
        let places = golden.i64("places");
        let found: Vec<f32> = places.iter().map(|place| found[*place as usize]).collect();
        assert_close(&found, expected, WHOLE_MODEL_F32, &format!("position {at}"));
    }
}
