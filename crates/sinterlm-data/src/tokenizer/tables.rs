//! Byte-level tokenizers of `vocab.json` and `merges.txt`, as older folders have them without a
//! `tokenizer.json`. How they cut text stands in no file: the class that the folder names says it.

use std::path::Path;

use serde_json::{Map, Value, json};
use sinterlm_formats::refuse_lfs_pointer;

use super::beside::{FolderMarks, read_json};
use super::gpt2::byte_symbols;
use super::made;
use super::pre::Cut;
use super::{END_OF_TEXT, Tokenizer, fault};
use crate::{DataError, Json};

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const MAKE_JSON: &str = "make a tokenizer.json in it: transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";
const DAMAGED: &str = "fetch vocab.json and merges.txt again, from one and the same model";

/// Whether a folder holds the tables.
pub(super) fn are_in(folder: &Path) -> bool {
    folder.join(VOCAB).is_file() && folder.join(MERGES).is_file()
}

/// The tokenizer of a folder without a `tokenizer.json`.
pub(super) fn from_folder(folder: &Path) -> Result<Tokenizer, DataError> {
    let refuse = |reason: String| fault(folder, reason, MAKE_JSON);
    if !are_in(folder) {
        let others = ["tokenizer.model", "vocab.txt", "spiece.model", VOCAB];
        let found = others.iter().find(|name| folder.join(name).is_file());
        return Err(match found {
            Some(name) => refuse(format!("has a `{name}` and no tokenizer.json")),
            None => fault(
                folder,
                "has no tokenizer.json",
                "name the tokenizer, or put its file into the folder",
            ),
        });
    }
    let marks = FolderMarks::read(folder)?;
    let (name, byte_level) = cut(&marks).map_err(refuse)?;
    let vocab = read_json(&folder.join(VOCAB), Value::is_object)?;
    let spelt = byte_symbols();
    let is_byte_level = |vocab: &Map<String, Value>| {
        let mut symbol = [0; 4];
        spelt
            .iter()
            .all(|c| vocab.contains_key(&*c.encode_utf8(&mut symbol)))
    };
    if !vocab.as_object().is_some_and(is_byte_level) {
        return Err(refuse(format!(
            "has a {VOCAB} without a token for each byte, so it is not of the kind that {name} reads"
        )));
    }
    let path = folder.join(MERGES);
    let text = std::fs::read_to_string(&path).map_err(|source| DataError::Io {
        path: path.clone(),
        action: "read the merges",
        source,
    })?;
    refuse_lfs_pointer(&path, text.as_bytes())?;
    let merges = merges(&text).map_err(|reason| fault(&path, reason, DAMAGED))?;
    let added = usual_marks(&marks, &vocab);
    let mut whole = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges },
    });
    for (key, value) in byte_level {
        whole[key] = value;
    }
    made::from_json(&whole.to_string(), folder, Some(&marks))
}

/// How the tokenizer that the folder names treats text before merging, by keys of a `tokenizer.json`.
fn cut(marks: &FolderMarks) -> Result<(String, Map<String, Value>), String> {
    let config = marks.config();
    let text = |file: &Json, key: &str| file.get(key)?.as_str().map(str::to_owned);
    let named = text(config, "tokenizer_class");
    let described = text(marks.model(), "model_type");
    let name = named.or(described).unwrap_or_else(|| "gpt2".to_owned());
    let mut parts = Map::new();
    let cut = match name.trim_end_matches("Fast") {
        "GPT2Tokenizer" | "gpt2" => "gpt-2",
        "Qwen2Tokenizer" | "qwen2" | "qwen3" => {
            parts.insert("normalizer".to_owned(), json!({ "type": "NFC" }));
            "qwen2"
        }
        _ => {
            return Err(format!(
                "has {VOCAB} and {MERGES} for {name:?} and no tokenizer.json; known are GPT2Tokenizer and Qwen2Tokenizer"
            ));
        }
    };
    for option in ["add_bos_token", "add_prefix_space"] {
        if config.get(option) == Some(&Json::Bool(true)) {
            return Err(format!("has `{option}` set and no tokenizer.json"));
        }
    }
    let cut = Cut::named(cut).expect("both names are known, as a test shows");
    parts.insert("pre_tokenizer".to_owned(), cut.to_json());
    Ok((name, parts))
}

/// The pairs of a `merges.txt`: two tokens a line, behind a line with the version.
fn merges(text: &str) -> Result<Vec<[&str; 2]>, String> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let is_version = number == 0 && line.starts_with("#version");
        if is_version || line.is_empty() {
            continue;
        }
        let pair = line
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '));
        let (left, right) = pair.ok_or_else(|| {
            let number = number + 1;
            format!("has line {number} that is no pair of tokens, {line:?}")
        })?;
        pairs.push([left, right]);
    }
    Ok(pairs)
}

/// The marks that GPT-2 and Qwen2 have where the folder does not name them, as in a `tokenizer.json`.
fn usual_marks(marks: &FolderMarks, vocab: &Value) -> Vec<Value> {
    let is_unnamed = |mark: &&str| marks.texts(mark).next().is_none();
    let any = ["unk_token", "eos_token"].iter().any(is_unnamed);
    let id = vocab[END_OF_TEXT].as_u64().filter(|_| any);
    let entry = |id: u64| {
        json!({
            "id": id, "content": END_OF_TEXT, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    id.map(entry).into_iter().collect()
}
