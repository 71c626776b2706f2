//! Text without a break: training and encoding end in time whatever a text consists of.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sinterlm_data::Tokenizer;

/// Far above the second or so that each of these takes, far below the hours that the square of two
/// million does.
const IN_TIME: Duration = Duration::from_mins(1);
const BYTES: usize = 2_000_000;

/// Two million bytes of one word, of each kind that a pre-tokenizer knows, and of a random one.
fn endless() -> Vec<String> {
    let mut state = 1_u64;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'a' + ((state >> 33) % 26) as u8)
    };
    let random: String = (0..BYTES).map(|_| letter()).collect();
    let parts = [
        "a",
        " ",
        "\n",
        "1",
        "!",
        "é",
        "中",
        "\u{1f600}",
        "\r\n",
        "ab",
    ];
    let texts = parts.map(|part| part.repeat(BYTES / part.len()));
    texts.into_iter().chain([random]).collect()
}

#[test]
fn training_on_endless_words_ends() {
    for text in endless() {
        let begun = Instant::now();
        let name: String = text.chars().take(3).collect();
        let tokenizer = Tokenizer::train_bpe([text.as_str(), "a b"], 258).unwrap();
        assert!(begun.elapsed() < IN_TIME, "{name:?}: {:?}", begun.elapsed());
        assert_eq!(tokenizer.vocab_size(), 258);
    }
}

#[test]
fn long_words_of_ordinary_text_are_trained_on_as_a_whole() {
    let word = "ab".repeat(2048);
    let merges = |text: &str, size: usize| -> Value {
        let tokenizer = Tokenizer::train_bpe([text], size).unwrap();
        serde_json::from_str::<Value>(&tokenizer.to_json()).unwrap()["model"]["merges"].clone()
    };
    // Each merge doubles the length, up to the whole word.
    let all = merges(&word, 257 + 12);
    assert_eq!(all[11], json!(["ab".repeat(1024), "ab".repeat(1024)]));
    assert_eq!(merges(&(word.clone() + &word), 257 + 12), all);
    assert!(Tokenizer::train_bpe([word.clone() + &word], 257 + 13).is_err());
}

#[test]
fn encoding_endless_words_ends_and_cuts_what_follows_as_ever() {
    let trained = Tokenizer::train_bpe(["the end, it's 12 ends"], 262).unwrap();
    let llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let mut json: Value = serde_json::from_str(&trained.to_json()).unwrap();
    json["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "Regex": llama3 }, "behavior": "Isolated", "invert": false },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
    ] });
    let llama3 = Tokenizer::from_json(&json.to_string(), Path::new("llama3")).unwrap();
    let tail = "-\n the end, it's 12 ends";
    for tokenizer in [Tokenizer::gpt2(), trained, llama3] {
        for text in endless() {
            let begun = Instant::now();
            let ids = tokenizer.encode(&(text.clone() + tail));
            let name: String = text.chars().take(3).collect();
            assert!(begun.elapsed() < IN_TIME, "{name:?}: {:?}", begun.elapsed());
            let short = text.chars().take(12).collect::<String>() + tail;
            let short = tokenizer.encode(&short);
            assert_eq!(ids[ids.len() - 8..], short[short.len() - 8..], "{name:?}");
            assert_eq!(tokenizer.decode(&ids), text + tail);
        }
    }
}
