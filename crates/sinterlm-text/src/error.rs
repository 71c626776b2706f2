//! The crate's error type.

use std::path::PathBuf;
use std::sync::Arc;

use sinterlm_data::{DataError, RecordPlace};
use sinterlm_formats::FormatError;
use sinterlm_model::ModelError;

/// What can go wrong between text and a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The model could not be loaded, or could not continue a text.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tokenizer, a template or a file of prompts could not be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file of weights could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The tokenizer has more tokens than the model.
    #[error(
        "{}: the tokenizer knows {knows} tokens, the weights {holds}; it is the tokenizer of another model",
        path.display()
    )]
    OtherTokenizer {
        /// The model folder or file.
        path: PathBuf,
        /// Tokens of the tokenizer.
        knows: usize,
        /// Rows of the model's embedding.
        holds: usize,
    },
    /// A file of weights brings no tokenizer, and none was named.
    #[error("{}: the file holds no tokenizer; name one by --tokenizer", path.display())]
    NoTokenizer {
        /// The file of weights.
        path: PathBuf,
    },
    /// A record of a file of prompts cannot be used.
    #[error("{}, {place}, {field}: {fault}", path.display())]
    Record {
        /// The file of prompts.
        path: PathBuf,
        /// Where the record stands.
        place: RecordPlace,
        /// The field at fault, `messages.0.role`, or `record` for the record as a whole.
        field: String,
        /// What is wrong and the remedy.
        fault: String,
    },
    /// A file of prompts is not UTF-8.
    #[error("{}: byte {offset} (0x{byte:02x}) is not UTF-8; save the file as such", path.display())]
    NotUtf8 {
        /// The file of prompts.
        path: PathBuf,
        /// Offset in the decompressed text, in bytes from 0.
        offset: u64,
        /// The byte found there.
        byte: u8,
    },
    /// The model was tuned for classes and writes no text.
    #[error("{}: the model has a class head and writes no text; `classify` gives the classes of texts", path.display())]
    HasClassHead {
        /// The model folder.
        path: PathBuf,
    },
    /// The prompts of the model go through its chat template, and there is none.
    #[error("{}: is `chat`, and the folder holds no chat template; put chat_template.jinja beside it", path.display())]
    FormWithoutTemplate {
        /// The file of the form.
        path: PathBuf,
    },
    /// The chat template cannot be used.
    #[error(transparent)]
    Template(Arc<DataError>),
}
