//! Tokenizers and templates in GGUF files, against what others make of the same files.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use proptest::prelude::*;
use serde::Deserialize;
use sinterlm_data::{ChatMessage, ChatTemplate, DataError, TextMarks, TextStream, Tokenizer};
use sinterlm_formats::{GgufFile, GgufMetadata, GgufValue, TensorSource, write_gguf};

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

/// `fixtures/smollm2_ids.json`: ids by llama.cpp.
#[derive(Deserialize)]
struct Published {
    cases: Vec<Case>,
    with_special: Case,
}

/// `fixtures/sentencepiece.json`: a vocabulary, and ids by `sentencepiece` and llama.cpp.
#[derive(Deserialize)]
struct Pieces {
    tokens: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<i32>,
    cases: Vec<Case>,
}

const TEXTS: [&str; 8] = [
    "Once upon a time, there was a little girl.",
    "  two spaces, a\ttab\n\n\nand 1234567 digits: 3.14 ",
    "it's we'll DON'T I'M",
    "Grüße aus Köln, 北京 and 🙂🇩🇪",
    "<|endoftext|> is text here, and so is </s>",
    "fn main() { println!(\"{}\", 0x1F); }",
    " ",
    "\u{0}\u{7f}\u{fffd}\r\n",
];

/// A file without tensors that has this metadata.
fn file(metadata: &GgufMetadata) -> GgufFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    write_gguf(&path, metadata, &[], |_| unreachable!("it has no tensor")).unwrap();
    GgufFile::open(&path).unwrap()
}

fn trained() -> Tokenizer {
    Tokenizer::train_bpe(TEXTS, 300).unwrap()
}

