//! Files of prompts: JSON objects in the forms of completion, instruction and chat data, read as
//! texts to train on are. Every record is checked before any is used.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sinterlm_data::{
    Body, ChatMessage, DataError, InvalidUtf8, Json, JsonMap, JsonRecords, RecordPlace,
};

use crate::asking::{instruction as asked, joined};
use crate::error::TextError;

/// The fields that a record is read by.
const FIELDS: [&str; 7] = [
    "prompt",
    COMPLETIONS[0],
    COMPLETIONS[1],
    COMPLETIONS[2],
    "instruction",
    "input",
    "messages",
];
/// How the continuation of a prompt is called where training reads one.
const COMPLETIONS: [&str; 3] = ["completion", "response", "answer"];

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
    /// Where it stands in the file.
    pub place: RecordPlace,
    /// What the model is asked. An answer that it holds is not looked at.
    pub body: Body,
}

impl PromptRecord {
    /// The prompt in words: the text, an instruction with its input behind an empty line, or what was
    /// said last.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.body {
            Body::Completion { prompt: text, .. } | Body::Labelled { text, .. } => text.into(),
            Body::Instruction {
                instruction, input, ..
            } => joined(instruction, input),
            Body::Chat { messages: all } | Body::Preference { prompt: all, .. } => {
                all.last().map_or("", |last| &last.content).into()
            }
        }
    }
}

impl PromptRecords {
    /// Reads a file of JSON objects, one a line or all in one array, plain or compressed (see
    /// [`JsonRecords`]), each in one of three forms: `{"prompt": ..}`,
    /// `{"instruction": .., "input": ..}` (Alpaca; `input` may be absent or empty) or
    /// `{"messages": [{"role": .., "content": ..}, ..]}`. Further fields are ignored, as are empty
    /// lines.
    ///
    /// A prompt is an instruction without an input; one with a `completion`, `response` or `answer` is a
    /// text to continue as it stands, which is what training makes of such a record.
    ///
    /// # Errors
    /// [`TextError::Data`] for a file that cannot be read, is not JSON or holds no record,
    /// [`TextError::Record`] for the first record that has none of the forms or is not text.
    pub fn read(path: &Path) -> Result<Self, TextError> {
        if !path.try_exists().unwrap_or(true) {
            let path = path.to_owned();
            return Err(DataError::SourceMissing { path }.into());
        }
        let mut file = JsonRecords::open(path, &FIELDS, InvalidUtf8::Error)?;
        let mut records = Vec::new();
        while let Some(record) = file.next_record().map_err(without_keys)? {
            let place = record.place;
            let body = read_body(&record.fields).map_err(|(field, fault)| TextError::Record {
                path: path.to_owned(),
                place,
                field,
                fault,
            })?;
            records.push(PromptRecord { place, body });
        }
        let path = path.to_owned();
        if records.is_empty() {
            return Err(DataError::NoDocuments { path }.into());
        }
        Ok(Self { path, records })
    }
}

/// An error whose remedy names no key of a run's config, which answering does not read.
fn without_keys(error: DataError) -> TextError {
    match error {
        DataError::LoneSurrogate {
            path,
            place,
            column,
            escape,
        } => TextError::Record {
            path,
            place,
            field: format!("column {column}"),
            fault: format!("`{escape}` is half of a character (a lone surrogate); mend the text"),
        },
        DataError::JsonNotObject { path, place, .. } => TextError::Record {
            path,
            place,
            field: "record".to_owned(),
            fault: "is no JSON object; write {\"prompt\": \"..\"}".to_owned(),
        },
        DataError::InvalidUtf8 { path, offset, byte } => TextError::NotUtf8 { path, offset, byte },
        other => other.into(),
    }
}

/// A field and what is wrong with it.
type Fault = (String, String);

fn fault<T>(field: impl Into<String>, fault: impl Into<String>) -> Result<T, Fault> {
    Err((field.into(), fault.into()))
}

/// The prompt of a record.
fn read_body(record: &JsonMap) -> Result<Body, Fault> {
    let forms = ["prompt", "instruction", "messages"];
    let given: Vec<&str> = forms
        .into_iter()
        .filter(|form| record.get(form).is_some())
        .collect();
    match given[..] {
        ["instruction"] => instruction(record),
        ["messages"] => {
            let messages = messages(&record["messages"])?;
            Ok(Body::Chat { messages })
        }
        [] => fault(
            "record",
            "has none of prompt, instruction and messages; add one of them",
        ),
        [_] => {
            let prompt = text_of(record, "prompt")?;
            let is_text = |name: &&str| matches!(record.get(name), Some(Json::Text(_)));
            Ok(if COMPLETIONS.iter().any(is_text) {
                let completion = String::new();
                Body::Completion { prompt, completion }
            } else {
                asked(&prompt)
            })
        }
        [first, second, ..] => fault(second, format!("there is {first} too; keep one of them")),
    }
}

fn text_of(record: &JsonMap, field: &str) -> Result<String, Fault> {
    match &record[field] {
        Json::Text(text) => Ok(text.clone()),
        other => fault(field, format!("is {}; write a text", kind_of(other))),
    }
}

