//! The identity of a source's content, wherever the content lies.

use std::fmt::Write as _;
use std::io::Read;

use sha2::{Digest, Sha256};

use super::files;
use super::reader::Format;
use super::text_source::TextSource;
use crate::{DataError, InvalidUtf8};

/// The identity of a source: equal fingerprints mean equal documents in equal order.
///
/// SHA-256, in hexadecimal, of how documents are cut (separator, text field, treatment of invalid
/// UTF-8) and of each file's format and stored bytes. File names do not count, so that moved or
/// renamed files keep their token store; a recompressed file counts as new.
///
/// Every stored byte is read once, in pieces of 256 KiB: half a second to three seconds a
/// gigabyte, as processor and disk allow (0.36 GB/s on a busy two-core machine).
///
/// # Errors
/// [`DataError::NoPaths`], [`DataError::SourceMissing`], [`DataError::SourceRead`].
pub fn fingerprint(source: &TextSource) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    hash.update(b"sinterlm text source 1");
    for part in [&source.separator, &source.text_field] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update([match source.invalid_utf8 {
        InvalidUtf8::Error => 0,
        InvalidUtf8::Replace => 1,
    }]);
    let mut buffer = vec![0; 256 << 10];
    for path in files::list(&source.paths)?
        .into_iter()
        .flat_map(|entry| entry.files)
    {
        let unreadable = |source| DataError::SourceRead {
            path: path.clone(),
            source,
        };
        let mut file = std::fs::File::open(&path).map_err(unreadable)?;
        let mut size_bytes = 0_u64;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hash.update(&buffer[..n]);
                    size_bytes += n as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        // The length behind the bytes keeps two files apart from one of their joined content.
        hash.update(size_bytes.to_le_bytes());
        hash.update([match Format::of(&path) {
            Format::Text => 0,
            Format::Json => 1,
        }]);
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}
