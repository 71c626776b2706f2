//! Tokens that are named only beside a tokenizer.json, against `transformers`.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use sinterlm_data::{Json, Tokenizer};
use tempfile::TempDir;

/// `fixtures/beside.json`, see the script beside it.
#[derive(Deserialize)]
struct Fixture {
    added: Value,
    text: String,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    base: String,
    files: BTreeMap<String, Json>,
    tokens: BTreeMap<u32, Value>,
    ids: Vec<u32>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/beside.json")).unwrap()
}

/// A folder with the fixture's tokenizer.json, 61 tokens and three added ones.
fn folder(base: &str, added: &Value, files: &[(&str, &str)]) -> TempDir {
    #[derive(Deserialize)]
    struct Bases {
        tokenizer: Value,
        bases: BTreeMap<String, BTreeMap<String, Value>>,
    }
    let bases: Bases =
        serde_json::from_str(include_str!("../fixtures/special_tokens.json")).unwrap();
    let mut json = bases.tokenizer;
    json["added_tokens"] = added.clone();
    for (part, value) in &bases.bases[base] {
        json[part] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    let json = json.to_string();
    for (name, text) in [("tokenizer.json", &*json)].iter().chain(files) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The tokenizer of the fixture's tokenizer.json with other files beside it.
fn read(files: &[(&str, &str)]) -> Result<Tokenizer, String> {
    let folder = folder("bytes", &fixture().added, files);
    let path = folder.path().display().to_string();
    let read = Tokenizer::from_file(folder.path());
    read.map_err(|error| error.to_string().replace(&path, "DIR"))
}

#[test]
fn tokens_named_beside_a_tokenizer_are_those_of_transformers() {
    let Fixture { added, text, cases } = fixture();
    for (name, case) in cases {
        let texts = case.files.iter().map(|(name, json)| {
            let text = serde_json::to_string(json).unwrap();
            (name.as_str(), text)
        });
        let texts: Vec<(&str, String)> = texts.collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
        let folder = folder(&case.base, &added, &files);
        let tokenizer = Tokenizer::from_file(folder.path()).unwrap();
        assert_eq!(tokenizer.encode_with_special(&text), case.ids, "{name}");

        let saved: Value = serde_json::from_str(&tokenizer.to_json()).unwrap();
        let saved = saved["added_tokens"].as_array().unwrap().iter();
        let saved: BTreeMap<u32, Value> = saved
            .map(|token| {
                let mut token = token.clone();
                let id = token.as_object_mut().unwrap().remove("id").unwrap();
                (u32::try_from(id.as_u64().unwrap()).unwrap(), token)
            })
            .collect();
        assert_eq!(saved, case.tokens, "{name}");
        let largest = *case.tokens.keys().max().unwrap() as usize;
        assert_eq!(tokenizer.vocab_size(), largest + 1, "{name}");

        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        let back = Tokenizer::from_file(&path).unwrap();
        assert_eq!(back.fingerprint(), tokenizer.fingerprint(), "{name}");
    }
}

#[test]
fn ids_beside_a_tokenizer_hold_and_gaps_stay() {
    let config = r#"{"added_tokens_decoder": {"70": {"content": "<y>", "special": true}}}"#;
    let tokenizer = read(&[("tokenizer_config.json", config)]).unwrap();
    assert_eq!(tokenizer.special("<y>"), Some(70));
    assert_eq!(tokenizer.encode_with_special("<y>"), [70]);
    assert_eq!(tokenizer.decode(&[70]), "<y>");
}

#[test]
fn tokens_beyond_the_models_vocabulary_stay_text() {
    let config = r#"{"pad_token": "<p>", "eos_token": "<e>",
        "added_tokens_decoder": {"63": {"content": "<y>", "special": true}}}"#;
    let known = |rows: Value| {
        let model = json!({ "vocab_size": rows }).to_string();
        let files = [("tokenizer_config.json", config), ("config.json", &*model)];
        let tokenizer = read(&files).unwrap();
        let names = ["<y>", "<e>", "<p>"].map(|name| tokenizer.special(name));
        (names, tokenizer.vocab_size(), tokenizer.end_of_text())
    };
    assert_eq!(known(json!(80)), ([Some(63), Some(64), Some(65)], 66, 64));
    assert_eq!(known(json!(65)), ([Some(63), Some(64), None], 65, 64));
    assert_eq!(known(json!(63)), ([None; 3], 63, 1));
    // Nobody knows whether the model has more rows.
    assert_eq!(known(Value::Null), ([Some(63), None, None], 64, 1));
}

#[test]
fn what_is_no_list_of_tokens_is_refused_by_file_and_key() {
    let fault =
        |config: Value| read(&[("tokenizer_config.json", &config.to_string())]).unwrap_err();
    let decoder = |decoder: Value| fault(json!({ "added_tokens_decoder": decoder }));
    let entry = json!({ "content": "<y>", "special": true });
    let shape = decoder(json!({ "x": entry }));
    insta::assert_snapshot!(shape, @r#"DIR/tokenizer_config.json: has an `added_tokens_decoder` that is no map from ids to tokens; write each as {"ID": {"content": "NAME", "special": true}}"#);
    assert_eq!(decoder(json!({ "70": "<y>" })), shape);
    assert_eq!(decoder(json!([entry])), shape);
    insta::assert_snapshot!(decoder(json!({ "5": entry })), @r#"DIR/tokenizer_config.json: gives the id 5 to both "d" and "<y>"; correct its `added_tokens_decoder`"#);
    insta::assert_snapshot!(decoder(json!({ "70": { "content": "<x>" } })), @r#"DIR/tokenizer_config.json: gives the token "<x>" the id 70, and tokenizer.json 62; correct its `added_tokens_decoder`"#);
    insta::assert_snapshot!(fault(json!({ "split_special_tokens": true })), @"DIR/tokenizer_config.json: has `split_special_tokens` set, with which no text has special tokens, not even a chat template's; set it to false, or take it out of the file");
    read(&[(
        "tokenizer_config.json",
        r#"{"split_special_tokens": false}"#,
    )])
    .unwrap();
}

#[test]
fn numbers_that_only_python_reads_do_no_harm() {
    let config =
        r#"{"model_max_length": Infinity, "x": NaN, "additional_special_tokens": ["<y>"]}"#;
    let tokenizer = read(&[("tokenizer_config.json", config)]).unwrap();
    assert_eq!(tokenizer.special("<y>"), Some(63));
}
