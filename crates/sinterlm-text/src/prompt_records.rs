//! Files of prompts: one JSON object a line, in the forms of completion, instruction and chat data.
//! Every record is checked before any is used.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sinterlm_data::{ChatMessage, DataError};
use sinterlm_formats::refuse_lfs_pointer;

use crate::error::TextError;

/// The prompts of a file, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptRecords {
    /// The file.
    pub path: PathBuf,
    /// Its records, at least one.
    pub records: Vec<PromptRecord>,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptRecord {
    /// Line of the file, from 1.
    pub line: usize,
    /// What the model is asked.
    pub form: PromptForm,
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptForm {
    /// A text to continue: the value of `prompt`, or `instruction` with `input` behind an empty line.
    Text(String),
    /// A conversation to answer, which does not end with the assistant.
    Messages(Vec<ChatMessage>),
}

impl PromptForm {
    /// The prompt in words: the text, or what was said last.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Messages(messages) => messages.last().map_or("", |last| &last.content),
        }
    }

    /// The prompt as a conversation.
    pub(crate) fn messages(&self) -> Vec<ChatMessage> {
        match self {
            Self::Text(text) => vec![ChatMessage::new("user", text)],
            Self::Messages(messages) => messages.clone(),
        }
    }
}

impl PromptRecords {
    /// Reads a file of JSON objects, one a line, each in one of three forms: `{"prompt": ..}`,
    /// `{"instruction": .., "input": ..}` (Alpaca; `input` may be absent or empty) or
    /// `{"messages": [{"role": .., "content": ..}, ..]}`. Further fields are ignored, as are empty
    /// lines.
    ///
    /// # Errors
    /// [`TextError::Data`] for a file that cannot be read or holds no record, [`TextError::Record`]
    /// for the first line that has none of the forms, [`TextError::Format`] for what Git LFS leaves in
    /// place of a file.
    pub fn read(path: &Path) -> Result<Self, TextError> {
        let bytes = fs::read(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => DataError::SourceMissing {
                path: path.to_owned(),
            },
            _ => DataError::SourceRead {
                path: path.to_owned(),
                source,
            },
        })?;
        refuse_lfs_pointer(path, &bytes)?;
        let mut records = Vec::new();
        for (line, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            let form = read_line(bytes).map_err(|(field, fault)| TextError::Record {
                path: path.to_owned(),
                line,
                field,
                fault,
            })?;
            records.extend(form.map(|form| PromptRecord { line, form }));
        }
        if records.is_empty() {
            let path = path.to_owned();
            return Err(DataError::NoDocuments { path }.into());
        }
        let path = path.to_owned();
        Ok(Self { path, records })
    }
}

/// A field and what is wrong with it.
type Fault = (String, String);

fn fault<T>(field: impl Into<String>, fault: impl Into<String>) -> Result<T, Fault> {
    Err((field.into(), fault.into()))
}

/// The prompt of a line, none where it is empty.
fn read_line(bytes: &[u8]) -> Result<Option<PromptForm>, Fault> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return fault("record", "is not UTF-8; save the file as such");
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    let record: Map<String, Value> = match serde_json::from_str(text) {
        Ok(Value::Object(record)) => record,
        Ok(_) => return fault("record", "is no JSON object; write {\"prompt\": \"..\"}"),
        Err(error) => {
            let what = format!("is no JSON ({error}); write one object a line");
            return fault("record", what);
        }
    };
    let forms = ["prompt", "instruction", "messages"];
    let given: Vec<&str> = forms
        .into_iter()
        .filter(|form| record.contains_key(*form))
        .collect();
    match given[..] {
        ["instruction"] => instruction(&record).map(|text| Some(PromptForm::Text(text))),
        ["messages"] => {
            messages(&record["messages"], text).map(|all| Some(PromptForm::Messages(all)))
        }
        [] => fault(
            "record",
            "has none of prompt, instruction and messages; add one of them",
        ),
        [_] => text_of(&record, "prompt").map(|text| Some(PromptForm::Text(text))),
        [first, second, ..] => fault(second, format!("there is {first} too; keep one of them")),
    }
}

fn text_of(record: &Map<String, Value>, field: &str) -> Result<String, Fault> {
    match &record[field] {
        Value::String(text) => Ok(text.clone()),
        other => fault(field, format!("is {}; write a text", kind_of(other))),
    }
}

