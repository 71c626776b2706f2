//! Tokenizers against references: ids of GPT-2, training, streaming, files.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;
use sinterlm_data::{DataError, END_OF_TEXT, TextStream, Tokenizer};

/// A file of the shared test data, or none where that is not set.
fn shared(file: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("SINTERLM_TEST_DATA") else {
        eprintln!("skipped: SINTERLM_TEST_DATA is not set");
        return None;
    };
    Some(PathBuf::from(folder).join(file))
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn fixture() -> Vec<Case> {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/gpt2_ids.json")).unwrap();
    fixture.cases
}

#[test]
fn gpt2_ids_equal_the_reference_and_tiktoken_on_odd_texts() {
    let gpt2 = Tokenizer::gpt2();
    assert_eq!((gpt2.vocab_size(), gpt2.end_of_text()), (50_257, 50_256));
    for Case { text, ids } in fixture() {
        assert_eq!(gpt2.encode(&text), ids, "{text:?}");
        assert_eq!(
            tiktoken_rs::r50k_base_singleton().encode_ordinary(&text),
            ids,
            "{text:?}"
        );
        assert_eq!(gpt2.decode(&ids), text);
    }
}

#[test]
fn the_built_in_merges_equal_the_published_files() {
    let (Some(published), Some(vocab_bpe), Some(as_found)) = (
        shared("tokenizer_gpt2/tokenizer.json"),
        shared("tokenizer_gpt2/vocab.bpe"),
        shared("tokenizer_gpt2/tokenizer.as_found.json"),
    ) else {
        return;
    };
    let gpt2 = Tokenizer::gpt2();
    let json: serde_json::Value = serde_json::from_str(&gpt2.to_json()).unwrap();
    let merges: Vec<String> = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            format!(
                "{} {}",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            )
        })
        .collect();
    let file = std::fs::read_to_string(vocab_bpe).unwrap();
    let expected: Vec<_> = file
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(merges.len(), 50_000);
    assert_eq!(merges, expected);

    let published = Tokenizer::from_file(&published).unwrap();
    // This file was saved with truncation to 50 tokens, which must not cut anything here.
    let as_found = Tokenizer::from_file(&as_found).unwrap();
    let mut texts = vec!["word ".repeat(200)];
    for file in [
        "tinystories/tinystories_valid.txt",
        "instruct/alpaca_zh_demo.json",
    ] {
        texts.push(std::fs::read_to_string(shared(file).unwrap()).unwrap());
    }
    for text in &texts {
        let ids = gpt2.encode(text);
        assert_eq!(ids, published.encode(text));
        assert_eq!(ids, as_found.encode(text));
        assert_eq!(
            ids,
            tiktoken_rs::r50k_base_singleton().encode_ordinary(text)
        );
        assert_eq!(gpt2.decode(&ids), *text);
    }
}

#[test]
fn user_text_never_becomes_a_special_token() {
    let trained = Tokenizer::train_bpe(["a b c"], 257).unwrap();
    for tokenizer in [Tokenizer::gpt2(), trained] {
        let text = format!("a{END_OF_TEXT}b");
        let end = tokenizer.end_of_text();
        assert!(!tokenizer.encode(&text).contains(&end));
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
        let (a, b) = (tokenizer.encode("a"), tokenizer.encode("b"));
        assert_eq!(
            tokenizer.encode_with_special(&text),
            [a, vec![end], b].concat()
        );
        assert_eq!(tokenizer.encode_with_special("a"), tokenizer.encode("a"));
    }
}

#[test]
fn a_saved_tokenizer_loads_as_the_same_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for tokenizer in [
        Tokenizer::gpt2(),
        Tokenizer::train_bpe(["the cat sat"], 260).unwrap(),
    ] {
        tokenizer.save(&path).unwrap();
        let loaded = Tokenizer::from_file(&path).unwrap();
        assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
        assert_eq!(
            loaded.encode("the cat <|endoftext|>"),
            tokenizer.encode("the cat <|endoftext|>")
        );
    }
}

#[test]
fn training_does_not_depend_on_the_order_of_documents() {
    let texts = [
        "the cat sat on the mat",
        "a dog and the cat",
        "on and on, the end",
    ];
    let there = Tokenizer::train_bpe(texts, 275).unwrap();
    let back = Tokenizer::train_bpe(texts.into_iter().rev(), 275).unwrap();
    assert_eq!(there.to_json(), back.to_json());
    assert_eq!(there.end_of_text(), 0);
}