fn text(metadata: &GgufMetadata, key: &str) -> String {
    match &metadata[key] {
        GgufValue::String(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trained_tokenizer_comes_back_from_a_gguf() {
    let tokenizer = trained();
    let marks = TextMarks::of_training(&tokenizer);
    let metadata = tokenizer.to_gguf(&marks, 320).unwrap();
    assert_eq!(text(&metadata, "tokenizer.ggml.pre"), "gpt-2");
    let file = file(&metadata);
    assert_eq!(TextMarks::from_gguf(&file).unwrap(), marks);
    let back = Tokenizer::from_gguf(&file).unwrap();
    assert_eq!(back.vocab_size(), 320, "a token for each row");
    assert_eq!(back.end_of_text(), tokenizer.end_of_text());
    for text in TEXTS {
        let ids = tokenizer.encode(text);
        assert_eq!(back.encode(text), ids, "{text:?}");
        assert_eq!(back.decode(&ids), text);
        let special = format!("{text}<|endoftext|>{text}");
        assert_eq!(
            back.encode_with_special(&special),
            tokenizer.encode_with_special(&special)
        );
        // A text begins where the one before ends, as in training.
        let begun = [vec![tokenizer.end_of_text()], ids].concat();
        assert_eq!(back.encode_with_template(text), begun);
    }
}

#[test]
fn gpt2_comes_back_from_a_gguf() {
    let gpt2 = Tokenizer::gpt2();
    let marks = TextMarks {
        bos: Some(gpt2.end_of_text()),
        eos: Some(gpt2.end_of_text()),
        ..TextMarks::default()
    };
    let back = Tokenizer::from_gguf(&file(&gpt2.to_gguf(&marks, 50_257).unwrap())).unwrap();
    for text in TEXTS {
        assert_eq!(back.encode(text), gpt2.encode(text), "{text:?}");
        assert_eq!(
            back.encode_with_template(text),
            gpt2.encode(text),
            "{text:?}"
        );
    }
    let error = gpt2.to_gguf(&marks, 50_000).unwrap_err().to_string();
    assert!(error.contains("50257 tokens, the model 50000"), "{error}");
}

/// The `tokenizer.json` of [`trained`], changed.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Tokenizer {
    let mut json = serde_json::from_str(&trained().to_json()).unwrap();
    change(&mut json);
    Tokenizer::from_json(&json.to_string(), "changed".as_ref()).unwrap()
}

#[test]
fn what_published_files_say_without_effect_does_not_matter() {
    let tokenizer = changed(|json| {
        json["normalizer"] = serde_json::json!({ "type": "Sequence", "normalizers": [] });
        json["model"]["ignore_merges"] = true.into();
    });
    let marks = TextMarks::of_training(&tokenizer);
    let back = Tokenizer::from_gguf(&file(&tokenizer.to_gguf(&marks, 300).unwrap())).unwrap();
    for text in TEXTS {
        assert_eq!(back.encode(text), tokenizer.encode(text), "{text:?}");
    }
    // A token that no merge makes.
    let tokenizer = changed(|json| {
        json["model"]["ignore_merges"] = true.into();
        json["model"]["vocab"]["qzq"] = 300.into();
    });
    let error = tokenizer.to_gguf(&marks, 301).unwrap_err().to_string();
    assert!(error.contains("ignore_merges"), "{error}");
}

#[test]
fn deepseeks_end_of_a_text_is_known() {
    let end = "<｜end▁of▁sentence｜>";
    let tokenizer = changed(|json| {
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let id = vocab.remove("<|endoftext|>").unwrap();
        vocab.insert(end.to_owned(), id);
        json["added_tokens"][0]["content"] = end.into();
    });
    assert_eq!(tokenizer.end_of_text(), tokenizer.special(end).unwrap());
}

/// Pieces like Gemma's: no space before a text, runs of spaces and line breaks whose merges stand
/// among each other, the longest beginnings first.
fn with_runs(begun_last: bool) -> Tokenizer {
    let runs: Vec<String> = ["\n", "▁"]
        .iter()
        .flat_map(|c| (1..=5).map(|n| c.repeat(n)))
        .collect();
    let mut merges = Vec::new();
    for left in (1..5).rev() {
        for right in (1..=5 - left).rev() {
            for c in ["\n", "▁"] {
                merges.push([c.repeat(left), c.repeat(right)]);
            }
        }
    }
    if !begun_last {
        merges.reverse();
    }
    merges.push(["▁".to_owned(), "a".to_owned()]);
    let pieces = ["<unk>", "</s>", "a", "▁a"].map(str::to_owned);
    let vocab: serde_json::Map<_, _> = pieces
        .into_iter()
        .chain(runs)
        .enumerate()
        .map(|(id, text)| (text, id.into()))
        .collect();
    let special = |id: u32, content: &str| {
        serde_json::json!({ "id": id, "content": content, "special": true, "single_word": false,
                            "lstrip": false, "rstrip": false, "normalized": false })
    };
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [special(0, "<unk>"), special(1, "</s>")],
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        "pre_tokenizer": { "type": "Split", "pattern": { "String": " " },
                           "behavior": "MergedWithPrevious", "invert": false },
        "post_processor": null,
        "decoder": { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
        "model": { "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                   "vocab": vocab, "merges": merges },
    });
    Tokenizer::from_json(&json.to_string(), "runs".as_ref()).unwrap()
}

#[test]
fn runs_that_grow_by_one_come_back_from_scores() {
    let tokenizer = with_runs(true);
    let marks = TextMarks::of_training(&tokenizer);
    let metadata = tokenizer.to_gguf(&marks, 14).unwrap();
    let back = Tokenizer::from_gguf(&file(&metadata)).unwrap();
    for spaces in 0..14 {
        for text in [
            " ".repeat(spaces),
            format!("a{}a", " ".repeat(spaces)),
            format!("{}{}a\n", "\n".repeat(spaces), " ".repeat(spaces / 2)),
        ] {
            assert_eq!(back.encode(&text), tokenizer.encode(&text), "{text:?}");
        }
    }
    // Where runs of two are made first, a run of four is two of them, which no score can say.
    let error = with_runs(false).to_gguf(&marks, 14).unwrap_err();
    assert!(error.to_string().contains("stand apart"), "{error}");
}

/// The ids are llama.cpp's, see `fixtures/gen_tokenizers.py`.
#[test]
fn the_published_smollm2_encodes_as_in_llama_cpp() {
    let Some(path) = std::env::var_os("SINTERLM_SMOLLM2") else {
        eprintln!("skipped: set SINTERLM_SMOLLM2 to the GGUF of SmolLM2-135M-Instruct in Q4_1");
        return;
    };
    let published: Published =
        serde_json::from_str(include_str!("../fixtures/smollm2_ids.json")).unwrap();
    let file = GgufFile::open(path).unwrap();
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let marks = TextMarks::from_gguf(&file).unwrap();
    assert_eq!(
        (marks.bos, marks.eos, marks.add_bos),
        (Some(1), Some(2), false)
    );
    let again = Tokenizer::from_gguf(&self::file(&tokenizer.to_gguf(&marks, 49_152).unwrap()));
    for tokenizer in [&tokenizer, &again.unwrap()] {
        for Case { text, ids } in &published.cases {
            assert_eq!(tokenizer.encode(text), *ids, "{text:?}");
            assert_eq!(tokenizer.decode(ids), *text);
        }
        let Case { text, ids } = &published.with_special;
        assert_eq!(tokenizer.encode_with_special(text), *ids);
    }
    let template = ChatTemplate::from_gguf(&file).unwrap().unwrap();
    let chat = [ChatMessage::new("user", "Hi <b>there</b>!")];
    let chat = template.encode(&chat, true, &tokenizer).unwrap();
    assert!(
        chat.text.ends_with(&published.with_special.text),
        "{}",
        chat.text
    );
    assert!(chat.ids.ends_with(&published.with_special.ids));
}

/// A file with the vocabulary of `fixtures/sentencepiece.json`, and what encodes to what.
fn pieces() -> (GgufFile, Vec<Case>) {
    let pieces: Pieces =
        serde_json::from_str(include_str!("../fixtures/sentencepiece.json")).unwrap();
    let mut metadata = GgufMetadata::new();
    for (key, value) in [
        ("model", GgufValue::from("llama")),
        ("tokens", pieces.tokens.into()),
        ("scores", pieces.scores.into()),
        ("token_type", pieces.kinds.into()),
    ] {
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
    }
    (file(&metadata), pieces.cases)
}

#[test]
fn pieces_with_scores_encode_as_in_sentencepiece() {
    let (read, cases) = pieces();
    let tokenizer = Tokenizer::from_gguf(&read).unwrap();
    let marks = TextMarks::from_gguf(&read).unwrap();
    let back = Tokenizer::from_gguf(&file(&tokenizer.to_gguf(&marks, 480).unwrap())).unwrap();
    for tokenizer in [&tokenizer, &back] {
        assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text()), (480, 2));
        for Case { text, ids } in &cases {
            assert_eq!(tokenizer.encode(text), *ids, "{text:?}");
            let begun = [&[1], ids.as_slice()].concat();
            assert_eq!(tokenizer.encode_with_template(text), begun, "{text:?}");
            // `▁` stands for a space and cannot stand for itself.
            assert_eq!(tokenizer.decode(ids), text.replace('▁', " "));
            for at in 0..ids.len() {
                let text = in_two_parts(tokenizer, ids, at);
                assert_eq!(text, tokenizer.decode(ids), "{at}");
            }
        }
    }
}

