//! Descriptions of models: what is read, what is refused by name.

use serde_json::{Value, json};
use sinterlm_model::{GptConfig, RopeScaling, read_config, read_end_ids};

use super::{llama, saved};

fn read(config: &Value) -> Result<GptConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    read_config(folder.path()).map_err(|error| error.to_string())
}

/// What the fixture's class says, as far as the decoder has it.
fn assert_equal_to_the_class(found: &GptConfig, class: &Value, case: &Value) {
    let sizes = [
        ("vocab_size", found.vocab_size),
        ("max_position_embeddings", found.max_seq_len),
        ("hidden_size", found.d_model),
        ("num_hidden_layers", found.n_layers),
        ("num_attention_heads", found.n_heads),
        ("num_key_value_heads", found.n_kv_heads()),
        ("head_dim", found.head_dim()),
        ("intermediate_size", found.d_ff()),
    ];
    for (key, size) in sizes {
        if !class[key].is_null() {
            assert_eq!(class[key], size, "{key} of {case}");
        }
    }
    let numbers = [
        ("rms_norm_eps", found.norm_eps),
        ("layer_norm_epsilon", found.norm_eps),
        ("resid_pdrop", found.dropout),
        ("attention_dropout", found.dropout),
    ];
    for (key, number) in numbers {
        if !class[key].is_null() {
            assert_eq!(class[key].as_f64(), Some(number), "{key} of {case}");
        }
    }
    assert_eq!(class["tie_word_embeddings"], found.tied_head, "{case}");
    let window = |layer: &usize| {
        let is_global = found.global_layers.contains(layer) || found.window == 0;
        (!is_global).then_some(found.window)
    };
    for layer in 0..found.n_layers {
        let has = match &class["layer_types"] {
            Value::Array(types) => types[layer] == "sliding_attention",
            _ => class["model_type"] == "mistral" || !class["sliding_window"].is_null(),
        };
        let expected = class["sliding_window"].as_u64().filter(|_| has);
        assert_eq!(
            window(&layer).map(|width| width as u64),
            expected,
            "layer {layer} of {case}"
        );
    }
    let rope = &class["rope_parameters"];
    if !rope.is_null() {
        assert_eq!(
            rope["rope_theta"].as_f64(),
            Some(found.rope_theta),
            "{case}"
        );
        let (kind, factor, original) = match found.rope_scaling {
            RopeScaling::None => ("default", None, None),
            RopeScaling::Linear { factor } => ("linear", Some(factor), None),
            RopeScaling::Yarn {
                factor,
                original_max_seq_len,
                ..
            } => ("yarn", Some(factor), Some(original_max_seq_len as u64)),
            ref other => panic!("{other:?}"),
        };
        assert_eq!(rope["rope_type"], kind, "{case}");
        assert_eq!(rope["factor"].as_f64(), factor, "{case}");
        assert_eq!(
            rope["original_max_position_embeddings"].as_u64(),
            original,
            "{case}"
        );
    }
}

