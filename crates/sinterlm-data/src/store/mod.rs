//! Tokenized text: one stream of ids on disk, memory-mapped, or in memory. Writing it is left to
//! `writer`, the header's bytes to `header`.

mod header;
mod writer;

pub use header::StoreHeader;
pub(crate) use writer::StoreWriter;

use std::path::Path;
use std::sync::Arc;

use sinterlm_formats::MappedFile;

use self::header::HEADER_BYTES;
use self::writer::{encode_all, new_header};
use crate::{DataError, Tokenizer};

/// A tokenized text: end-of-text, document, end-of-text, document, ..., end-of-text.
///
/// The last token equals the first, so the stream may be read as a circle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TokenStore {
    header: StoreHeader,
    tokens: Tokens,
}

#[derive(Debug, Clone)]
enum Tokens {
    /// A store file; ids are little-endian, 2 or 4 bytes each, behind the header.
    Mapped(Arc<MappedFile>),
    Memory(Arc<[u32]>),
}

impl TokenStore {
    /// Maps a store file and checks that it is whole and belongs to `tokenizer`.
    ///
    /// Checked are the header (by its SHA-256), the file's length, and a checksum of blocks spread
    /// over the ids, so opening takes a moment whatever the size.
    ///
    /// # Errors
    /// [`DataError::Format`] where the file cannot be mapped, [`DataError::CorruptStore`] where a
    /// check fails, [`DataError::StoreTokenizer`] where another tokenizer wrote it.
    pub fn open(path: &Path, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let file = MappedFile::open(path)?;
        let corrupt = |fault: String| DataError::CorruptStore {
            path: path.to_owned(),
            fault,
        };
        let header = StoreHeader::from_bytes(&file).map_err(corrupt)?;
        let ids = &file[HEADER_BYTES..];
        let expected = header.tokens * u64::from(header.token_bytes);
        if ids.len() as u64 != expected {
            return Err(corrupt(format!(
                "holds {} bytes of token ids where its header says {expected}",
                ids.len()
            )));
        }
        if header.checksum != header::checksum(ids) {
            return Err(corrupt("the token ids do not match their checksum".into()));
        }
        if header.tokenizer != tokenizer.fingerprint() {
            let short = |hex: &str| hex.chars().take(12).collect();
            return Err(DataError::StoreTokenizer {
                path: path.to_owned(),
                found: short(&header.tokenizer),
                expected: short(tokenizer.fingerprint()),
            });
        }
        Ok(Self {
            header,
            tokens: Tokens::Mapped(Arc::new(file)),
        })
    }

    /// A store in memory, for small texts and tests. Blank documents are left out, the others
    /// trimmed. GPT-2 tokens are not counted.
    pub fn from_documents<I>(tokenizer: &Tokenizer, documents: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let documents: Vec<String> = documents
            .into_iter()
            .map(|document| document.as_ref().trim().to_owned())
            .filter(|document| !document.is_empty())
            .collect();
        let mut header = new_header(tokenizer, "");
        let mut ids = vec![tokenizer.end_of_text()];
        for (document, mut encoded) in documents.iter().zip(encode_all(tokenizer, &documents)) {
            ids.append(&mut encoded);
            ids.push(tokenizer.end_of_text());
            header.documents += 1;
            header.text_bytes += document.len() as u64;
        }
        header.tokens = ids.len() as u64;
        Self {
            header,
            tokens: Tokens::Memory(ids.into()),
        }
    }

    /// What is known of the text: counts and fingerprints.
    pub fn header(&self) -> &StoreHeader {
        &self.header
    }

    /// Tokens to predict: all but the first, each document's tokens and its end-of-text.
    pub fn targets(&self) -> u64 {
        self.header.tokens.saturating_sub(1)
    }

    /// Copies the ids from `start` on into `out`.
    ///
    /// # Panics
    /// If the stream ends before `out` is full.
    pub fn read(&self, start: u64, out: &mut [u32]) {
        let start = start as usize;
        match &self.tokens {
            Tokens::Memory(ids) => out.copy_from_slice(&ids[start..start + out.len()]),
            Tokens::Mapped(file) => {
                let width = usize::from(self.header.token_bytes);
                let first = HEADER_BYTES + start * width;
                let bytes = &file[first..first + out.len() * width];
                if width == 2 {
                    for (id, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                        *id = u32::from(u16::from_le_bytes(*pair));
                    }
                } else {
                    for (id, quad) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        *id = u32::from_le_bytes(*quad);
                    }
                }
            }
        }
    }
}