#[test]
fn the_marks_of_a_folder_are_those_that_its_files_name() {
    let tokenizer = Tokenizer::from_gguf(&pieces().0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let marks = || TextMarks::from_folder(folder.path(), &tokenizer, &[2, 7]);
    let by_tokenizer = TextMarks {
        bos: Some(1),
        eos: Some(2),
        eot: Some(7),
        add_bos: true,
        ..TextMarks::default()
    };
    assert_eq!(marks().unwrap(), by_tokenizer, "it puts <s> before a text");
    std::fs::write(folder.path().join("manifest.json"), "{}").unwrap();
    assert_eq!(marks().unwrap(), TextMarks::of_training(&tokenizer));
    let path = folder.path().join("tokenizer_config.json");
    let config = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>"}"#;
    std::fs::write(&path, config).unwrap();
    let expected = TextMarks {
        bos: Some(1),
        eos: Some(2),
        eot: Some(7),
        unknown: Some(0),
        padding: None,
        add_bos: true,
        add_eos: false,
    };
    assert_eq!(marks().unwrap(), expected);
    // Its tokenizer begins texts with a mark that no file calls so.
    std::fs::write(&path, "{}").unwrap();
    let found = marks().unwrap();
    assert_eq!((found.bos, found.add_bos), (Some(1), true));
    std::fs::write(&path, "{").unwrap();
    let error = marks().unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json: is no JSON"),
        "{error}"
    );
}