#[test]
fn absent_keys_have_the_defaults_of_the_class() {
    let fixture: Value = serde_json::from_str(include_str!("../../fixtures/configs.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 25);
    for case in cases {
        let config = &case["config"];
        match (read(config), case.get("read")) {
            (Ok(found), Some(class)) => assert_equal_to_the_class(&found, class, config),
            (Err(_), None) => {}
            (found, _) => panic!("{config}: {found:?}"),
        }
    }
}

#[test]
fn a_key_is_called_missing_null_or_not_read() {
    let llama_with = |change: Value| {
        let mut config = json!({ "model_type": "llama" });
        let both = config.as_object_mut().zip(change.as_object());
        let (config_map, change) = both.unwrap();
        config_map.extend(change.clone());
        read(&config).unwrap_err()
    };
    for (change, said) in [
        (json!({ "model_type": null }), "model_type is null"),
        (json!({ "hidden_size": 0 }), "hidden_size is 0"),
        (
            json!({ "num_key_value_heads": 0 }),
            "num_key_value_heads is 0",
        ),
        (json!({ "vocab_size": null }), "vocab_size is null"),
        (
            json!({ "attention_bias": "no" }),
            "attention_bias is \"no\", not true or false",
        ),
        (json!({ "hidden_act": 3 }), "hidden_act is 3, not a text"),
        (
            json!({ "rope_scaling": "yarn" }),
            "the rope parameters are \"yarn\"",
        ),
        (
            json!({ "rope_scaling": { "rope_type": "yarn" } }),
            "lacks factor",
        ),
        (
            json!({ "rope_scaling": { "factor": 2.0 } }),
            "factor of rotary positions is nothing that rope_type \"default\" reads",
        ),
        (
            json!({ "rope_scaling": { "type": "dynamic", "factor": 2.0, "alpha": 1000.0 } }),
            "alpha of rotary positions",
        ),
        (
            json!({ "rope_scaling": { "type": "linear", "factor": 2.0, "attention_factor": 0.9 } }),
            "attention_factor of rotary positions",
        ),
        (
            json!({ "model_type": "qwen2", "num_hidden_layers": 1, "layer_types": ["sliding_attention"] }),
            "layer_types names sliding_attention",
        ),
        (json!({ "model_type": "sinterlm" }), "decoder is missing"),
    ] {
        let found = llama_with(change);
        assert!(found.contains(said), "{said}\nin {found}");
    }
    assert!(
        read(&json!({}))
            .unwrap_err()
            .contains("model_type is missing")
    );
}

#[test]
fn a_config_that_is_a_git_lfs_pointer_is_called_that() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 700\n";
    std::fs::write(folder.path().join("config.json"), pointer).unwrap();
    let said = read_config(folder.path()).unwrap_err().to_string();
    assert!(said.contains("is a Git LFS pointer"), "{said}");
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
fn our_own_config_with_sizes_of_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (key, value, said) in [
        ("n_heads", "0", "a number of heads of 0 is no model's"),
        (
            "d_model",
            "18446744073709551615",
            "a width of 18446744073709551615",
        ),
        ("n_layers", "100000", "100000 layers are more than 10000"),
        ("d_modl", "3", "unknown field `d_modl`"),
    ] {
        let text = format!(r#"{{"model_type": "sinterlm", "decoder": {{"{key}": {value}}}}}"#);
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let found = read_config(folder.path()).unwrap_err().to_string();
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

#[test]
fn ids_that_end_no_text_are_left_out_or_refused_by_file_and_key() {
    let (folder, _) = saved(&llama());
    let (generation, config) = (
        folder.path().join("generation_config.json"),
        folder.path().join("config.json"),
    );
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    json["eos_token_id"] = 3.into();
    std::fs::write(&config, json.to_string()).unwrap();
    let read = |ids: &str| {
        std::fs::write(&generation, format!("{{\"eos_token_id\": {ids}}}")).unwrap();
        read_end_ids(folder.path()).map_err(|error| error.to_string())
    };
    let rows = llama().vocab_size;
    for (ids, expected) in [
        ("null".to_owned(), vec![3]),
        ("[]".to_owned(), vec![3]),
        ("-1".to_owned(), vec![3]),
        (format!("{rows}"), vec![3]),
        // Its lower half is an id.
        ("4294967298".to_owned(), vec![3]),
        (
            format!("[4, {rows}, {}]", rows - 1),
            vec![4, rows as u32 - 1],
        ),
    ] {
        assert_eq!(read(&ids).unwrap(), expected, "{ids}");
    }
    for ids in ["\"2\"", "[4, 2.5]", "true", "{}", "[[4]]"] {
        let refused = read(ids).unwrap_err();
        assert!(
            refused.contains("generation_config.json: eos_token_id: "),
            "{refused}"
        );
    }
}
