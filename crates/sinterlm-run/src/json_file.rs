//! Plain data as a JSON file.

use std::path::Path;

use serde::Serialize;
use sinterlm_formats::write_file_atomic;

use crate::RunError;

/// Replaces the file at `path` by `value` as indented JSON with a closing newline, in one step.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data is always JSON");
    text.push('\n');
    Ok(write_file_atomic(path, |out| {
        out.write_all(text.as_bytes())
    })?)
}
