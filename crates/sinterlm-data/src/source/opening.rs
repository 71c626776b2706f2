//! Opening a file of text: what Git LFS leaves, compression, zero bytes, UTF-8. Documents and
//! records in it belong to `reader` and `json_records`.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use sinterlm_formats::refuse_lfs_pointer;

use super::zstd::ZstdReader;
use crate::{DataError, InvalidUtf8};

const BUFFER_BYTES: usize = 128 << 10;
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The decompressed bytes of an open file.
pub(crate) struct OpenText {
    pub(crate) path: PathBuf,
    /// `gzip` or `zstd` where the file is compressed.
    compression: Option<&'static str>,
    pub(super) bytes: Box<dyn BufRead + Send>,
    /// Bytes taken so far.
    pub(crate) offset: u64,
    /// Bytes that come before `bytes`, from `returned_at` on.
    returned: Vec<u8>,
    returned_at: usize,
}

impl fmt::Debug for OpenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenText")
            .field("path", &self.path)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl OpenText {
    /// Opens a file and looks at its first bytes.
    pub(crate) fn open(path: PathBuf) -> Result<Self, DataError> {
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

    /// Text that is read already open; errors call it `path`.
    pub(crate) fn new(
        path: PathBuf,
        compression: Option<&'static str>,
        bytes: Box<dyn BufRead + Send>,
    ) -> Result<Self, DataError> {
        let offset = 0;
        let mut this = Self {
            path,
            compression,
            bytes,
            offset,
            returned: Vec::new(),
            returned_at: 0,
        };
        // A binary file may have no separator for gigabytes: the first bytes suffice.
        match this.buffer()?.iter().position(|&byte| byte == 0) {
            Some(at) => Err(DataError::BinaryText {
                path: this.path,
                offset: at as u64,
            }),
            None => Ok(this),
        }
    }

    /// The bytes that come next; none at the end of the file.
    pub(crate) fn buffer(&mut self) -> Result<&[u8], DataError> {
        if self.returned_at < self.returned.len() {
            return Ok(&self.returned[self.returned_at..]);
        }
        let (path, offset, compression) = (&self.path, self.offset, self.compression);
        let bytes = self.bytes.fill_buf();
        bytes.map_err(|error| read_error(path, compression, offset, error))
    }

    /// Steps past bytes of the buffer.
    pub(crate) fn consume(&mut self, count: usize) {
        if self.returned_at < self.returned.len() {
            self.returned_at += count;
        } else {
            self.bytes.consume(count);
        }
        self.offset += count as u64;
    }

    /// Gives bytes back that were consumed last, to be read again.
    pub(crate) fn give_back(&mut self, mut bytes: Vec<u8>) {
        self.offset -= bytes.len() as u64;
        bytes.extend_from_slice(&self.returned[self.returned_at..]);
        (self.returned, self.returned_at) = (bytes, 0);
    }

    /// Takes the bytes up to and with the next line end, or to the file's end, behind `line`.
    pub(crate) fn take_line(&mut self, line: &mut Vec<u8>) -> Result<(), DataError> {
        loop {
            let bytes = self.buffer()?;
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(bytes.len(), |end| end + 1);
            line.extend_from_slice(&bytes[..count]);
            self.consume(count);
            if end.is_some() || count == 0 {
                return Ok(());
            }
        }
    }

    pub(super) fn read_error(&self, source: io::Error) -> DataError {
        read_error(&self.path, self.compression, self.offset, source)
    }
}

fn read_error(
    path: &Path,
    compression: Option<&'static str>,
    offset: u64,
    source: io::Error,
) -> DataError {
    let path = path.to_owned();
    match compression {
        Some(format) => DataError::Damaged {
            path,
            format,
            offset,
            source,
        },
        None => DataError::SourceRead { path, source },
    }
}

/// Whether a file starts with a zstd frame, one of data or one to be skipped.
fn is_zstd(start: &[u8]) -> bool {
    start.starts_with(ZSTD_MAGIC)
        || matches!(start, [first, b'\x2a', b'\x4d', b'\x18', ..] if first >> 4 == 5)
}

/// The text of `bytes`, which stand at `start` of the decompressed file.
pub(crate) fn decode<'a>(
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
