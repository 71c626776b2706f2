//! Which form records have, found out from the first of them.

use super::columns::{Columns, Field, Row};
use crate::{DataError, FieldNames, Json, JsonRecord, RecordForm};
use std::path::Path;

/// Fields that are listed where no form fits.
const LISTED_FIELDS: usize = 12;

/// The form of a file whose first record is `first`; it holds the fields of every form.
///
/// # Errors
/// [`DataError::RecordForm`] where no form fits, or more than one.
pub(super) fn detect(
    first: &JsonRecord,
    names: &FieldNames,
    path: &Path,
) -> Result<RecordForm, DataError> {
    let columns = Columns::new(RecordForm::Auto, names);
    let row = Row::new(first.clone(), &columns);
    let has = |fields: &[Field]| fields.iter().all(|&field| row.has(field));
    let prompt_and_pair = has(&[Field::Prompt])
        && columns
            .of(Field::Completion)
            .any(|name| matches!(first.fields.get(name), Some(Json::List(_))));
    let is_preference = has(&[Field::Chosen, Field::Rejected])
        || has(&[Field::Response0, Field::Response1])
        || prompt_and_pair;
    if is_preference {
        return Ok(RecordForm::Preference);
    }
    let messages = has(&[Field::Messages]).then(|| {
        let is_openai = first.fields.get("messages").is_some();
        if is_openai {
            RecordForm::Messages
        } else {
            RecordForm::ShareGpt
        }
    });
    let alpaca = has(&[Field::Instruction, Field::Output]).then_some(RecordForm::Alpaca);
    let completion = has(&[Field::Prompt, Field::Completion]).then_some(RecordForm::Completion);
    let mut fitting: Vec<RecordForm> = [messages, alpaca, completion]
        .into_iter()
        .flatten()
        .collect();
    // `label` beside answers says what they are worth, and whoever ignores it learns the bad ones, too;
    // a `category` only tells what they are about.
    let is_judged = names.label.is_some() || first.fields.get("label").is_some();
    let is_labelled = has(&[Field::Label]) && (fitting.is_empty() || is_judged);
    if is_labelled && (has(&[Field::Text]) || !fitting.is_empty()) {
        fitting.push(RecordForm::Labelled);
    }
    if let [form] = fitting[..] {
        return Ok(form);
    }
    let fault = if fitting.is_empty() {
        "no form has them all".to_owned()
    } else {
        let names: Vec<&str> = fitting.iter().map(|&form| name(form)).collect();
        format!("they may be {}", names.join(" or "))
    };
    Err(DataError::RecordForm {
        path: path.to_owned(),
        place: first.place,
        fields: listed(first),
        fault,
    })
}

/// A form's name in the config.
pub(super) fn name(form: RecordForm) -> &'static str {
    match form {
        RecordForm::Auto => "auto",
        RecordForm::Alpaca => "alpaca",
        RecordForm::Completion => "completion",
        RecordForm::Messages => "messages",
        RecordForm::ShareGpt => "share_gpt",
        RecordForm::Labelled => "labelled",
        RecordForm::Preference => "preference",
    }
}

fn listed(first: &JsonRecord) -> String {
    let known = first.fields.iter().map(|(name, _)| name);
    let mut names: Vec<&str> = known
        .chain(first.others.iter().map(|name| &**name))
        .collect();
    let rest = names.len().saturating_sub(LISTED_FIELDS);
    names.truncate(LISTED_FIELDS);
    match (names.is_empty(), rest) {
        (true, _) => "none".to_owned(),
        (_, 0) => format!("`{}`", names.join("`, `")),
        _ => format!("`{}` and {rest} more", names.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordPlace;

    fn form(json: &str) -> Result<RecordForm, String> {
        let first = JsonRecord {
            place: RecordPlace {
                record: None,
                line: 1,
            },
            fields: serde_json::from_str(json).unwrap(),
            others: vec!["extra".into()],
        };
        detect(&first, &FieldNames::default(), Path::new("f")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_fields_of_a_record_tell_its_form() {
        for (json, expected) in [
            (
                r#"{"instruction":"a","output":"b","text":"c"}"#,
                RecordForm::Alpaca,
            ),
            (
                r#"{"instruction":"a","context":"","response":"b","category":"qa"}"#,
                RecordForm::Alpaca,
            ),
            (r#"{"prompt":"a","response":"b"}"#, RecordForm::Completion),
            (
                r#"{"prompt":"a","response":["b","c"]}"#,
                RecordForm::Preference,
            ),
            (r#"{"question":"a","answer":"b"}"#, RecordForm::Completion),
            (r#"{"messages":[]}"#, RecordForm::Messages),
            (r#"{"conversations":[]}"#, RecordForm::ShareGpt),
            (
                r#"{"conversations":[],"chosen":{},"rejected":{}}"#,
                RecordForm::Preference,
            ),
            (
                r#"{"prompt":"a","response_0":"b","response_1":"c"}"#,
                RecordForm::Preference,
            ),
            (r#"{"v1":"ham","v2":"c"}"#, RecordForm::Labelled),
            (r#"{"sms":"c","label":0}"#, RecordForm::Labelled),
        ] {
            assert_eq!(form(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn a_record_of_two_forms_or_of_none_is_refused_with_its_fields() {
        let judged = form(r#"{"messages":[],"label":true}"#).unwrap_err();
        assert!(
            judged.contains("they may be messages or labelled"),
            "{judged}"
        );
        assert!(judged.contains("`messages`, `label`, `extra`"), "{judged}");
        let unknown = form(r#"{"instruction":"a"}"#).unwrap_err();
        assert!(unknown.contains("no form has them all"), "{unknown}");
        assert!(unknown.contains("data.form"), "{unknown}");
    }
}
