//! Added and special tokens against the reference: where they match, which ids they have, which of them
//! ends a text.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use sinterlm_data::{ChatMessage, ChatTemplate, TextMarks, Tokenizer, tokenizer_of};
use sinterlm_formats::{GgufFile, write_gguf};

/// `fixtures/special_tokens.json`, see the script beside it.
#[derive(Deserialize)]
struct Fixture {
    tokenizer: Value,
    bases: BTreeMap<String, BTreeMap<String, Value>>,
    sets: BTreeMap<String, Set>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Set {
    tokens: Value,
    texts: Vec<String>,
}

#[derive(Deserialize)]
struct Case {
    base: String,
    tokens: String,
    special: Vec<Vec<u32>>,
    plain: Option<Vec<Vec<u32>>>,
}

impl Fixture {
    fn read() -> Self {
        serde_json::from_str(include_str!("../fixtures/special_tokens.json")).unwrap()
    }

    fn json(&self, base: &str, tokens: &Value) -> Value {
        let mut json = self.tokenizer.clone();
        json["added_tokens"] = tokens.clone();
        for (part, value) in &self.bases[base] {
            json[part] = value.clone();
        }
        json
    }

    fn tokenizer(&self, base: &str, set: &str) -> Tokenizer {
        read(&self.json(base, &self.sets[set].tokens)).unwrap()
    }
}

fn read(json: &Value) -> Result<Tokenizer, String> {
    Tokenizer::from_json(&json.to_string(), Path::new("tokenizer.json")).map_err(|e| e.to_string())
}

#[test]
fn added_tokens_match_as_in_the_reference() {
    let fixture = Fixture::read();
    let mut faults = Vec::new();
    for case in &fixture.cases {
        let tokenizer = fixture.tokenizer(&case.base, &case.tokens);
        let texts = &fixture.sets[&case.tokens].texts;
        let plain = case.plain.as_ref().unwrap_or(&case.special);
        assert_eq!(
            (case.special.len(), plain.len()),
            (texts.len(), texts.len())
        );
        for (text, (special, plain)) in texts.iter().zip(case.special.iter().zip(plain)) {
            let (base, set) = (&case.base, &case.tokens);
            for (how, ours, theirs) in [
                ("special", tokenizer.encode_with_special(text), special),
                ("plain", tokenizer.encode(text), plain),
            ] {
                if ours != *theirs {
                    faults.push(format!(
                        "{base}, {set}, {how}, {text:?}:\n {ours:?}\n {theirs:?}"
                    ));
                }
            }
        }
    }
    assert!(fixture.cases.len() > 30);
    let count = faults.len();
    assert!(faults.is_empty(), "{count} differ:\n{}", faults.join("\n"));
}

#[test]
fn added_tokens_keep_the_ids_of_their_file() {
    let fixture = Fixture::read();
    let tokenizer = fixture.tokenizer("bytes", "mixed");
    let listed = fixture.sets["mixed"].tokens.as_array().unwrap();
    let largest = listed
        .iter()
        .map(|token| token["id"].as_u64().unwrap())
        .max()
        .unwrap();
    assert_eq!(tokenizer.vocab_size() as u64, largest + 1);
    let written: Value = serde_json::from_str(&tokenizer.to_json()).unwrap();
    let mut ordered = listed.clone();
    ordered.sort_by_key(|token| token["id"].as_u64());
    assert_eq!(written["added_tokens"], Value::Array(ordered));
    for token in listed {
        let (id, content) = (
            token["id"].as_u64().unwrap() as u32,
            token["content"].as_str().unwrap(),
        );
        assert_eq!(tokenizer.decode(&[id]), content);
        assert_eq!(tokenizer.is_special(id), token["special"] == true);
        if token["special"] == true {
            assert_eq!(tokenizer.special(content), Some(id));
        }
    }
    let again = read(&written).unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
}

#[test]
fn ids_that_two_tokens_claim_are_refused() {
    let fixture = Fixture::read();
    let token = |id: u32, content: &str| {
        json!({ "id": id, "content": content, "special": true, "lstrip": false, "rstrip": false,
                "single_word": false, "normalized": false })
    };
    let fault = |tokens: Value| read(&fixture.json("bytes", &tokens)).unwrap_err();
    insta::assert_snapshot!(fault(json!([token(5, "</s>")])), @r#"tokenizer.json: gives the added token "</s>" the id 5, and 1 in its vocabulary; correct its `added_tokens`, or give the tokenizer that the model was trained with"#);
    insta::assert_snapshot!(fault(json!([token(5, "<x>")])), @r#"tokenizer.json: gives the id 5 to both "d" and "<x>"; correct its `added_tokens`, or give the tokenizer that the model was trained with"#);
    insta::assert_snapshot!(fault(json!([token(90, "<x>"), token(90, "<y>")])), @r#"tokenizer.json: gives the id 90 to both "<x>" and "<y>"; correct its `added_tokens`, or give the tokenizer that the model was trained with"#);
    insta::assert_snapshot!(fault(json!([token(90, "<x>"), token(91, "<x>")])), @r#"tokenizer.json: gives the added token "<x>" two ids, 90 and 91; correct its `added_tokens`, or give the tokenizer that the model was trained with"#);
    insta::assert_snapshot!(fault(json!([token(4_000_000_000, "<x>")])), @r#"tokenizer.json: gives the added token "<x>" the id 4000000000, which no vocabulary has; correct its `added_tokens`, or give the tokenizer that the model was trained with"#);
    let twice = json!([token(90, "<x>"), token(90, "<x>")]);
    assert_eq!(
        read(&fixture.json("bytes", &twice)).unwrap().special("<x>"),
        Some(90)
    );
}

/// In the reference one token's spaces in another's place end the program.
#[test]
fn tokens_that_want_the_same_spaces_do_no_harm() {
    let fixture = Fixture::read();
    let mut tokens = fixture.sets["mixed"].tokens.clone();
    tokens[1]["rstrip"] = true.into();
    let tokenizer = read(&fixture.json("bytes", &tokens)).unwrap();
    let ids = tokenizer.encode_with_special("<s> \n \na");
    assert_eq!(ids.first(), tokenizer.special("<s>").as_ref());
    assert_eq!(tokenizer.encode_with_special("a"), ids[ids.len() - 1..]);
}

#[test]
fn only_the_template_makes_special_tokens_however_messages_are_written() {
    let fixture = Fixture::read();
    let source = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}";
    let template = ChatTemplate::new("test", source).unwrap();
    for base in fixture.bases.keys() {
        let tokenizer = fixture.tokenizer(base, "mixed");
        let marks = |content: &str| -> Vec<u32> {
            let ids = template.ids(&[ChatMessage::new("user", content)], false, &tokenizer);
            let special = |id: &u32| tokenizer.is_special(*id);
            ids.unwrap().into_iter().filter(special).collect()
        };
        let own = ["<s>", "</s>"].map(|name| tokenizer.special(name).unwrap());
        for content in [
            "a", "<s>", "x<s><s>", "there", "</s>AB", "B<s>", "ab", "ＡＢ", "aB THERE",
        ] {
            assert_eq!(marks(content), own, "{base}, {content:?}");
        }
    }
}

#[test]
fn a_template_may_spell_a_token_as_the_normalizer_leaves_it() {
    let fixture = Fixture::read();
    let tokenizer = fixture.tokenizer("lowercase", "mixed");
    let source = "{% for m in messages %}ab{{ m.content }}ＡＢ{% endfor %}";
    let template = ChatTemplate::new("test", source).unwrap();
    let ids = template.ids(&[ChatMessage::new("user", "ab AB")], false, &tokenizer);
    let special = tokenizer.special("AB").unwrap();
    let ids = ids.unwrap();
    assert_eq!((ids.first(), ids.last()), (Some(&special), Some(&special)));
    let found = ids.iter().filter(|id| **id == special).count();
    assert_eq!(found, 2, "those of the message stay text");
}

#[test]
fn an_answer_begins_and_ends_where_it_does_in_the_text() {
    let fixture = Fixture::read();
    let source = "{% for m in messages %}{% if m.role == 'user' %}<s>[0] {{ m.content }} [/0]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}";
    let template = ChatTemplate::new("test", source).unwrap();
    let messages = [
        ChatMessage::new("user", "hi the"),
        ChatMessage::new("assistant", "ok"),
    ];
    for base in fixture.bases.keys() {
        let tokenizer = fixture.tokenizer(base, "mixed");
        let chat = template.encode(&messages, false, &tokenizer).unwrap();
        assert_eq!(
            chat.ids,
            tokenizer.encode_with_special(&chat.text),
            "{base}"
        );
        let answer = &chat.ids[chat.turns[1].tokens.clone()];
        assert_eq!(answer.last(), tokenizer.special("</s>").as_ref(), "{base}");
        assert_eq!(
            tokenizer
                .decode(answer)
                .replace(['\u{2581}', '\u{120}', ' '], ""),
            "ok</s>",
            "{base}"
        );
    }
}

/// A byte-level tokenizer with the special tokens `<|im_end|>` and `<|eos|>`, ids 257 and 260.
fn with_two_ends() -> Value {
    let trained = Tokenizer::train_bpe(["a b"], 257).unwrap();
    let text = trained.to_json().replace("<|endoftext|>", "<|im_end|>");
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let mut other = json["added_tokens"][0].clone();
    other["id"] = 260.into();
    other["content"] = "<|eos|>".into();
    json["added_tokens"].as_array_mut().unwrap().push(other);
    json
}

fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let text = content
            .as_str()
            .map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn the_mark_that_a_folder_names_ends_texts() {
    let config = (
        "tokenizer_config.json",
        json!({ "eos_token": { "content": "<|eos|>" } }),
    );
    let map = ("special_tokens_map.json", json!({ "eos_token": "<|eos|>" }));
    let model = ("config.json", json!({ "eos_token_id": [260, 0] }));
    let no_special = ("config.json", json!({ "eos_token_id": 5 }));
    let unknown = (
        "tokenizer_config.json",
        json!({ "eos_token": "<|other|>", "bos_token": null }),
    );
    let empty = ("tokenizer_config.json", json!({}));
    for (files, expected) in [
        (vec![], 0),
        (vec![config], 260),
        (vec![map.clone()], 260),
        (vec![model.clone()], 260),
        (vec![empty.clone(), map.clone()], 260),
        (vec![unknown.clone(), map.clone()], 260),
        (vec![unknown, model], 260),
        (vec![no_special], 0),
    ] {
        let files = [&[("tokenizer.json", with_two_ends())][..], &files].concat();
        let folder = folder(&files);
        for path in [
            folder.path().to_owned(),
            folder.path().join("tokenizer.json"),
        ] {
            let tokenizer = Tokenizer::from_file(&path).unwrap();
            assert_eq!(tokenizer.end_of_text(), expected, "{files:?}");
            let both = if expected == 0 { vec![0] } else { vec![260, 0] };
            assert_eq!(tokenizer.ends(), both);
        }
    }
    let folder = folder(&[("tokenizer.json", with_two_ends()), empty, map]);
    let tokenizer = Tokenizer::from_file(folder.path()).unwrap();
    let marks = TextMarks::from_folder(folder.path(), &tokenizer, &[]).unwrap();
    assert_eq!(marks.eos, Some(260));
}

#[test]
fn the_end_of_texts_is_saved_with_the_tokenizer() {
    let folder = folder(&[
        ("tokenizer.json", with_two_ends()),
        ("tokenizer_config.json", json!({ "eos_token": "<|eos|>" })),
    ]);
    let tokenizer = Tokenizer::from_file(folder.path()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    tokenizer.save(&copy.path().join("tokenizer.json")).unwrap();
    let back = Tokenizer::from_file(copy.path()).unwrap();
    assert_eq!(
        (back.end_of_text(), back.fingerprint()),
        (260, tokenizer.fingerprint())
    );
    let by_name = read(&with_two_ends()).unwrap();
    assert_ne!(
        by_name.fingerprint(),
        tokenizer.fingerprint(),
        "they encode documents otherwise"
    );
}

#[test]
fn the_mark_that_a_gguf_names_ends_texts() {
    let tokenizer = read(&with_two_ends()).unwrap();
    let marks = TextMarks {
        eos: Some(260),
        ..TextMarks::default()
    };
    let metadata = tokenizer.to_gguf(&marks, 261).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    write_gguf(&path, &metadata, &[], |_| unreachable!("it has no tensor")).unwrap();
    let back = Tokenizer::from_gguf(&GgufFile::open(&path).unwrap()).unwrap();
    assert_eq!(
        (back.end_of_text(), back.special("<|eos|>")),
        (260, Some(260))
    );
    assert_eq!(tokenizer_of(&path).unwrap(), Some(path.clone()));
}

/// `fixtures/tables.json`.
#[derive(Deserialize)]
struct Tables {
    merges: Vec<String>,
    texts: Vec<String>,
    folders: BTreeMap<String, Published>,
}

#[derive(Deserialize)]
struct Published {
    files: BTreeMap<String, Value>,
    eos: u32,
    special: Vec<Vec<u32>>,
    plain: Vec<Vec<u32>>,
}

impl Tables {
    fn read() -> Self {
        serde_json::from_str(include_str!("../fixtures/tables.json")).unwrap()
    }

    fn folder(&self, name: &str) -> tempfile::TempDir {
        let merges = format!("#version: 0.2\n{}\n", self.merges.join("\n"));
        let files = &self.folders[name].files;
        let mut files: Vec<(&str, Value)> = files
            .iter()
            .map(|(name, content)| (name.as_str(), content.clone()))
            .collect();
        files.push(("merges.txt", merges.into()));
        folder(&files)
    }
}

#[test]
fn vocab_and_merges_alone_are_a_tokenizer() {
    let tables = Tables::read();
    for (name, published) in &tables.folders {
        let folder = tables.folder(name);
        let path = tokenizer_of(folder.path()).unwrap().unwrap();
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        assert_eq!(tokenizer.end_of_text(), published.eos, "{name}");
        for (text, (special, plain)) in tables
            .texts
            .iter()
            .zip(published.special.iter().zip(&published.plain))
        {
            assert_eq!(
                tokenizer.encode_with_special(text),
                *special,
                "{name}, {text:?}"
            );
            assert_eq!(tokenizer.encode(text), *plain, "{name}, {text:?}");
        }
    }
}

#[test]
fn tables_that_are_not_understood_are_refused_with_a_remedy() {
    let tables = Tables::read();
    let fault = |folder: &tempfile::TempDir| {
        let error = Tokenizer::from_file(folder.path()).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "DIR")
    };
    let changed = |name: &str, content: Value| {
        let folder = tables.folder("bare");
        let text = content
            .as_str()
            .map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(folder.path().join(name), text).unwrap();
        fault(&folder)
    };
    insta::assert_snapshot!(changed("tokenizer_config.json", json!({ "tokenizer_class": "RobertaTokenizer" })), @r#"DIR: has vocab.json and merges.txt for "RobertaTokenizer" and no tokenizer.json; known are GPT2Tokenizer and Qwen2Tokenizer; make a tokenizer.json in it: transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"#);
    insta::assert_snapshot!(changed("tokenizer_config.json", json!({ "add_bos_token": true })), @"DIR: has `add_bos_token` set and no tokenizer.json; make a tokenizer.json in it: transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)");
    insta::assert_snapshot!(changed("vocab.json", json!({ "a": 0, "b</w>": 1 })), @"DIR: has a vocab.json without a token for each byte, so it is not of the kind that gpt2 reads; make a tokenizer.json in it: transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)");
    insta::assert_snapshot!(changed("merges.txt", "#version: 0.2\na b c\n".into()), @r#"DIR/merges.txt: has line 2 that is no pair of tokens, "a b c"; fetch vocab.json and merges.txt again, from one and the same model"#);
    insta::assert_snapshot!(changed("merges.txt", "q q\n".into()), @"DIR: is no tokenizer (Token `qq` out of vocabulary at line 1 column 2838); give a tokenizer.json as Hugging Face's `tokenizers` writes it");
    insta::assert_snapshot!(fault(&folder(&[("tokenizer.model", "x".into())])), @"DIR: has a `tokenizer.model` and no tokenizer.json; make a tokenizer.json in it: transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)");
    insta::assert_snapshot!(fault(&folder(&[])), @"DIR: has no tokenizer.json; name the tokenizer, or put its file into the folder");
    assert_eq!(tokenizer_of(folder(&[]).path()).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn marked_text_without_ordinary_parts_is_trusted_text(
        parts in prop::collection::vec(prop_oneof!["<s>", "</s>", "<s", "AB", "the", " ", "\n", "in the", "there", "b", "é", "ab", "THERE"], 0..12),
    ) {
        let fixture = Fixture::read();
        let template = ChatTemplate::new("test", "{{ text }}").unwrap();
        for base in ["first", "prepend", "bytes prefixed", "strip", "lowercase"] {
            let tokenizer = fixture.tokenizer(base, "mixed");
            let mut template = template.clone();
            template.variables.insert("text".into(), parts.concat().into());
            let ids = template.ids(&[], false, &tokenizer).unwrap();
            prop_assert_eq!(ids, tokenizer.encode_with_special(&parts.concat()));
        }
    }
}

#[test]
fn names_of_special_tokens_in_further_fields_stay_text() {
    let fixture = Fixture::read();
    let source = "{% for m in messages %}<s>{{ m.role }}{{ m.reasoning_content }}{{ m.tool_calls }}{{ m.content }}{% endfor %}";
    let template = ChatTemplate::new("test", source).unwrap();
    for base in fixture.bases.keys() {
        let tokenizer = fixture.tokenizer(base, "mixed");
        let mut message = ChatMessage::new("user<s>", "hi");
        message.extra.insert("reasoning_content", "in </s> ok");
        let calls: sinterlm_data::Json = serde_json::from_value(json!([{"name": "<s>"}])).unwrap();
        message.extra.insert("tool_calls", calls);
        let ids = template.ids(&[message], false, &tokenizer).unwrap();
        let special = ids.iter().filter(|id| tokenizer.is_special(**id));
        assert_eq!(special.count(), 1, "{base}");
    }
}

#[test]
fn a_template_that_looks_for_a_special_name_in_a_message_refuses_it() {
    let fixture = Fixture::read();
    let source =
        "{% for m in messages %}{% if '<s>' in m.content %}yes{% else %}no{% endif %}{% endfor %}";
    let template = ChatTemplate::new("test", source).unwrap();
    let base = fixture.bases.keys().next().unwrap();
    let tokenizer = fixture.tokenizer(base, "mixed");
    let ids = |content: &str| template.ids(&[ChatMessage::new("user", content)], false, &tokenizer);
    let text = tokenizer.decode(&ids("s").unwrap());
    assert_eq!(text.replace(['\u{2581}', '\u{120}', ' '], ""), "no");
    let error = ids("a <s>").unwrap_err().to_string();
    assert!(
        error.contains("<s>, which is a special token's name"),
        "{error}"
    );
}
