//! What other programs need of a model folder for text: the tokenizer, its marks, where texts end, the
//! chat template. The weights beside it are the model's.

use std::path::Path;

use serde_json::{Map, Value, json};
use sinterlm_formats::write_file_atomic;

use crate::{ChatTemplate, DataError, TextMarks, Tokenizer};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
/// Names of all files that Hugging Face's programs write for text.
pub const TEXT_FILES: [&str; 11] = [
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    GENERATION_CONFIG,
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
];

/// Whether a model folder says how its tokenizer is to be used, as published ones do.
pub fn has_text_files(folder: &Path) -> bool {
    folder.join(TOKENIZER_CONFIG).is_file()
}

/// Copies what a published model folder holds for text, as it is.
///
/// # Errors
/// [`DataError::Io`] where a file cannot be copied.
pub fn copy_text_files(from: &Path, to: &Path) -> Result<(), DataError> {
    for name in TEXT_FILES {
        let path = from.join(name);
        if path.is_file() {
            std::fs::copy(&path, to.join(name)).map_err(|source| DataError::Io {
                path,
                action: "copy",
                source,
            })?;
        }
    }
    Ok(())
}

/// Writes `tokenizer.json`, `tokenizer_config.json`, `generation_config.json` and, where there is a
/// template, `chat_template.jinja` into a folder.
///
/// What `marks` put around a text becomes part of `tokenizer.json`, so that every program reads a
/// prompt as ours do.
///
/// # Errors
/// [`DataError::Format`] where a file cannot be written.
pub fn save_text_files(
    folder: &Path,
    tokenizer: &Tokenizer,
    marks: &TextMarks,
    template: Option<&ChatTemplate>,
    max_seq_len: usize,
) -> Result<(), DataError> {
    let own = [("tokenizer.json", marked_json(tokenizer, marks))];
    let others = made_text_files(tokenizer, marks, template, max_seq_len);
    for (name, text) in own.into_iter().chain(others) {
        write_file_atomic(folder.join(name), |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Names and contents of the files that [`save_text_files`] writes beside `tokenizer.json`.
pub fn made_text_files(
    tokenizer: &Tokenizer,
    marks: &TextMarks,
    template: Option<&ChatTemplate>,
    max_seq_len: usize,
) -> Vec<(&'static str, String)> {
    let pretty =
        |value: &Value| serde_json::to_string_pretty(value).expect("a JSON value prints") + "\n";
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": max_seq_len,
    });
    for (key, id) in [
        ("bos_token", marks.bos),
        ("eos_token", marks.eos),
        ("unk_token", marks.unknown),
        ("pad_token", marks.padding),
    ] {
        if let Some(id) = id {
            config[key] = tokenizer.decode(&[id]).into();
        }
    }
    let ends: Vec<u32> = marks.eos.into_iter().chain(marks.eot).collect();
    let mut generation = Map::new();
    for (key, id) in [("bos_token_id", marks.bos), ("pad_token_id", marks.padding)] {
        if let Some(id) = id {
            generation.insert(key.to_owned(), id.into());
        }
    }
    match ends[..] {
        [] => {}
        [end] => drop(generation.insert("eos_token_id".to_owned(), end.into())),
        _ => drop(generation.insert("eos_token_id".to_owned(), ends.into())),
    }
    let mut files = vec![
        (TOKENIZER_CONFIG, pretty(&config)),
        (GENERATION_CONFIG, pretty(&generation.into())),
    ];
    if let Some(template) = template {
        files.push(("chat_template.jinja", template.source().to_owned()));
    }
    files
}

/// The `tokenizer.json` of a tokenizer that puts the marks around a text.
fn marked_json(tokenizer: &Tokenizer, marks: &TextMarks) -> String {
    let begin = marks.bos.filter(|_| marks.add_bos);
    let end = marks.eos.filter(|_| marks.add_eos);
    let inside = tokenizer.encode("a");
    let wanted: Vec<u32> = begin.into_iter().chain(inside).chain(end).collect();
    if tokenizer.encode_with_template("a") == wanted {
        return tokenizer.to_json();
    }
    let special =
        |id: &u32| json!({"SpecialToken": {"id": tokenizer.decode(&[*id]), "type_id": 0}});
    let around = |names: &[&str]| -> Value {
        let mut parts = Vec::new();
        for name in names {
            parts.extend(begin.iter().map(special));
            parts.push(json!({"Sequence": {"id": name, "type_id": 0}}));
            parts.extend(end.iter().map(special));
        }
        parts.into()
    };
    let known: Map<String, Value> = begin
        .iter()
        .chain(&end)
        .map(|id| {
            let name = tokenizer.decode(&[*id]);
            let entry = json!({"id": name, "ids": [id], "tokens": [name]});
            (name, entry)
        })
        .collect();
    let mut json: Value =
        serde_json::from_str(&tokenizer.to_json()).expect("a tokenizer is written as JSON");
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": around(&["A"]),
        "pair": around(&["A", "B"]),
        "special_tokens": known,
    });
    serde_json::to_string(&json).expect("a JSON value prints")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_of_ours_begins_texts_in_other_programs_as_in_training() {
        let tokenizer = Tokenizer::train_bpe(["a cat and a cap"], 262).unwrap();
        let marks = TextMarks::of_training(&tokenizer);
        let template = ChatTemplate::new("t", "{{ bos_token }}{{ messages[0].content }}").unwrap();
        let folder = tempfile::tempdir().unwrap();
        save_text_files(folder.path(), &tokenizer, &marks, Some(&template), 64).unwrap();
        assert!(has_text_files(folder.path()));

        let read = Tokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
        let mut expected = vec![tokenizer.end_of_text()];
        expected.extend(tokenizer.encode(" a cat"));
        assert_eq!(read.encode_with_template(" a cat"), expected);
        assert_eq!(read.encode(" a cat"), tokenizer.encode(" a cat"));
        assert_eq!(read.decode(&expected), "<|endoftext|> a cat");

        let found = TextMarks::from_folder(folder.path(), &read, &[0]).unwrap();
        assert_eq!(found, marks);
        let found = ChatTemplate::from_folder(folder.path()).unwrap().unwrap();
        assert_eq!(found.source(), template.source());
        assert_eq!(found.variables["bos_token"], "<|endoftext|>");

        let copy = tempfile::tempdir().unwrap();
        copy_text_files(folder.path(), copy.path()).unwrap();
        let names = |folder: &Path| -> Vec<String> {
            let mut names: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(copy.path()), names(folder.path()));
        assert_eq!(names(copy.path()).len(), 4);
    }

    #[test]
    fn marks_that_are_put_around_texts_already_are_not_put_twice() {
        let tokenizer = Tokenizer::train_bpe(["a cat and a cap"], 262).unwrap();
        let marks = TextMarks {
            add_eos: true,
            ..TextMarks::of_training(&tokenizer)
        };
        let once = marked_json(&tokenizer, &marks);
        let read = Tokenizer::from_json(&once, Path::new("once")).unwrap();
        assert_eq!(read.encode_with_template("").len(), 2);
        assert_eq!(marked_json(&read, &marks), read.to_json());
    }
}
