//! What must hold for any decoder: causality, caching, seeds, and folders that come back whole.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_formats::{Dtype, SafetensorsFile, TensorEntry, write_safetensors};
use sinterlm_model::{
    Activation, CausalLm, ForwardCtx, Gpt, GptConfig, Precision, Preset, TokenBatch, load_model,
    named_values, save_model,
};
use sinterlm_testkit::{SINGLE_OP_F32, WHOLE_MODEL_F32, assert_close};

/// Name, shape and values of a tensor in a file.
type Stored = (String, Vec<usize>, Vec<f32>);

fn config() -> GptConfig {
    GptConfig {
        vocab_size: 97,
        max_seq_len: 24,
        d_model: 48,
        n_heads: 3,
        ..Preset::Tiny.config()
    }
}

fn ids(count: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i + 3 * i) % 97) as u32).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn hidden(model: &Gpt, ids: &[u32], rows: usize) -> Vec<f32> {
    let tokens = TokenBatch::dense(ids, rows, &Device::flex());
    values(model.hidden(&tokens, &ForwardCtx::default(), None))
}

#[test]
fn a_later_token_never_moves_earlier_activations() {
    let model = config().init(Seed(3), &Device::flex());
    let (mut changed, original) = (ids(20), ids(20));
    changed[12] = 60;
    let (a, b) = (hidden(&model, &original, 1), hidden(&model, &changed, 1));
    let width = config().d_model;
    assert_close(
        &a[..12 * width],
        &b[..12 * width],
        SINGLE_OP_F32,
        "before the change",
    );
    assert!(a[12 * width..] != b[12 * width..], "from the change on");
}

#[test]
fn cached_steps_equal_the_full_pass() {
    let device = Device::flex();
    let model = config().init(Seed(3), &device);
    let text = ids(20);
    let full = hidden(&model, &text, 1);
    let mut cache = model.new_cache(1, 24);
    let mut stepped = Vec::new();
    for piece in [&text[..7], &text[7..8], &text[8..9], &text[9..20]] {
        let tokens = TokenBatch::ragged(&[(cache.len(), piece)], &device);
        stepped.extend(values(model.hidden(
            &tokens,
            &ForwardCtx::default(),
            Some(&mut cache),
        )));
    }
    assert_eq!(cache.len(), 20);
    assert_close(&stepped, &full, WHOLE_MODEL_F32, "hidden");
}

#[test]
fn rows_of_a_batch_equal_single_rows() {
    let model = config().init(Seed(3), &Device::flex());
    let text = ids(32);
    let both = hidden(&model, &text, 2);
    let alone: Vec<f32> = text
        .chunks(16)
        .flat_map(|row| hidden(&model, row, 1))
        .collect();
    assert_close(&both, &alone, WHOLE_MODEL_F32, "hidden");
}

#[test]
fn the_same_seed_gives_the_same_weights_on_any_device_and_order_of_use() {
    let first = config().init(Seed(9), &Device::flex());
    let other = config().init(Seed(9), &Device::flex().autodiff());
    let _ = hidden(&first, &ids(4), 1);
    assert_eq!(named_values(&first), named_values(&other));
    let next = config().init(Seed(10), &Device::flex());
    assert!(named_values(&first) != named_values(&next));
}

#[test]
fn initial_weights_follow_gpt2() {
    let model = Preset::Small.config().init(Seed(1), &Device::flex());
    let layers = Preset::Small.config().n_layers as f64;
    for param in named_values(&model) {
        let count = param.values.len() as f64;
        let mean = param.values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let square = param
            .values
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            / count;
        let std = (square - mean * mean).sqrt();
        let residual =
            param.path.ends_with("attn.out.weight") || param.path.ends_with("down.weight");
        let (expected_mean, expected_std) = match (param.shape.len(), param.path.as_str()) {
            (2, _) if residual => (0.0, 0.02 / (2.0 * layers).sqrt()),
            (2, _) => (0.0, 0.02),
            (_, path) if path.ends_with("bias") => (0.0, 0.0),
            _ => (1.0, 0.0),
        };
        assert!(
            (mean - expected_mean).abs() < 4e-4,
            "{}: mean {mean}",
            param.path
        );
        assert!(
            (std - expected_std).abs() <= 0.02 * expected_std + 1e-9,
            "{}: {std}",
            param.path
        );
    }
}

