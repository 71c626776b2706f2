//! What a source is: its paths and how their text is cut. Reading it belongs to `reader`.

use std::path::PathBuf;

use crate::InvalidUtf8;

/// Where text lies and how it is cut into documents.
///
/// Each path is a file or a folder. A folder gives all files below it, sorted by name, without
/// hidden ones and without following links to folders. A file whose name ends in `.jsonl`,
/// `.ndjson` or `.json` holds JSON objects, each one document: one a line, or all of them in one
/// array; see [`JsonRecords`](crate::JsonRecords). Any other file holds text. Gzip (`.gz`) and zstd
/// (`.zst`) are recognised by their first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSource {
    /// Files and folders, read in this order.
    pub paths: Vec<PathBuf>,
    /// The field of a JSON object that holds the document; `text` by default.
    pub text_field: String,
    /// What stands between two documents of a text file; `<|endoftext|>` by default. A file
    /// without any is one document, as is every file where this is empty.
    pub separator: String,
    /// What to do with bytes that are not UTF-8, and with halves of characters that JSON escapes
    /// such as `\ud83d` leave; an error by default.
    pub invalid_utf8: InvalidUtf8,
}

impl TextSource {
    /// A source of the given files and folders with the defaults of every other field.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            text_field: "text".to_owned(),
            separator: "<|endoftext|>".to_owned(),
            invalid_utf8: InvalidUtf8::default(),
        }
    }
}
