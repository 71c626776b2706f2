//! Descriptions of models: what is read, what is refused by name.

use sinterlm_model::{GptConfig, read_config, read_end_ids};

use super::{llama, saved};

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
