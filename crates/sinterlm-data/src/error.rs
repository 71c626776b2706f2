//! The crate's one error type.

use std::path::PathBuf;

use thiserror::Error;

/// What can be wrong with text, tokenizers and token stores.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read or written.
    #[error("{path}: cannot {action}; check that it exists and that its permissions allow it", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, such as `read`.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A `tokenizer.json` could not be used.
    #[error("{path}: {reason}; give a Hugging Face tokenizer.json that has an end-of-text token", path = path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Training a tokenizer found less text than its vocabulary needs.
    #[error(
        "tokenizer.vocab_size: the training text yields only {found} tokens, {wanted} were asked for; lower it to {found} or add text"
    )]
    VocabularyTooLarge {
        /// The vocabulary size of the configuration.
        wanted: usize,
        /// The most that the text yields.
        found: usize,
    },
    /// A token store is damaged.
    #[error("{path}: {fault}; delete the file's folder, it is made again from the text", path = path.display())]
    CorruptStore {
        /// The store's file.
        path: PathBuf,
        /// Which check failed.
        fault: String,
    },
    /// A token store was written with another tokenizer.
    #[error(
        "{path}: made with tokenizer {found}, this run's is {expected}; delete the file's folder, it is made again from the text",
        path = path.display()
    )]
    StoreTokenizer {
        /// The store's file.
        path: PathBuf,
        /// Fingerprint (shortened) in the store.
        found: String,
        /// Fingerprint (shortened) of the tokenizer in use.
        expected: String,
    },
    /// A text is too short for what is asked of it.
    #[error(
        "the {split} text has {tokens} tokens, one window of max_seq_len {seq_len} needs {seq_len} more than the first; add text or lower model.max_seq_len"
    )]
    TooShort {
        /// `training` or `validation`.
        split: &'static str,
        /// Tokens to predict in it.
        tokens: u64,
        /// Length of one window.
        seq_len: usize,
    },
    /// A split has no document.
    #[error("the {split} split holds no document; {remedy}")]
    EmptySplit {
        /// `training` or `validation`.
        split: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The text is not the one that the configuration was recorded with.
    #[error(
        "data.fingerprint: the source's content is {found}, this configuration was recorded with {expected}; restore the files or remove the key to accept the new content"
    )]
    SourceChanged {
        /// Fingerprint of the text now.
        found: String,
        /// Fingerprint in the configuration.
        expected: String,
    },
}
