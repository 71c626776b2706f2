//! What stands beside the weights of a model for text, to be written beside those of a model that is
//! tuned from it: both then read a prompt and end a text alike.

use std::path::Path;

use serde_json::{Map, Value, json};
use sinterlm_data::{ChatTemplate, DataError, TEXT_FILES, TextMarks, Tokenizer, made_text_files};
use sinterlm_formats::WeightFile;
use sinterlm_model::{read_config, read_end_ids};

use crate::error::TextError;

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Names and contents of the files for text that belong to the model folder or file at `path`, which is
/// read with `tokenizer`: all but the tokenizer itself, which a run writes, and the form of its prompts.
///
/// A model folder of a run with them in it, and weights tuned from these, begins and ends texts as the
/// model at `path` does, by the same chat template. So a published folder without
/// `tokenizer_config.json` gets one, a file the ones that stand for its metadata, and
/// `generation_config.json` names the ids that end a text where only the description of the model did.
/// For a model of ours there is often nothing to write.
///
/// # Errors
/// [`TextError::Data`] for a file that cannot be read, [`TextError::Model`] and [`TextError::Format`]
/// for damaged weights or descriptions.
pub fn text_files_of(
    path: &Path,
    tokenizer: &Tokenizer,
) -> Result<Vec<(String, Vec<u8>)>, TextError> {
    let mut files = if path.is_dir() {
        of_folder(path, tokenizer)?
    } else {
        of_file(path, tokenizer)?
    };
    let ends = read_end_ids(path)?;
    if !ends.is_empty() && ends != [tokenizer.end_of_text()] {
        name_ends(&mut files, &ends);
    }
    Ok(files)
}

fn of_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Vec<(String, Vec<u8>)>, TextError> {
    let mut files = Vec::new();
    for name in TEXT_FILES {
        let path = folder.join(name);
        if name == TOKENIZER || !path.is_file() {
            continue;
        }
        let content = std::fs::read(&path).map_err(|source| DataError::Io {
            path,
            action: "read a file for text",
            source,
        })?;
        files.push((name.to_owned(), content));
    }
    let is_there = files.iter().any(|(name, _)| name == TOKENIZER_CONFIG);
    if !is_there && TextMarks::are_named(folder, tokenizer) {
        // It names no marks: the other files do, or the tokenizer itself.
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
        });
        files.push((TOKENIZER_CONFIG.to_owned(), printed(&config)));
    }
    Ok(files)
}

fn of_file(path: &Path, tokenizer: &Tokenizer) -> Result<Vec<(String, Vec<u8>)>, TextError> {
    let (marks, template) = match WeightFile::open(path)? {
        WeightFile::Gguf(file) => (
            TextMarks::from_gguf(&file)?,
            ChatTemplate::from_gguf(&file)?,
        ),
        _ => (TextMarks::of_tokenizer(tokenizer), None),
    };
    let max_seq_len = read_config(path)?.max_seq_len;
    let made = made_text_files(tokenizer, &marks, template.as_ref(), max_seq_len).into_iter();
    Ok(made
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .collect())
}

/// Has `generation_config.json` name the ids that end a text.
fn name_ends(files: &mut Vec<(String, Vec<u8>)>, ends: &[u32]) {
    let at = files.iter().position(|(name, _)| name == GENERATION_CONFIG);
    // One that is no JSON was refused when the ids were read.
    let read = at.and_then(|at| serde_json::from_slice(&files[at].1).ok());
    let mut config: Map<String, Value> = read.unwrap_or_default();
    let named = match config.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
        id => Vec::from_iter(id.and_then(Value::as_u64)),
    };
    if named.into_iter().eq(ends.iter().map(|id| u64::from(*id))) {
        return;
    }
    config.insert("eos_token_id".to_owned(), json!(ends));
    let file = (GENERATION_CONFIG.to_owned(), printed(&config.into()));
    match at {
        Some(at) => files[at] = file,
        None => files.push(file),
    }
}

fn printed(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("a JSON value prints");
    (text + "\n").into_bytes()
}