/// The text of `ids`, the first `at` of them as a prompt, whose last character may be cut.
fn in_two_parts(tokenizer: &Tokenizer, ids: &[u32], at: usize) -> String {
    let (prompt, rest) = ids.split_at(at);
    let is_cut = |prompt: &[u32]| tokenizer.decode(prompt).ends_with('\u{fffd}');
    if is_cut(prompt) {
        return tokenizer.decode(ids);
    }
    let begun = [&[1], prompt].concat();
    let mut stream = TextStream::new(tokenizer).after(&begun);
    let mut text = tokenizer.decode(prompt);
    text.extend(rest.iter().map(|id| stream.push(*id)));
    text + &stream.finish()
}

#[test]
fn a_template_travels_with_the_names_of_its_marks() {
    let tokenizer = trained();
    let marks = TextMarks::of_training(&tokenizer);
    let mut metadata = tokenizer.to_gguf(&marks, 300).unwrap();
    assert!(ChatTemplate::from_gguf(&file(&metadata)).unwrap().is_none());
    let source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
    ChatTemplate::new("here", source)
        .unwrap()
        .to_gguf(&mut metadata);
    let template = ChatTemplate::from_gguf(&file(&metadata)).unwrap().unwrap();
    assert_eq!(template.source(), source);
    let text = template
        .render(&[ChatMessage::new("user", "hi")], true)
        .unwrap();
    assert_eq!(text, "<|endoftext|>hi<|endoftext|>");
}

