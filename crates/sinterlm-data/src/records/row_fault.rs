//! The error for a row that cannot be used, with an excerpt of it.

use std::path::Path;

use crate::{DataError, RecordPlace};

/// Bytes of a row that an error shows.
const EXCERPT_BYTES: usize = 60;

/// The fault of a row, with the row's beginning.
pub(super) fn fault(path: &Path, place: RecordPlace, fault: String, row: &[u8]) -> DataError {
    let shown = String::from_utf8_lossy(&row[..row.len().min(EXCERPT_BYTES)]);
    // A character that the excerpt's end cuts in two is no fault of the row.
    let shown = shown.trim_end_matches('\u{fffd}').trim();
    let shown: String = shown
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let dots = if row.len() > EXCERPT_BYTES { "..." } else { "" };
    DataError::Record {
        path: path.to_owned(),
        place,
        excerpt: if row.is_empty() {
            String::new()
        } else {
            format!("; it begins with `{shown}{dots}`")
        },
        fault,
    }
}
