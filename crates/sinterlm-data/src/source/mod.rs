//! Documents from text files, folders and JSON objects, plain or compressed. Fetching the files
//! belongs to `hub`, tokens to `tokenizer`.

mod files;
mod fingerprint;
mod json_object;
mod json_records;
mod json_scan;
mod opening;
mod reader;
mod record_place;
mod text_field;
mod text_source;
mod whole_numbers;
mod zstd;

use crate::DataError;
use files::Entry;
pub(crate) use files::list as list_files;
use reader::FileDocuments;

pub use fingerprint::fingerprint;
pub(crate) use fingerprint::hex;
pub(crate) use json_object::without_nan;
pub use json_records::{JsonRecord, JsonRecords};
pub(crate) use opening::{BYTE_ORDER_MARK, OpenText, decode};
pub use record_place::RecordPlace;
pub(crate) use text_field::{hint, kind};
pub use text_source::TextSource;

/// One document of a text source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text, without surrounding whitespace; never empty.
    pub text: String,
}

/// The documents of a source, in the order of its paths; made by [`read_documents`].
///
/// After the first error it ends.
#[derive(Debug)]
pub struct Documents {
    source: TextSource,
    waiting: std::vec::IntoIter<Entry>,
    entry: Option<Entry>,
    file: Option<FileDocuments>,
    any_document: bool,
    is_over: bool,
}

/// Opens a source and reads its documents one after another, in a fixed order.
///
/// Folders are listed now, files are opened when their turn comes. Memory holds one document at a
/// time, so a file may be larger than memory where its documents are not.
///
/// # Errors
/// - [`DataError::NoPaths`], [`DataError::SourceMissing`], [`DataError::SourceRead`] at once
/// - from the iterator: [`DataError::NoDocuments`] for a path of the source that yields none,
///   [`DataError::BinaryText`], [`DataError::InvalidUtf8`], [`DataError::Damaged`] for a
///   compressed file that is cut off or altered, and [`DataError::JsonSyntax`],
///   [`DataError::LoneSurrogate`], [`DataError::JsonNotObject`], [`DataError::JsonField`],
///   [`DataError::JsonFieldType`] with the record's place
pub fn read_documents(source: &TextSource) -> Result<Documents, DataError> {
    Ok(Documents {
        waiting: files::list(&source.paths)?.into_iter(),
        source: source.clone(),
        entry: None,
        file: None,
        any_document: false,
        is_over: false,
    })
}

impl Documents {
    fn advance(&mut self) -> Result<Option<Document>, DataError> {
        loop {
            if let Some(file) = &mut self.file {
                if let Some(text) = file.next_document(&self.source)? {
                    self.any_document = true;
                    return Ok(Some(Document { text }));
                }
                self.file = None;
            } else if let Some(path) = self.entry.as_mut().and_then(|entry| entry.files.next()) {
                self.file = Some(FileDocuments::open(path, &self.source)?);
            } else {
                if let Some(entry) = self.entry.take()
                    && !self.any_document
                {
                    return Err(DataError::NoDocuments { path: entry.path });
                }
                self.entry = self.waiting.next();
                self.any_document = false;
                if self.entry.is_none() {
                    return Ok(None);
                }
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.advance().transpose();
        self.is_over = !matches!(item, Some(Ok(_)));
        item
    }
}
