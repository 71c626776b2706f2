//! The documents of one file: decompression, separators, lines, UTF-8. The order of files belongs
//! to `files`, the fields of a JSON line to `json_line`.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use sinterlm_formats::refuse_lfs_pointer;

use super::json_line;
use super::text_source::TextSource;
use super::zstd::ZstdReader;
use crate::{DataError, InvalidUtf8};

const BUFFER_BYTES: usize = 128 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";

/// How a file holds its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text with separators between documents.
    Text,
    /// One JSON object a line.
    JsonLines,
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
            Self::JsonLines
        } else {
            Self::Text
        }
    }
}

/// An open file and the place reached in it.
pub(super) struct FileDocuments {
    path: PathBuf,
    format: Format,
    /// `gzip` or `zstd` where the file is compressed.
    compression: Option<&'static str>,
    bytes: Box<dyn BufRead + Send>,
    /// Bytes of decompressed text taken so far.
    offset: u64,
    /// Lines taken so far.
    lines: u64,
    piece: Vec<u8>,
}

impl fmt::Debug for FileDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDocuments")
            .field("path", &self.path)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl FileDocuments {
    /// Opens a file and looks at its first bytes.
    pub(super) fn open(path: PathBuf) -> Result<Self, DataError> {
        let unreadable = |source| DataError::SourceRead {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(unreadable)?;
        let mut stored = BufReader::with_capacity(BUFFER_BYTES, file);
        let start = stored.fill_buf().map_err(unreadable)?;
        refuse_lfs_pointer(&path, start)?;
        let (compression, bytes): (_, Box<dyn BufRead + Send>) = if start.starts_with(GZIP_MAGIC) {
            let text = flate2::bufread::MultiGzDecoder::new(stored);
            (
                Some("gzip"),
                Box::new(BufReader::with_capacity(BUFFER_BYTES, text)),
            )
        } else if is_zstd(start) {
            let text = ZstdReader::new(stored);
            (
                Some("zstd"),
                Box::new(BufReader::with_capacity(BUFFER_BYTES, text)),
            )
        } else {
            let named = path.extension().and_then(|end| end.to_str());
            let format = match named.map(str::to_lowercase).as_deref() {
                Some("gz") => Some("gzip"),
                Some("zst") => Some("zstd"),
                _ => None,
            };
            if let Some(format) = format
                && !start.is_empty()
            {
                let source = io::Error::other(format!("the first bytes are not those of {format}"));
                return Err(DataError::Damaged {
                    path,
                    format,
                    offset: 0,
                    source,
                });
            }
            (None, Box::new(stored))
        };
        Self::new(path, compression, bytes)
    }

    fn new(
        path: PathBuf,
        compression: Option<&'static str>,
        bytes: Box<dyn BufRead + Send>,
    ) -> Result<Self, DataError> {
        let format = Format::of(&path);
        let (offset, lines, piece) = (0, 0, Vec::new());
        let mut this = Self {
            path,
            format,
            compression,
            bytes,
            offset,
            lines,
            piece,
        };
        // A binary file may have no separator for gigabytes: the first bytes suffice.
        let nul = this
            .bytes
            .fill_buf()
            .map(|start| start.iter().position(|&byte| byte == 0));
        match nul.map_err(|error| this.read_error(error))? {
            Some(at) => Err(DataError::BinaryText {
                path: this.path,
                offset: at as u64,
            }),
            None => Ok(this),
        }
    }

    /// The next document's text, or `None` at the end of the file.
    pub(super) fn next_document(
        &mut self,
        source: &TextSource,
    ) -> Result<Option<String>, DataError> {
        loop {
            let piece_start = self.offset;
            let separator = match self.format {
                Format::Text => source.separator.as_bytes(),
                Format::JsonLines => b"\n",
            };
            if !self.take_piece(separator)? {
                return Ok(None);
            }
            let mut piece = self.piece.strip_suffix(separator).unwrap_or(&self.piece);
            let mut start = piece_start;
            if start == 0 && piece.starts_with(BYTE_ORDER_MARK) {
                piece = &piece[BYTE_ORDER_MARK.len()..];
                start += BYTE_ORDER_MARK.len() as u64;
            }
            let text = decode(piece, source.invalid_utf8, &self.path, start)?;
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            if self.format == Format::Text {
                return Ok(Some(text.to_owned()));
            }
            let text = json_line::text_of(text, &source.text_field, &self.path, self.lines)?;
            let trimmed = text.trim();
            if trimmed.len() == text.len() && !text.is_empty() {
                return Ok(Some(text));
            }
            if !trimmed.is_empty() {
                return Ok(Some(trimmed.to_owned()));
            }
        }
    }

    /// Takes bytes up to and with the next separator into `self.piece`; false at the file's end.
    fn take_piece(&mut self, separator: &[u8]) -> Result<bool, DataError> {
        self.piece.clear();
        // Each stop at the separator's last byte is looked at together with all bytes before it,
        // so that it does not matter where the reader's buffer ended.
        loop {
            let taken = match separator.last() {
                Some(&last) => self.bytes.read_until(last, &mut self.piece),
                None => self.bytes.read_to_end(&mut self.piece),
            };
            let taken = taken.map_err(|error| self.read_error(error))?;
            self.offset += taken as u64;
            if taken == 0 || (!separator.is_empty() && self.piece.ends_with(separator)) {
                self.lines += 1;
                return Ok(!self.piece.is_empty());
            }
        }
    }

    fn read_error(&self, source: io::Error) -> DataError {
        let path = self.path.clone();
        match self.compression {
            Some(format) => DataError::Damaged {
                path,
                format,
                offset: self.offset,
                source,
            },
            None => DataError::SourceRead { path, source },
        }
    }
}

/// Whether a file starts with a zstd frame, one of data or one to be skipped.
fn is_zstd(start: &[u8]) -> bool {
    start.starts_with(ZSTD_MAGIC)
        || matches!(start, [first, b'\x2a', b'\x4d', b'\x18', ..] if first >> 4 == 5)
}

/// The text of `bytes`, which stand at `start` of the decompressed file.
fn decode<'a>(
    bytes: &'a [u8],
    invalid_utf8: InvalidUtf8,
    path: &Path,
    start: u64,
) -> Result<Cow<'a, str>, DataError> {
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(DataError::BinaryText {
            path: path.to_owned(),
            offset: start + at as u64,
        });
    }
    match (std::str::from_utf8(bytes), invalid_utf8) {
        (Ok(text), _) => Ok(Cow::Borrowed(text)),
        (Err(_), InvalidUtf8::Replace) => Ok(String::from_utf8_lossy(bytes)),
        (Err(source), InvalidUtf8::Error) => Err(DataError::InvalidUtf8 {
            path: path.to_owned(),
            offset: start + source.valid_up_to() as u64,
            byte: bytes[source.valid_up_to()],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &[u8], buffer_bytes: usize, source: &TextSource) -> Vec<String> {
        let bytes = BufReader::with_capacity(buffer_bytes, io::Cursor::new(text.to_vec()));
        let mut file = FileDocuments::new("t.txt".into(), None, Box::new(bytes)).unwrap();
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
            assert_eq!(Format::of(Path::new(name)), Format::JsonLines, "{name}");
        }
        for name in ["a.txt", "jsonl", "a.gz", "a.json.txt"] {
            assert_eq!(Format::of(Path::new(name)), Format::Text, "{name}");
        }
    }
}
