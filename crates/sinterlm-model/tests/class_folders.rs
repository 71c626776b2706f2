//! Folders of decoders with class heads, against those of `transformers`.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use sinterlm_config::Seed;
use sinterlm_formats::{Dtype, SafetensorsFile, TensorEntry, write_safetensors};
use sinterlm_model::{
    CausalLm, ClassHead, ForwardCtx, Gpt, GptConfig, NormKind, Pool, Reading, SaveOptions,
    WithHead, load_model, load_with_head, named_values, save_with_head,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close};

const NAMES: [&str; 3] = ["gpt2", "llama", "qwen3"];
const CLASSES: [&str; 3] = ["ham", "spam", "other"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn reference() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture("class_heads.json")).unwrap()).unwrap()
}

/// A folder as `transformers` wrote it, with a changed config.
fn folder(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = reference()[name]["config"].clone();
    change(&mut config);
    write_config(folder.path(), &config);
    let weights = fixture(&format!("class_{name}.safetensors"));
    std::fs::copy(weights, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn write_config(folder: &Path, config: &Value) {
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// Shape and bytes of each tensor, all in f32.
fn tensors(folder: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let file = SafetensorsFile::open(folder.join("model.safetensors")).unwrap();
    let names = file.names().map(str::to_owned);
    names
        .map(|name| {
            let tensor = file.tensor(&name).unwrap();
            assert_eq!(tensor.dtype, Dtype::F32);
            let content = (tensor.shape.clone(), tensor.data.to_vec());
            (name, content)
        })
        .collect()
}

fn loaded(folder: &Path) -> (WithHead<Gpt>, ClassHead) {
    load_with_head(folder, &Device::flex()).unwrap()
}

fn fault(folder: &Path) -> String {
    let loaded = load_with_head(folder, &Device::flex());
    loaded.map(|_| ()).unwrap_err().to_string()
}

fn classifier(config: &GptConfig, classes: usize) -> WithHead<Gpt> {
    let device = Device::flex();
    WithHead::init(config.init(Seed(1), &device), classes, Seed(1), &device)
}

fn head_of(labels: &[&str]) -> ClassHead {
    ClassHead {
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        reading: Reading::default(),
        threshold: None,
    }
}

fn small() -> GptConfig {
    GptConfig {
        vocab_size: 40,
        max_seq_len: 16,
        d_model: 16,
        n_layers: 1,
        n_heads: 2,
        ..GptConfig::default()
    }
}

#[test]
fn published_folders_give_the_logits_of_transformers_on_a_padded_batch() {
    let reference = reference();
    let rows: Vec<Vec<u32>> = serde_json::from_value(reference["rows"].clone()).unwrap();
    for name in NAMES {
        let folder = folder(name, |_| ());
        let (model, head) = loaded(folder.path());
        assert_eq!(head.labels, CLASSES);
        assert_eq!(head.reading.pad_id, 31);
        assert_eq!(head.reading.pool, Pool::Last);
        let tokens = head.reading.batch(&rows, &Device::flex());
        let scores = model.scores(&tokens, head.reading.pool, &ForwardCtx::default());
        assert_eq!(scores.dims(), [4, 3]);
        let scores: Vec<f32> = scores.into_data().try_into_vec().unwrap();
        let logits: Vec<f64> = serde_json::from_value(reference[name]["logits"].clone()).unwrap();
        assert_close(&scores, &logits, WHOLE_MODEL_F32, name);
    }
}

#[test]
fn what_was_read_is_written_as_transformers_writes_it() {
    for name in NAMES {
        let theirs = folder(name, |_| ());
        let (model, head) = loaded(theirs.path());
        let ours = tempfile::tempdir().unwrap();
        save_with_head(ours.path(), &model, &head, &SaveOptions::new(31)).unwrap();
        assert!(tensors(ours.path()) == tensors(theirs.path()), "{name}");
        let text = std::fs::read_to_string(ours.path().join("config.json")).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        let config = &reference()[name]["config"];
        for key in [
            "architectures",
            "model_type",
            "id2label",
            "label2id",
            "pad_token_id",
        ] {
            assert_eq!(written[key], config[key], "{name}, {key}");
        }
        assert_eq!(loaded(ours.path()).1, head);
    }
}

#[test]
fn a_head_of_another_form_is_refused_by_name() {
    let of_config = |change: fn(&mut Value)| fault(folder("llama", change).path());
    let fault_of = |found: String, expected: &str| assert!(found.contains(expected), "{found}");
    let change = |config: &mut Value| config["architectures"] = json!(["LlamaForCausalLM"]);
    fault_of(
        of_config(change),
        "names LlamaForCausalLM, which has no class head",
    );
    let change = |config: &mut Value| config["problem_type"] = "multi_label_classification".into();
    fault_of(of_config(change), "exclude each other");
    let change = |config: &mut Value| config["id2label"] = json!({"0": "ham", "2": "spam"});
    fault_of(
        of_config(change),
        "id2label does not name classes from 0 on",
    );
    let change = |config: &mut Value| config["id2label"] = json!({"0": "ham", "1": "spam"});
    fault_of(
        of_config(change),
        "`score.weight` is [3, 16], the model needs [2, 16]",
    );

    for name in ["score.bias", "score.dense.weight", "classifier.weight"] {
        let folder = folder("llama", |_| ());
        let mut all = tensors(folder.path());
        all.insert(name.to_owned(), (vec![3], vec![0; 12]));
        if name.starts_with("classifier") {
            all.remove("score.weight");
        }
        let entry = |(name, (shape, data)): (&String, &(Vec<usize>, Vec<u8>))| TensorEntry {
            name: name.clone(),
            dtype: Dtype::F32,
            shape: shape.clone(),
            data: data.clone().into(),
        };
        let entries: Vec<TensorEntry<'_>> = all.iter().map(entry).collect();
        let weights = folder.path().join("model.safetensors");
        write_safetensors(weights, &entries, &BTreeMap::new()).unwrap();
        fault_of(fault(folder.path()), &format!("the head has `{name}`"));
    }
    // And a decoder takes no folder with a class head for its own.
    let folder = folder("llama", |_| ());
    let error = load_model(folder.path(), &Device::flex()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`score.weight` is taken by no parameter")
    );
}

#[test]
fn labels_without_names_are_numbered_as_transformers_numbers_them() {
    let folder = folder("qwen3", |config| {
        config["num_labels"] = 3.into();
        config.as_object_mut().unwrap().remove("id2label");
    });
    let (_, head) = loaded(folder.path());
    assert_eq!(head.labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
}

#[test]
fn labels_and_heads_that_no_folder_can_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let save = |model: &WithHead<Gpt>, labels: &[&str]| {
        let saved = save_with_head(folder.path(), model, &head_of(labels), &SaveOptions::new(0));
        saved.unwrap_err().to_string()
    };
    let mut model = classifier(&small(), 2);
    assert!(save(&model, &["a", "b", "c"]).contains("3 labels for 2 outputs"));
    assert!(save(&model, &["a", "a"]).contains("two classes are called \"a\""));
    let bias = Tensor::<1>::zeros([2], &Device::flex());
    model.score.bias = Some(Param::from_tensor(bias));
    assert!(save(&model, &["a", "b"]).starts_with("score.bias: a model file has no place"));
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn a_folder_keeps_its_reading_and_a_projection_that_is_there() {
    let untied = GptConfig {
        tied_head: false,
        norm: NormKind::RmsNorm, // with learned positions: no published family
        ..small()
    };
    let gpt2 = GptConfig {
        norm: NormKind::LayerNorm,
        ..untied.clone()
    };
    for (config, class) in [(untied, "Sinterlm"), (gpt2, "GPT2")] {
        for keeps in [true, false] {
            let mut model = classifier(&config, 2);
            if !keeps {
                model.lm = model.lm.without_head();
            }
            let head = ClassHead {
                reading: Reading {
                    pool: Pool::LastColumn,
                    pad_id: 7,
                    min_seq: 12,
                    max_tokens: 0,
                },
                ..head_of(&["no", "yes"])
            };
            let folder = tempfile::tempdir().unwrap();
            save_with_head(folder.path(), &model, &head, &SaveOptions::new(7)).unwrap();
            let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
            assert!(config.contains(&format!("\"{class}ForSequenceClassification\"")));
            let (again, read) = loaded(folder.path());
            assert_eq!(read, head);
            assert_eq!(again.lm.config().tied_head, !keeps);
            assert!(named_values(&again) == named_values(&model));
            let projection = again.head().linear.weight.val().into_data();
            assert_eq!(projection, model.head().linear.weight.val().into_data());
        }
    }
}

#[test]
fn a_threshold_between_two_classes_is_kept_and_decides() {
    let two = |threshold| ClassHead {
        threshold,
        ..head_of(&["no", "yes"])
    };
    let model = classifier(&small(), 2);
    let folder = tempfile::tempdir().unwrap();
    let save = |head: &ClassHead| {
        save_with_head(folder.path(), &model, head, &SaveOptions::new(0)).map_err(|e| e.to_string())
    };
    let config = || std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    save(&two(None)).unwrap();
    assert!(!config().contains("sinterlm_reading"));
    let head = two(Some(0.1));
    save(&head).unwrap();
    assert_eq!(loaded(folder.path()).1, head, "to the bit");
    assert_eq!([0.099, 0.1].map(|p| head.class_of(&[1.0 - p, p])), [0, 1]);
    assert_eq!(two(None).class_of(&[0.5, 0.5]), 0);
    assert_eq!(head_of(&["a", "b", "c"]).class_of(&[0.2, 0.3, 0.5]), 2);

    let written = config();
    for (found, words) in [
        (
            "\"high\"",
            "sinterlm_reading.threshold is \"high\", not a number",
        ),
        ("1.5", "the threshold 1.5 is no probability"),
    ] {
        let mut config: Value = serde_json::from_str(&written).unwrap();
        config["sinterlm_reading"]["threshold"] = serde_json::from_str(found).unwrap();
        write_config(folder.path(), &config);
        let refused = fault(folder.path());
        assert!(refused.contains(words), "{refused}");
    }
    let refused = save(&two(Some(f32::NAN))).unwrap_err();
    assert!(refused.contains("NaN is no probability"), "{refused}");
    let three = ClassHead {
        threshold: Some(0.5),
        ..head_of(&["a", "b", "c"])
    };
    let model = classifier(&small(), 3);
    let refused = save_with_head(folder.path(), &model, &three, &SaveOptions::new(0)).unwrap_err();
    assert!(refused.to_string().contains("a threshold for 3 classes"));
}