fn instruction(record: &Map<String, Value>) -> Result<String, Fault> {
    let text = text_of(record, "instruction")?;
    if text.trim().is_empty() {
        return fault("instruction", "is empty; say what is to be done");
    }
    let input = match record.get("input") {
        None | Some(Value::Null) => String::new(),
        Some(_) => text_of(record, "input")?,
    };
    if input.trim().is_empty() {
        return Ok(text);
    }
    Ok(format!("{text}\n\n{input}"))
}

/// A record with its fields in order.
#[derive(serde::Deserialize)]
struct Record {
    messages: Vec<ChatMessage>,
}

/// The messages of a record, which is `text`: their fields keep the order in it, which a template can
/// print.
fn messages(value: &Value, text: &str) -> Result<Vec<ChatMessage>, Fault> {
    let Some(list) = value.as_array() else {
        let what = format!("is {}; write a list of messages", kind_of(value));
        return fault("messages", what);
    };
    for (at, entry) in list.iter().enumerate() {
        let Some(entry) = entry.as_object() else {
            let what = format!("is {}; write an object", kind_of(entry));
            return fault(format!("messages.{at}"), what);
        };
        for field in ["role", "content"] {
            match entry.get(field) {
                Some(Value::String(_)) => {}
                None => return fault(format!("messages.{at}.{field}"), "is missing; add it"),
                Some(other) => {
                    let what = format!("is {}; write a text", kind_of(other));
                    return fault(format!("messages.{at}.{field}"), what);
                }
            }
        }
    }
    let messages = match serde_json::from_str(text) {
        Ok(Record { messages }) => messages,
        Err(error) => return fault("messages", format!("cannot be read ({error})")),
    };
    match messages.last() {
        None => fault("messages", "is empty; write at least one message"),
        Some(ChatMessage { role, .. }) if role == "assistant" => fault(
            format!("messages.{}.role", messages.len() - 1),
            "the assistant spoke last; end with what is to be answered",
        ),
        Some(_) => Ok(messages),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PromptRecords, TextError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        fs::write(&path, text).unwrap();
        PromptRecords::read(&path)
    }

    #[test]
    fn three_forms_are_read_with_their_lines() {
        let text = "\u{feff}{\"prompt\": \"Once\", \"id\": 7}\n\n{\"instruction\": \"Add.\", \"input\": \
            \"1 2\", \"output\": \"3\"}\n{\"instruction\": \"Sing.\", \"input\": \"\"}\n{\"messages\": [\
            {\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \"Hi\", \
            \"name\": \"a\", \"id\": 7}]}\n";
        let records = read(text).unwrap().records;
        let texts: Vec<(usize, &str)> = records.iter().map(|r| (r.line, r.form.text())).collect();
        let expected = [(1, "Once"), (3, "Add.\n\n1 2"), (4, "Sing."), (5, "Hi")];
        assert_eq!(texts, expected);
        let extra = &records[3].form.messages()[1].extra;
        let names: Vec<&str> = extra.iter().map(|(name, _)| name).collect();
        assert_eq!(
            (names.as_slice(), &extra["name"]),
            (&["name", "id"][..], &"a".into())
        );
    }

    #[test]
    fn bad_records_are_named_by_line_and_field() {
        for (line, words) in [
            ("{\"prompt\": 3}", "prompt: is a number; write a text"),
            (
                "{\"prompt\": \"a\", \"messages\": []}",
                "messages: there is prompt too",
            ),
            (
                "{\"text\": \"a\"}",
                "record: has none of prompt, instruction",
            ),
            ("{\"instruction\": \" \"}", "instruction: is empty"),
            (
                "{\"instruction\": \"a\", \"input\": []}",
                "input: is a list",
            ),
            ("{\"messages\": {}}", "messages: is an object"),
            ("{\"messages\": []}", "messages: is empty"),
            ("{\"messages\": [4]}", "messages.0: is a number"),
            (
                "{\"messages\": [{\"role\": \"user\"}]}",
                "messages.0.content: is missing",
            ),
            (
                "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}",
                "messages.0.role: the assistant spoke last",
            ),
            ("[1]", "record: is no JSON object"),
            ("{\"prompt\": ", "record: is no JSON ("),
        ] {
            let error = read(&format!("{{\"prompt\": \"a\"}}\n{line}\n")).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("prompts.jsonl, line 2, "), "{text}");
            assert!(text.contains(words), "{text}");
        }
        assert!(
            read("\n\n")
                .unwrap_err()
                .to_string()
                .contains("holds no document")
        );
        let missing = PromptRecords::read(Path::new("missing.jsonl")).unwrap_err();
        assert!(missing.to_string().contains("no such file"), "{missing}");
    }
}
