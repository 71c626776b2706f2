//! The crate's error type.

use std::path::PathBuf;

use sinterlm_formats::FormatError;

/// What can go wrong when a model is described, loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Generation was asked to continue nothing.
    #[error("a prompt needs at least one token; begin with the end-of-text token")]
    EmptyPrompt,
    /// A prompt holds an id that the model has no embedding for.
    #[error(
        "token {id} is not below the model's vocabulary of {vocab_size}; use the tokenizer saved beside the weights"
    )]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Tokens that the model knows.
        vocab_size: usize,
    },
    /// A text is longer than the context.
    #[error(
        "{tokens} tokens do not fit into the model's context of {context}; shorten the text, or let the context slide"
    )]
    ContextFull {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// The model's output is no number.
    #[error(
        "the logits after {position} tokens are not finite; the weights are damaged or their training diverged, take an earlier checkpoint"
    )]
    LogitsNotFinite {
        /// Tokens read.
        position: usize,
    },
    /// Two models that are to generate together have different vocabularies.
    #[error(
        "the draft model knows {draft} tokens, the target {target}; both must share one tokenizer"
    )]
    VocabularyMismatch {
        /// Tokens of the model that decides.
        target: usize,
        /// Tokens of the model that proposes.
        draft: usize,
    },
    /// A container could not be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A folder's description could not be read.
    #[error("{path}: {fault}; point --model at a folder with config.json and model.safetensors")]
    Folder {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A tensor that the model needs is not in the file.
    #[error("{path}: tensor `{name}` is missing{nearest}; load it with the config saved beside it")]
    MissingTensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name in that file's layout.
        name: String,
        /// The nearest name there, as text to append, or empty.
        nearest: String,
    },
    /// Tensors of the file that no parameter took.
    #[error(
        "{path}: no parameter of the model takes {names:?}; these are weights of another architecture"
    )]
    UnusedTensors {
        /// The weights file.
        path: PathBuf,
        /// The first few names.
        names: Vec<String>,
    },
    /// A tensor has another shape than the model needs.
    #[error(
        "{path}: tensor `{name}` is {found:?}, the model needs {expected:?}; load it with the config saved beside it"
    )]
    ShapeMismatch {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name in that file's layout.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the config asks for.
        expected: Vec<usize>,
    },
}
