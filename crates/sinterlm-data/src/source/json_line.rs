//! The text of one JSON line. Finding lines belongs to `reader`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::DataError;

/// Names of a line's fields that are listed where none resembles the wanted one.
const LISTED_FIELDS: usize = 8;

/// The string in field `field` of the object that `line` holds.
pub(super) fn text_of(
    line: &str,
    field: &str,
    path: &Path,
    line_number: u64,
) -> Result<String, DataError> {
    let path = || path.to_owned();
    let value = serde_json::from_str(line).map_err(|source| DataError::JsonSyntax {
        path: path(),
        line: line_number,
        source,
    })?;
    let Value::Object(mut object) = value else {
        let found = kind(&value);
        return Err(DataError::JsonNotObject {
            path: path(),
            line: line_number,
            found,
        });
    };
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(DataError::JsonFieldType {
            path: path(),
            line: line_number,
            field: field.to_owned(),
            found: kind(&other),
        }),
        None => Err(DataError::JsonField {
            path: path(),
            line: line_number,
            field: field.to_owned(),
            hint: hint(&object, field),
        }),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Names the field that was probably meant, or those that there are.
fn hint(object: &Map<String, Value>, field: &str) -> String {
    let likeness = |name: &String| strsim::jaro_winkler(name, field);
    let nearest = object
        .keys()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        None => "the object is empty".to_owned(),
        Some(name) if likeness(name) > 0.75 => format!("did you mean `{name}`"),
        Some(_) => {
            let names: Vec<_> = object
                .keys()
                .take(LISTED_FIELDS)
                .map(String::as_str)
                .collect();
            format!("it has `{}`", names.join("`, `"))
        }
    }
}
