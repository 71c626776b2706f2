//! The documents of one file: its format and separators. The order of files belongs to `files`,
//! decompression to `opening`, JSON to `json_records`.

use std::path::{Path, PathBuf};

use super::json_records::JsonRecords;
use super::opening::{BYTE_ORDER_MARK, OpenText, decode};
use super::text_field::text_of;
use super::text_source::TextSource;
use crate::DataError;

/// How a file holds its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text with separators between documents.
    Text,
    /// JSON objects, one a line or all in one array.
    Json,
}

impl Format {
    /// The format that a file's name implies, whether compressed or not.
    pub(super) fn of(path: &Path) -> Self {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let name = name
            .strip_suffix(".gz")
            .or(name.strip_suffix(".zst"))
            .unwrap_or(&name);
        if [".jsonl", ".ndjson", ".json"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            Self::Json
        } else {
            Self::Text
        }
    }
}

/// An open file and the place reached in it.
#[derive(Debug)]
pub(super) enum FileDocuments {
    /// Text with separators.
    Text(TextDocuments),
    /// JSON objects.
    Json(JsonRecords),
}

impl FileDocuments {
    /// Opens a file and looks at its first bytes.
    pub(super) fn open(path: PathBuf, source: &TextSource) -> Result<Self, DataError> {
        Ok(match Format::of(&path) {
            Format::Text => Self::Text(TextDocuments {
                text: OpenText::open(path)?,
                piece: Vec::new(),
            }),
            Format::Json => {
                let fields = [source.text_field.as_str()];
                Self::Json(JsonRecords::open(&path, &fields, source.invalid_utf8)?)
            }
        })
    }

    /// The next document's text, or `None` at the end of the file.
    pub(super) fn next_document(
        &mut self,
        source: &TextSource,
    ) -> Result<Option<String>, DataError> {
        match self {
            Self::Text(documents) => documents.next_document(source),
            Self::Json(records) => {
                while let Some(record) = records.next_record()? {
                    let text = text_of(record, &source.text_field, records.path())?;
                    let trimmed = text.trim();
                    if trimmed.len() == text.len() && !text.is_empty() {
                        return Ok(Some(text));
                    }
                    if !trimmed.is_empty() {
                        return Ok(Some(trimmed.to_owned()));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// An open file of text with separators.
#[derive(Debug)]
pub(super) struct TextDocuments {
    text: OpenText,
    piece: Vec<u8>,
}

impl TextDocuments {
    fn next_document(&mut self, source: &TextSource) -> Result<Option<String>, DataError> {
        loop {
            let mut start = self.text.offset;
            let separator = source.separator.as_bytes();
            if !self.take_piece(separator)? {
                return Ok(None);
            }
            let mut piece = self.piece.strip_suffix(separator).unwrap_or(&self.piece);
            if start == 0 && piece.starts_with(BYTE_ORDER_MARK) {
                piece = &piece[BYTE_ORDER_MARK.len()..];
                start += BYTE_ORDER_MARK.len() as u64;
            }
            let text = decode(piece, source.invalid_utf8, &self.text.path, start)?;
            let text = text.trim();
            if !text.is_empty() {
                return Ok(Some(text.to_owned()));
            }
        }
    }

    /// Takes bytes up to and with the next separator into `self.piece`; false at the file's end.
    fn take_piece(&mut self, separator: &[u8]) -> Result<bool, DataError> {
        self.piece.clear();
        // Each stop at the separator's last byte is looked at together with all bytes before it,
        // so that it does not matter where the reader's buffer ended.
        loop {
            let bytes = &mut self.text.bytes;
            let taken = match separator.last() {
                Some(&last) => bytes.read_until(last, &mut self.piece),
                None => bytes.read_to_end(&mut self.piece),
            };
            let taken = taken.map_err(|error| self.text.read_error(error))?;
            self.text.offset += taken as u64;
            if taken == 0 || (!separator.is_empty() && self.piece.ends_with(separator)) {
                return Ok(!self.piece.is_empty());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    fn documents(text: &[u8], buffer_bytes: usize, source: &TextSource) -> Vec<String> {
        let bytes = BufReader::with_capacity(buffer_bytes, Cursor::new(text.to_vec()));
        let text = OpenText::new("t.txt".into(), None, Box::new(bytes)).unwrap();
        let mut file = TextDocuments {
            text,
            piece: Vec::new(),
        };
        let mut found = Vec::new();
        while let Some(text) = file.next_document(source).unwrap() {
            found.push(text);
        }
        found
    }

    #[test]
    fn separators_are_found_whatever_the_buffer_size() {
        let text = "one > <|end|>\nof<|endoftext|>two<|endoftext|\n<|endoftext|><|endoftext|>\n\
                    <<|endoftext|>é🌍<|endoftext|>  <|endoftext|>last|endoftext|>\n";
        let expected = [
            "one > <|end|>\nof",
            "two<|endoftext|",
            "<",
            "é🌍",
            "last|endoftext|>",
        ];
        let source = TextSource::new(Vec::new());
        for buffer_bytes in (1..40).chain([4096]) {
            assert_eq!(documents(text.as_bytes(), buffer_bytes, &source), expected);
        }
    }

    #[test]
    fn a_separator_that_repeats_itself_is_found_at_its_first_place() {
        let source = TextSource {
            separator: "aab".to_owned(),
            ..TextSource::new(Vec::new())
        };
        assert_eq!(documents(b"xaaaabyaabz", 1, &source), ["xaa", "y", "z"]);
    }

    #[test]
    fn an_empty_separator_keeps_the_file_whole() {
        let source = TextSource {
            separator: String::new(),
            ..TextSource::new(Vec::new())
        };
        assert_eq!(
            documents(b" a<|endoftext|>b\n", 3, &source),
            ["a<|endoftext|>b"]
        );
    }

    #[test]
    fn names_tell_the_format_under_any_compression() {
        for name in ["a.jsonl", "A.JSON", "a.ndjson.gz", "a.jsonl.zst"] {
            assert_eq!(Format::of(Path::new(name)), Format::Json, "{name}");
        }
        for name in ["a.txt", "jsonl", "a.gz", "a.json.txt"] {
            assert_eq!(Format::of(Path::new(name)), Format::Text, "{name}");
        }
    }
}