/// The reference breaks ties between equally frequent pairs by their bytes, ours by their ids, so
/// the merges differ where counts are equal.
#[test]
fn training_agrees_with_the_reference_but_for_ties() {
    let (Some(corpus), Some(vocab)) = (
        shared("bpe_reference/corpus.en"),
        shared("bpe_reference/train-bpe-reference-vocab.json"),
    ) else {
        return;
    };
    let corpus = std::fs::read_to_string(corpus).unwrap();
    let ours = Tokenizer::train_bpe([corpus], 500).unwrap();
    let json: serde_json::Value = serde_json::from_str(&ours.to_json()).unwrap();
    let ours = json["model"]["vocab"].as_object().unwrap();
    let reference: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(vocab).unwrap()).unwrap();
    let reference = reference.as_object().unwrap();
    assert_eq!((ours.len(), reference.len()), (500, 500));
    let common = ours
        .keys()
        .filter(|token| reference.contains_key(*token))
        .count();
    assert!(common >= 490, "{common} of 500 tokens in common");
}

#[test]
fn unusable_files_are_named_with_the_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let message = |path: &std::path::Path| {
        let error = Tokenizer::from_file(path).unwrap_err();
        error
            .to_string()
            .replace(&folder.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(message(&path), @"DIR/tokenizer.json: cannot read the tokenizer; check that the path exists");
    std::fs::write(&path, "{}").unwrap();
    insta::assert_snapshot!(message(&path), @"DIR/tokenizer.json: is no tokenizer (Model missing. at line 1 column 2); give a tokenizer.json as Hugging Face's `tokenizers` writes it");
    let nameless = Tokenizer::gpt2().to_json().replace(END_OF_TEXT, "[OTHER]");
    std::fs::write(&path, nameless).unwrap();
    insta::assert_snapshot!(message(&path), @r#"DIR/tokenizer.json: has none of the tokens ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[EOS]", "<｜end▁of▁sentence｜>"]; name one as `eos_token` in a tokenizer_config.json beside it, or give a tokenizer that has an end-of-text token"#);
    let unknowing = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
        "normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"</s>":0},"unk_token":"<unk>"}}"#;
    std::fs::write(&path, unknowing).unwrap();
    insta::assert_snapshot!(message(&path), @"DIR/tokenizer.json: cannot encode unknown characters (WordLevel error: Missing [UNK] token from the vocabulary); give one that has its unknown token in the vocabulary, or one made of bytes");
    let error = Tokenizer::train_bpe(["aaa"], 300).unwrap_err();
    assert!(matches!(error, DataError::VocabularyTooLarge { .. }));
    insta::assert_snapshot!(error, @"tokenizer.vocab_size: the training text yields only 259 tokens, 300 were asked for; lower it to 259 or add text");
}

/// The library itself panics on these.
#[test]
fn a_normalizer_or_decoder_that_cannot_be_read_is_refused() {
    let whole = Tokenizer::gpt2().to_json();
    let put = |part: &str, json: &str| {
        let next = if part == "decoder" {
            "model"
        } else {
            "pre_tokenizer"
        };
        let (start, rest) = whole.split_once(&format!("\"{part}\":")).unwrap();
        let (_, end) = rest.split_once(&format!(",\"{next}\":")).unwrap();
        format!("{start}\"{part}\":{json},\"{next}\":{end}")
    };
    let table =
        |content: &str| format!(r#"{{"type":"Precompiled","precompiled_charsmap":{content}}}"#);
    let in_list = format!(r#"{{"type":"Sequence","normalizers":[{}]}}"#, table("7"));
    for (part, json) in [
        ("decoder", r#"{"type":"ByteLevel" 1}"#),
        ("decoder", r#"{"type":"Strip","start":1e999}"#),
        ("normalizer", &table(r#""no base64!""#)),
        ("normalizer", &table(r#""""#)),
        ("normalizer", &table("7")),
        ("normalizer", &in_list),
    ] {
        let error = Tokenizer::from_json(&put(part, json), "odd".as_ref()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("odd: is no tokenizer ("), "{error}");
    }
    Tokenizer::from_json(&put("normalizer", "null"), "whole".as_ref()).unwrap();
}

#[test]
fn a_stream_gives_whole_characters_only() {
    let gpt2 = Tokenizer::gpt2();
    let mut stream = TextStream::new(&gpt2);
    let ids = gpt2.encode("I 🙂 从");
    let pieces: Vec<_> = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(pieces.concat(), "I 🙂 从");
    assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
    // Cut within a character: what is held back comes out as the replacement character.
    let mut stream = TextStream::new(&gpt2);
    assert_eq!(stream.push(gpt2.encode("从")[0]), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_stream_of_any_ids_adds_up_to_decoding_them_all(
        // The bytes, where broken characters come from, and some words.
        ids in prop::collection::vec(prop_oneof![0_u32..256, 0_u32..50_257], 0..24),
    ) {
        let gpt2 = gpt2();
        let mut stream = TextStream::new(gpt2);
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        prop_assert_eq!(text, gpt2.decode(&ids));
    }

    #[test]
    fn any_text_survives_encoding_and_decoding(text in "\\PC*|[ \\t\\r\\n\\PC]{0,20}") {
        prop_assert_eq!(gpt2().decode(&gpt2().encode(&text)), text);
    }
}

fn gpt2() -> &'static Tokenizer {
    static GPT2: std::sync::LazyLock<Tokenizer> = std::sync::LazyLock::new(Tokenizer::gpt2);
    &GPT2
}

/// Byte-level, with a special token `<|stop|>` of id 257 and another of id 258.
fn with_special_tokens() -> Tokenizer {
    let mut json: serde_json::Value =
        serde_json::from_str(&Tokenizer::train_bpe(["a"], 257).unwrap().to_json()).unwrap();
    let mut token = json["added_tokens"][0].clone();
    for (id, name) in [(257, "<|stop|>"), (258, "<|tool|>")] {
        token["id"] = id.into();
        token["content"] = name.into();
        json["added_tokens"]
            .as_array_mut()
            .unwrap()
            .push(token.clone());
    }
    Tokenizer::from_json(&json.to_string(), "special".as_ref()).unwrap()
}

#[test]
fn the_name_of_a_special_token_stops_a_text() {
    let tokenizer = with_special_tokens();
    // Text of trusted ids, stop strings, the text that is given, and which of them stopped it.
    let cases: [(&str, &[&str], &str, Option<&str>); 12] = [
        ("ab<|stop|>cd", &["<|stop|>"], "ab", Some("<|stop|>")),
        ("ab<|tool|>cd", &["<|stop|>"], "abcd", None),
        (
            "ab<|tool|><|stop|>cd",
            &["<|stop|>"],
            "ab",
            Some("<|stop|>"),
        ),
        (
            "ab\n<|stop|>User:",
            &["\n<|stop|>User"],
            "ab",
            Some("\n<|stop|>User"),
        ),
        ("a\nb\n<|stop|>Us", &["\n<|stop|>User"], "a\nb\nUs", None),
        (
            "ab<|tool|><|stop|>x",
            &["<|tool|><|stop|>"],
            "ab",
            Some("<|tool|><|stop|>"),
        ),
        ("ab<|tool|>x<|stop|>x", &["<|tool|><|stop|>"], "abxx", None),
        // Other stop strings see neither the tokens nor parts of their names.
        (
            "ab\n<|tool|>User:",
            &["\nUser:", "<|stop|>"],
            "ab",
            Some("\nUser:"),
        ),
        ("ab<|tool|>c<d", &["<", "<|stop|>"], "abc", Some("<")),
        ("ab<|tool|>c|>d", &["|>", "<|stop|>"], "abc", Some("|>")),
        ("a<|stop|>b|>c", &["|>", "x<|stop|>"], "ab", Some("|>")),
        ("ab<|tool|>", &["b<|stop|>"], "ab", None),
    ];
    for (text, stops, expected, stopped) in cases {
        let mut stream = TextStream::new(&tokenizer).skip_special().with_stops(stops);
        let ids = tokenizer.encode_with_special(text);
        let mut given: String = ids.iter().map(|id| stream.push(*id)).collect();
        assert_eq!(stream.stopped(), stopped, "{text:?}, {stops:?}");
        given += &stream.finish();
        assert_eq!(given, expected, "{text:?}, {stops:?}");
    }
    // The characters of the name stop it as well.
    let mut stream = TextStream::new(&tokenizer).with_stops(&["<|stop|>"]);
    let ids = tokenizer.encode("ab<|stop|>c");
    let given: String = ids.iter().map(|id| stream.push(*id)).collect();
    assert_eq!((given.as_str(), stream.stopped()), ("ab", Some("<|stop|>")));
}
