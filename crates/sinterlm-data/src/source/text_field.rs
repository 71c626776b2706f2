//! The text of one JSON record. Finding and reading records belongs to `json_records`.

use std::path::Path;

use super::json_records::JsonRecord;
use crate::{DataError, Json};

/// Names of a record's fields that are listed where none resembles the wanted one.
const LISTED_FIELDS: usize = 8;

/// The string in field `field` of a record.
pub(super) fn text_of(record: JsonRecord, field: &str, path: &Path) -> Result<String, DataError> {
    let place = record.place;
    match record.fields.into_iter().next() {
        Some((_, Json::Text(text))) => Ok(text),
        Some((_, other)) => Err(DataError::JsonFieldType {
            path: path.to_owned(),
            place,
            field: field.to_owned(),
            found: kind(&other),
        }),
        None => Err(DataError::JsonField {
            path: path.to_owned(),
            place,
            field: field.to_owned(),
            hint: hint(record.others, field),
        }),
    }
}

pub(crate) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null or not a number",
        Json::Bool(_) => "a boolean",
        Json::Int(_) | Json::Float(_) => "a number",
        Json::Text(_) => "a string",
        Json::List(_) => "an array",
        Json::Map(_) => "an object",
    }
}

/// Names the field that was probably meant, or those that there are.
pub(crate) fn hint(mut names: Vec<String>, field: &str) -> String {
    names.sort();
    names.dedup();
    let likeness = |name: &String| strsim::jaro_winkler(name, field);
    let nearest = names
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        None => "the object is empty".to_owned(),
        Some(name) if likeness(name) > 0.75 => format!("did you mean `{name}`"),
        Some(_) => {
            names.truncate(LISTED_FIELDS);
            format!("it has `{}`", names.join("`, `"))
        }
    }
}