fn instruction(record: &JsonMap) -> Result<Body, Fault> {
    let instruction = text_of(record, "instruction")?;
    if instruction.trim().is_empty() {
        return fault("instruction", "is empty; say what is to be done");
    }
    let input = match record.get("input") {
        None | Some(Json::Null) => String::new(),
        Some(_) => text_of(record, "input")?,
    };
    Ok(Body::Instruction {
        instruction,
        input,
        output: String::new(),
    })
}

/// The messages of a record. Their fields keep the order of the file, which a template can print.
fn messages(value: &Json) -> Result<Vec<ChatMessage>, Fault> {
    let Json::List(list) = value else {
        let what = format!("is {}; write a list of messages", kind_of(value));
        return fault("messages", what);
    };
    let messages: Result<Vec<_>, Fault> = list.iter().enumerate().map(message).collect();
    let messages = messages?;
    match messages.last() {
        None => fault("messages", "is empty; write at least one message"),
        Some(ChatMessage { role, .. }) if role == "assistant" => fault(
            format!("messages.{}.role", messages.len() - 1),
            "the assistant spoke last; end with what is to be answered",
        ),
        Some(_) => Ok(messages),
    }
}

fn message((at, entry): (usize, &Json)) -> Result<ChatMessage, Fault> {
    let Json::Map(entry) = entry else {
        let what = format!("is {}; write an object", kind_of(entry));
        return fault(format!("messages.{at}"), what);
    };
    let text = |field: &str| match entry.get(field) {
        Some(Json::Text(text)) => Ok(text.as_str()),
        None => fault(format!("messages.{at}.{field}"), "is missing; add it"),
        Some(other) => {
            let what = format!("is {}; write a text", kind_of(other));
            fault(format!("messages.{at}.{field}"), what)
        }
    };
    let mut message = ChatMessage::new(text("role")?, text("content")?);
    for (name, value) in entry.iter() {
        if !matches!(name, "role" | "content") {
            message.extra.insert(name, value.clone());
        }
    }
    Ok(message)
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null or not a number",
        Json::Bool(_) => "a boolean",
        Json::Int(_) | Json::Float(_) => "a number",
        Json::Text(_) => "a text",
        Json::List(_) => "a list",
        Json::Map(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Result<PromptRecords, TextError> {
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
        let texts: Vec<(u64, Cow<str>)> = records
            .iter()
            .map(|record| (record.place.line, record.text()))
            .collect();
        let expected = [(1, "Once"), (3, "Add.\n\n1 2"), (4, "Sing."), (5, "Hi")];
        assert_eq!(texts, expected.map(|(line, text)| (line, text.into())));
        let Body::Chat { messages } = &records[3].body else {
            panic!("{:?}", records[3]);
        };
        let extra = &messages[1].extra;
        let names: Vec<&str> = extra.iter().map(|(name, _)| name).collect();
        assert_eq!(
            (names.as_slice(), &extra["name"]),
            (&["name", "id"][..], &"a".into())
        );
    }

    #[test]
    fn a_prompt_is_asked_unless_a_completion_shows_that_it_is_continued() {
        let text = "{\"prompt\": \"a\", \"response_0\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n\
            {\"prompt\": \"a\", \"answer\": null}\n{\"prompt\": \"a\", \"response\": \"\"}\n";
        let records = read(text).unwrap().records;
        let is_continued = |record: &PromptRecord| matches!(record.body, Body::Completion { .. });
        let continued: Vec<bool> = records.iter().map(is_continued).collect();
        assert_eq!(continued, [false, true, false, true]);
    }

    #[test]
    fn prompts_are_read_as_texts_are() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for text in [
            "[\n{\"prompt\": \"a\", \"score\": NaN},\n{\n\"messages\": [{\"role\": \"user\",\r\n\"content\": \"b\"}]}]\r\n",
            &format!(
                "{{\"x\": {deep}, \"prompt\": \"a\"}}\r\n\r\n{{\n\"prompt\": \"x\",\n\"prompt\": \"b\"}}"
            ),
            "{\"prompt\": \"a\", \"id\": \"\\ud83d\"}\n\u{feff}{\"prompt\": \"b\"}\n",
        ] {
            let records = read(text).unwrap().records;
            let texts: Vec<_> = records.iter().map(PromptRecord::text).collect();
            assert_eq!(texts, ["a", "b"], "{text}");
        }
        let error = read("[{\"prompt\": \"a\"},\n\n{\"prompt\": NaN}]").unwrap_err();
        let words =
            "prompts.jsonl, record 2 (line 3), prompt: is null or not a number; write a text";
        assert!(error.to_string().ends_with(words), "{error}");
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
            (
                "{\"prompt\": \"b\\ud83d\"}",
                "column 14: `\\ud83d` is half of a character (a lone surrogate); mend the text",
            ),
        ] {
            let error = read(format!("{{\"prompt\": \"a\"}}\n{line}\n")).unwrap_err();
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
        let error = read("{\"prompt\": \"a\"}\n  {\"prompt\": ]}\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with(
                "prompts.jsonl: line 2, column 14 is not valid JSON: expected value; each line has to \
                 hold one object, or the file one array of objects"
            ),
            "{error}"
        );
        let error = read(b"{\"prompt\": \"\xe9\"}").unwrap_err().to_string();
        assert!(
            error.ends_with("byte 12 (0xe9) is not UTF-8; save the file as such"),
            "{error}"
        );
        let missing = PromptRecords::read(Path::new("missing.jsonl")).unwrap_err();
        assert!(missing.to_string().contains("no such file"), "{missing}");
    }
}