#[test]
fn counted_parameters_are_the_ones_made() {
    for preset in [Preset::Tiny, Preset::Small] {
        for (tied_head, qkv_bias) in [(true, true), (false, false)] {
            let config = GptConfig {
                tied_head,
                qkv_bias,
                ..preset.config()
            };
            let made: usize = named_values(&config.init(Seed(0), &Device::flex()))
                .iter()
                .map(|param| param.values.len())
                .sum();
            assert_eq!(config.parameters().total, made as u64);
        }
    }
}

#[test]
fn dropout_acts_in_training_alone() {
    let device = Device::flex().autodiff();
    let config = GptConfig {
        dropout: 0.3,
        ..config()
    };
    let model = config.init(Seed(3), &device);
    let tokens = TokenBatch::dense(&ids(16), 1, &device);
    let run = |dropout_key| {
        let ctx = ForwardCtx {
            dropout_key,
            ..ForwardCtx::default()
        };
        values(model.hidden(&tokens, &ctx, None))
    };
    assert_eq!(run(None), run(None));
    assert_eq!(run(Some(1)), run(Some(1)));
    assert!(run(Some(1)) != run(Some(2)) && run(Some(1)) != run(None));
}

#[test]
fn bf16_products_stay_near_f32() {
    let device = Device::flex();
    let model = config().init(Seed(3), &device);
    let tokens = TokenBatch::dense(&ids(16), 1, &device);
    let run = |precision| values(model.hidden(&tokens, &ForwardCtx::evaluation(precision), None));
    let (single, half) = (run(Precision::F32), run(Precision::Bf16));
    assert!(single != half, "bf16 was used");
    assert_close(&half, &single, sinterlm_testkit::BF16, "hidden");
}

#[test]
fn a_folder_gives_the_model_back() {
    let device = Device::flex();
    for (tied_head, qkv_bias, activation) in [
        (true, true, Activation::GeluTanh),
        (false, false, Activation::Gelu),
    ] {
        let config = GptConfig {
            tied_head,
            qkv_bias,
            activation,
            d_ff: 80,
            dropout: 0.1,
            ..config()
        };
        let model = config.init(Seed(7), &device);
        let folder = tempfile::tempdir().unwrap();
        save_model(folder.path(), &model, 0).unwrap();
        let loaded = load_model(folder.path(), &device).unwrap();
        assert_eq!(loaded.config().d_ff(), 80);
        assert_eq!(
            GptConfig {
                d_ff: 80,
                ..loaded.config().clone()
            },
            config
        );
        assert_eq!(named_values(&loaded), named_values(&model));
    }
}

#[test]
fn a_folder_of_another_shape_or_with_missing_or_surplus_tensors_is_refused_by_name() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    save_model(folder.path(), &config().init(Seed(7), &device), 0).unwrap();
    let path = folder.path().join("model.safetensors");
    let refuse = |change: &dyn Fn(&mut Vec<Stored>)| {
        let file = SafetensorsFile::open(&path).unwrap();
        let mut tensors: Vec<_> = file
            .names()
            .map(|name| {
                let name = name.to_string();
                let shape = file.tensor(&name).unwrap().shape.clone();
                let values = file.to_f32(&name).unwrap();
                (name, shape, values)
            })
            .collect();
        change(&mut tensors);
        let entries: Vec<TensorEntry<'_>> = tensors
            .iter()
            .map(|(name, shape, values)| TensorEntry {
                name: name.clone(),
                dtype: Dtype::F32,
                shape: shape.clone(),
                data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            })
            .collect();
        let changed = tempfile::tempdir().unwrap();
        std::fs::copy(
            folder.path().join("config.json"),
            changed.path().join("config.json"),
        )
        .unwrap();
        let out = changed.path().join("model.safetensors");
        write_safetensors(&out, &entries, &BTreeMap::new()).unwrap();
        load_model(changed.path(), &device).unwrap_err().to_string()
    };
    let missing = refuse(&|tensors| tensors.retain(|(name, ..)| !name.contains("h.1.mlp.c_fc.w")));
    assert!(
        missing.contains("`transformer.h.1.mlp.c_fc.weight` is missing"),
        "{missing}"
    );
    let surplus = refuse(&|tensors| tensors.push(("q_proj.weight".into(), vec![1], vec![0.0])));
    assert!(surplus.contains("q_proj.weight"), "{surplus}");
    let shape = refuse(&|tensors| {
        let at = tensors
            .iter()
            .position(|(name, ..)| name.contains("ln_f.bias"))
            .unwrap();
        tensors[at].1 = vec![47];
        tensors[at].2.pop();
    });
    assert!(shape.contains("is [47], the model needs [48]"), "{shape}");
}
