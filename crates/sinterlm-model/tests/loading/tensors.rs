//! Tensors of a folder against the parameters of its model.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_formats::Dtype;
use sinterlm_model::{
    GptConfig, LoadOptions, ModelError, load_model, load_model_with, named_values, read_config,
};

use super::{Stored, changed, llama, rename, saved, tensors, write};

/// Adds one to every parameter.
struct Move;

impl ModuleMapper for Move {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| (tensor.detach() + 1.0).detach().require_grad())
    }
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
        let table = "model.layers.0.self_attn.rotary_emb.inv_freq";
        tensors.push(floats(table, &[2], &[1.0, 0.01]));
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
        ..LoadOptions::default()
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

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Stored {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    (name.into(), Dtype::F32, shape.to_vec(), bytes.collect())
}

/// As `transformers` 5 takes it: the config says tied, the file holds two tables that differ.
#[test]
fn a_head_that_differs_from_the_embedding_is_not_tied_to_it() {
    let device = Device::flex();
    let config = GptConfig {
        tied_head: true,
        ..llama()
    };
    let (_, plain) = saved(&config);
    let head: Vec<f32> = (0..50 * 16).map(|i| (i % 7) as f32 / 8.0).collect();
    for name in ["lm_head.weight", "copy"] {
        let folder = changed(&config, |tensors| {
            let table = tensors
                .iter()
                .find(|(name, ..)| name.contains("embed"))
                .unwrap();
            let mut table = table.clone();
            table.0 = "lm_head.weight".into();
            let own = floats("lm_head.weight", &[50, 16], &head);
            tensors.push(if name == "copy" { table } else { own });
        });
        let loaded = load_model(folder.path(), &device).unwrap();
        let is_tied = name == "copy";
        assert_eq!(loaded.config().tied_head, is_tied, "{name}");
        assert_eq!(
            read_config(folder.path()).unwrap().tied_head,
            is_tied,
            "{name}"
        );
        let found = named_values(&loaded);
        if is_tied {
            assert_eq!(found, named_values(&plain));
        } else {
            let found = found
                .iter()
                .find(|values| values.path == "head.weight")
                .unwrap();
            assert_eq!(found.values, head);
        }
    }
    let short = changed(&config, |tensors| {
        tensors.push(floats("lm_head.weight", &[49, 16], &head[..49 * 16]));
    });
    let said = load_model(short.path(), &device).unwrap_err().to_string();
    assert!(
        said.contains("`lm_head.weight` is [49, 16], the model needs [50, 16]"),
        "{said}"
    );
}

#[test]
fn a_tensor_is_passed_over_only_if_it_is_what_the_model_has_in_its_place() {
    let device = Device::flex();
    let gpt2 = GptConfig {
        vocab_size: 50,
        max_seq_len: 3,
        d_model: 16,
        n_layers: 1,
        n_heads: 4,
        ..GptConfig::default()
    };
    let without_bias = GptConfig {
        qkv_bias: false,
        ..gpt2.clone()
    };
    let mask = "transformer.h.0.attn.bias";
    let causal = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0];
    let table = "model.layers.0.self_attn.rotary_emb.inv_freq";
    let bias = "transformer.h.0.attn.c_attn.bias";
    for (config, tensor, is_equal) in [
        (&gpt2, floats(mask, &[1, 1, 3, 3], &causal), true),
        (&gpt2, floats(mask, &[1, 1, 3, 3], &[1.0; 9]), false),
        (
            &gpt2,
            (
                mask.into(),
                Dtype::U8,
                vec![3, 3],
                causal.map(|x| x as u8).to_vec(),
            ),
            true,
        ),
        (
            &gpt2,
            floats("transformer.h.0.attn.masked_bias", &[], &[-1e4]),
            true,
        ),
        (
            &gpt2,
            floats("transformer.h.0.attn.masked_bias", &[], &[0.0]),
            false,
        ),
        (&without_bias, floats(bias, &[48], &[0.0; 48]), true),
        (&without_bias, floats(bias, &[48], &[0.5; 48]), false),
        (&llama(), floats(table, &[2], &[1.0, 0.01]), true),
        (&llama(), floats(table, &[2], &[1.0, 0.1]), false),
        (&llama(), floats(table, &[1], &[1.0]), false),
    ] {
        let folder = changed(config, |tensors| {
            tensors.retain(|(name, ..)| *name != tensor.0);
            tensors.push(tensor.clone());
        });
        match load_model(folder.path(), &device) {
            Ok(_) => assert!(is_equal, "{tensor:?}"),
            Err(error) => {
                let said = error.to_string();
                assert!(
                    !is_equal && said.contains("is not what the model has in its place"),
                    "{said}"
                );
            }
        }
        let allowed = LoadOptions {
            allow_unused: true,
            ..LoadOptions::default()
        };
        let (_, report) = load_model_with(folder.path(), &device, &allowed).unwrap();
        assert_eq!(report.unused.len(), usize::from(!is_equal));
    }
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
    mapped = mapped.map(&mut Move);
    for (moved, saved) in named_values(&mapped).iter().zip(named_values(&model)) {
        let expected: Vec<f32> = saved.values.iter().map(|value| value + 1.0).collect();
        assert_eq!(moved.values, expected);
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
