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

    /// Number of the document, from 0, that holds a token; its closing end-of-text is part of it. Counts
    /// the documents before it, so reads all of them.
    ///
    /// # Panics
    /// If the stream has no such token.
    pub fn document_of(&self, token: u64) -> u64 {
        const BLOCK: u64 = 1 << 16;
        let mut ids = vec![0; BLOCK as usize];
        let mut documents = 0;
        // The stream's first token ends no document.
        for start in (1..token).step_by(BLOCK as usize) {
            let ids = &mut ids[..BLOCK.min(token - start) as usize];
            self.read(start, ids);
            documents += ids
                .iter()
                .filter(|&&id| id == self.header.end_of_text)
                .count();
        }
        documents as u64
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Words as tokens; with an id that needs more than 16 bits where `wide`.
    fn words(wide: bool) -> Tokenizer {
        let last = if wide { 70_000 } else { 3 };
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "truncation": null, "padding": null,
            "normalizer": null, "post_processor": null, "decoder": null,
            "pre_tokenizer": { "type": "Whitespace" },
            "model": { "type": "WordLevel", "unk_token": "<unk>",
                "vocab": { "</s>": 0, "<unk>": 1, "a": 2, "b": last } },
        });
        Tokenizer::from_json(&json.to_string(), Path::new("test")).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_file_gives_back_what_memory_holds(
            documents in prop::collection::vec("[abc]( [abc]){0,5}", 0..8), wide in any::<bool>(),
        ) {
            let tokenizer = words(wide);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("text.tokens");
            let mut writer = StoreWriter::create(&path, &tokenizer, None, "source").unwrap();
            for document in &documents {
                writer.push(document.clone()).unwrap();
            }
            writer.finish(4).unwrap();
            let file = TokenStore::open(&path, &tokenizer).unwrap();
            let memory = TokenStore::from_documents(&tokenizer, &documents);
            let header = file.header();
            prop_assert_eq!(header.token_bytes, if wide { 4 } else { 2 });
            prop_assert_eq!((header.dropped_documents, header.source.as_str()), (4, "source"));
            prop_assert_eq!(header.documents, documents.len() as u64);
            prop_assert_eq!(header.tokens, memory.header().tokens);
            prop_assert_eq!(header.text_bytes, memory.header().text_bytes);
            let mut ids = [vec![9; header.tokens as usize], vec![8; header.tokens as usize]];
            file.read(0, &mut ids[0]);
            memory.read(0, &mut ids[1]);
            prop_assert_eq!(&ids[0], &ids[1]);
            let ends = ids[0].iter().filter(|&&id| id == 0).count();
            prop_assert_eq!(ends, documents.len() + 1);
        }
    }

    #[test]
    fn an_unfinished_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.tokens");
        let tokenizer = words(false);
        let mut writer = StoreWriter::create(&path, &tokenizer, None, "source").unwrap();
        writer.push("a b".into()).unwrap();
        drop(writer);
        let error = TokenStore::open(&path, &tokenizer).unwrap_err();
        assert!(matches!(error, DataError::CorruptStore { .. }));
    }
}
