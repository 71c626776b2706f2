//! Writing a store file: documents are tokenized in parallel, a bounded batch at a time, so a text
//! larger than memory streams through.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sinterlm_formats::MappedFile;

use super::header::{HEADER_BYTES, StoreHeader, checksum};
use crate::{DataError, Tokenizer};

/// Text gathered before it is tokenized: enough to keep all cores busy, little to hold.
const BATCH_BYTES: usize = 4 << 20;

/// Writes one store file. Only [`finish`](Self::finish) gives it a valid header, so a file left
/// behind by a killed process is never taken for a whole one.
pub(crate) struct StoreWriter<'a> {
    path: PathBuf,
    file: BufWriter<File>,
    tokenizer: &'a Tokenizer,
    gpt2: Option<&'a Tokenizer>,
    header: StoreHeader,
    batch: Vec<String>,
    batch_bytes: usize,
}

impl<'a> StoreWriter<'a> {
    /// A new file at `path`; where `gpt2` is given, GPT-2 tokens are counted with it.
    pub(crate) fn create(
        path: &Path,
        tokenizer: &'a Tokenizer,
        gpt2: Option<&'a Tokenizer>,
        source: &str,
    ) -> Result<Self, DataError> {
        let mut header = new_header(tokenizer, source);
        header.gpt2_tokens = gpt2.map(|_| 0);
        let fault = |source| DataError::Io {
            path: path.to_owned(),
            action: "write",
            source,
        };
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, File::create(path).map_err(fault)?),
            tokenizer,
            gpt2,
            header,
            batch: Vec::new(),
            batch_bytes: 0,
        };
        writer.write(&[0; HEADER_BYTES])?;
        writer.write_ids(&[tokenizer.end_of_text()])?;
        Ok(writer)
    }

    /// Adds a trimmed document that is not empty.
    pub(crate) fn push(&mut self, document: String) -> Result<(), DataError> {
        self.batch_bytes += document.len();
        self.batch.push(document);
        if self.batch_bytes >= BATCH_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes what is left and the header.
    pub(crate) fn finish(mut self, dropped_documents: u64) -> Result<StoreHeader, DataError> {
        self.flush()?;
        self.header.dropped_documents = dropped_documents;
        let path = self.path.clone();
        let fault = |source| DataError::Io {
            path: path.clone(),
            action: "write",
            source,
        };
        self.file.flush().map_err(fault)?;
        self.header.checksum = checksum(&MappedFile::open(&path)?[HEADER_BYTES..]);
        self.file.rewind().map_err(fault)?;
        self.write(&self.header.to_bytes())?;
        self.file.flush().map_err(fault)?;
        Ok(self.header)
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let documents = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let encoded = encode_all(self.tokenizer, &documents);
        let gpt2_tokens = match self.gpt2 {
            None => 0,
            Some(gpt2) if gpt2.fingerprint() == self.tokenizer.fingerprint() => {
                encoded.iter().map(Vec::len).sum()
            }
            Some(gpt2) => documents
                .par_iter()
                .map(|text| gpt2.encode(text).len())
                .sum::<usize>(),
        };
        for (document, mut ids) in documents.iter().zip(encoded) {
            ids.push(self.tokenizer.end_of_text());
            self.write_ids(&ids)?;
            self.header.documents += 1;
            self.header.tokens += ids.len() as u64;
            self.header.text_bytes += document.len() as u64;
        }
        if let Some(count) = &mut self.header.gpt2_tokens {
            *count += (gpt2_tokens + documents.len()) as u64;
        }
        Ok(())
    }

    fn write_ids(&mut self, ids: &[u32]) -> Result<(), DataError> {
        let bytes: Vec<u8> = if self.header.token_bytes == 2 {
            ids.iter()
                .flat_map(|&id| (id as u16).to_le_bytes())
                .collect()
        } else {
            ids.iter().flat_map(|&id| id.to_le_bytes()).collect()
        };
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file.write_all(bytes).map_err(|source| DataError::Io {
            path: self.path.clone(),
            action: "write",
            source,
        })
    }
}

/// The ids of each document, in order.
pub(super) fn encode_all(tokenizer: &Tokenizer, documents: &[String]) -> Vec<Vec<u32>> {
    documents
        .par_iter()
        .map(|document| tokenizer.encode(document))
        .collect()
}

pub(super) fn new_header(tokenizer: &Tokenizer, source: &str) -> StoreHeader {
    let (vocab, end) = (tokenizer.vocab_size(), tokenizer.end_of_text());
    StoreHeader::new(vocab, end, tokenizer.fingerprint(), source)
}