#[test]
fn what_is_wrong_with_a_files_tokenizer_is_named() {
    let tokenizer = trained();
    let good = tokenizer
        .to_gguf(&TextMarks::of_training(&tokenizer), 300)
        .unwrap();
    let strings = |texts: &[&str]| -> GgufValue {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
            .into()
    };
    let cases: Vec<(&str, Option<GgufValue>, &str)> = vec![
        ("model", None, "has no tokenizer"),
        ("model", Some("bert".into()), "\"bert\""),
        ("model", Some(7u32.into()), "tokenizer.ggml.model"),
        ("pre", Some("nobody".into()), "\"nobody\""),
        ("tokens", None, "tokenizer.ggml.tokens"),
        ("tokens", Some(strings(&["a", "a"])), "twice, as 0 and 1"),
        ("merges", None, "tokenizer.ggml.merges"),
        ("merges", Some(strings(&["ab"])), "merge 0"),
        ("merges", Some(strings(&["zz zz"])), "zz"),
        (
            "token_type",
            Some(vec![1i32; 3].into()),
            "3 token types for 300 tokens",
        ),
        ("token_type", Some(vec![9i32; 300].into()), "type 9"),
        ("eos_token_id", Some(300u32.into()), "names 300 as a mark"),
        ("eos_token_id", Some("</s>".into()), "eos_token_id"),
        ("add_bos_token", Some(1u32.into()), "add_bos_token"),
    ];
    for (key, value, expected) in cases {
        let mut metadata = good.clone();
        let key = format!("tokenizer.ggml.{key}");
        match &value {
            Some(value) => metadata.insert(key.clone(), value.clone()),
            None => metadata.remove(&key),
        };
        let error = Tokenizer::from_gguf(&file(&metadata))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{key} {value:?}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any lists, of any lengths, give a tokenizer or an error.
    #[test]
    fn hostile_metadata_gives_an_error_and_no_panic(
        pieces in any::<bool>(),
        tokens in prop::collection::vec("[a-c ▁<>0x]{0,6}|\\PC{0,3}", 0..12),
        kinds in prop::option::of(prop::collection::vec(0i32..8, 0..12)),
        scores in prop::collection::vec(prop_oneof![Just(f32::NAN), -9f32..9.0], 0..12),
        merges in prop::collection::vec("[a-c ▁]{0,5}", 0..4),
        ids in prop::collection::vec(prop_oneof![0u32..14, Just(u32::MAX)], 3),
        flags in prop::collection::vec(any::<bool>(), 3),
    ) {
        let mut metadata = GgufMetadata::new();
        let mut put = |key: &str, value: GgufValue| {
            metadata.insert(format!("tokenizer.ggml.{key}"), value);
        };
        put("model", if pieces { "llama" } else { "gpt2" }.into());
        put("pre", "llama-bpe".into());
        put("tokens", tokens.into());
        put("scores", scores.into());
        put("merges", merges.into());
        if let Some(kinds) = kinds {
            put("token_type", kinds.into());
        }
        for (name, id) in ["bos", "eos", "unknown"].iter().zip(ids) {
            put(&format!("{name}_token_id"), id.into());
        }
        for (name, flag) in ["add_bos_token", "add_eos_token", "add_space_prefix"].iter().zip(flags) {
            put(name, flag.into());
        }
        match Tokenizer::from_gguf(&file(&metadata)) {
            Ok(tokenizer) => {
                for text in TEXTS {
                    let ids = tokenizer.encode_with_template(text);
                    prop_assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
                    tokenizer.decode(&ids);
                }
            }
            Err(error) => {
                let named = matches!(error, DataError::Tokenizer { .. } | DataError::Format(_));
                prop_assert!(named, "{}", error);
            }
        }
    }
}

#[test]
fn each_fault_has_a_remedy_of_its_own() {
    let whole = trained();
    let metadata = whole.to_gguf(&TextMarks::of_training(&whole), 300).unwrap();
    let fault = |key: &str, value: GgufValue| {
        let mut metadata = metadata.clone();
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
        let file = file(&metadata);
        let error = Tokenizer::from_gguf(&file).unwrap_err().to_string();
        error.replace(&file.path().display().to_string(), "FILE")
    };
    insta::assert_snapshot!(fault("eos_token_id", 999_u32.into()), @"FILE: names 999 as a mark and has 300 tokens; convert the model to GGUF again, or name its tokenizer.json as its tokenizer");
    insta::assert_snapshot!(fault("tokens", vec!["a".to_owned(); 300].into()), @r#"FILE: has the token "a" twice, as 0 and 1; convert the model to GGUF again, or name its tokenizer.json as its tokenizer"#);
    insta::assert_snapshot!(fault("merges", vec!["ab".to_owned()].into()), @r#"FILE: has merge 0 that is no pair, "ab"; convert the model to GGUF again, or name its tokenizer.json as its tokenizer"#);
    insta::assert_snapshot!(fault("model", "t5".into()), @r#"FILE: has a tokenizer of another kind, `tokenizer.ggml.model` is "t5"; known are gpt2, llama; name the model's tokenizer.json as its tokenizer"#);
    insta::assert_snapshot!(fault("pre", "nobody".into()).split("; ").last().unwrap(), @"name the model's tokenizer.json as its tokenizer");
}
