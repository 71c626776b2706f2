//! The crate's error type.

use std::fmt;
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
    /// A model file has no place for a part of the model.
    #[error("{path}: a model file has no place for it; merge adapters into their weights first")]
    NoPlace {
        /// The parameter.
        path: String,
    },
    /// A pattern selects nothing.
    #[error("`{pattern}` matches no parameter of the model{}", match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; use parts of paths such as blocks.0.attn.q, wte or q_proj".to_owned(),
    })]
    NothingSelected {
        /// The pattern.
        pattern: String,
        /// The name that it may have meant.
        nearest: Option<String>,
    },
    /// A container could not be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// What describes a model could not be read.
    #[error("{path}: {fault}; point --model at a model folder, a run or a GGUF file")]
    Folder {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A model that GGUF has no form for.
    #[error("the model cannot be written as GGUF: {0}; write a model folder")]
    NotGguf(String),
    /// Tensors and parameters do not match.
    #[error("{0}")]
    Weights(Box<WeightFaults>),
    /// A class head cannot be read or written.
    #[error(
        "{path}: {fault}; a class head is one matrix without a bias, `score.weight`, over a decoder, and names each of its outputs"
    )]
    ClassHead {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// What is to be the id of a token that ends texts is none.
    #[error("{path}: eos_token_id: {found} is no id; write a whole number, or a list of them")]
    EndIds {
        /// The file at fault.
        path: PathBuf,
        /// What stands there, as JSON.
        found: String,
    },
}

/// Everything in which a weights file and a model do not match, in one report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightFaults {
    /// The weights file.
    pub path: PathBuf,
    /// Tensors that the model needs and the file lacks.
    pub missing: Vec<String>,
    /// Tensors that no parameter takes.
    pub unused: Vec<String>,
    /// Tensors of another shape or type than needed, each with both.
    pub unfit: Vec<String>,
    /// The names of all tensors in the file.
    pub names: Vec<String>,
}

/// Faults of a kind that a message shows.
const SHOWN: usize = 8;

impl WeightFaults {
    /// Whether all match.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.unfit.is_empty()
    }

    /// The tensor that a missing one may be: one that is left over, or else any.
    fn nearest(&self, name: &str) -> Option<&str> {
        let among = |names: &[String]| -> Option<(f64, usize)> {
            let likeness = |other: &String| strsim::normalized_levenshtein(name, other);
            let all = names.iter().take(MAX_COMPARED).map(likeness).enumerate();
            let best = all.max_by(|a, b| a.1.total_cmp(&b.1))?;
            (best.1 > 0.6).then_some((best.1, best.0))
        };
        match among(&self.unused) {
            Some((_, at)) => Some(&self.unused[at]),
            None => among(&self.names).map(|(_, at)| self.names[at].as_str()),
        }
    }
}

/// Names that are compared with a missing one.
const MAX_COMPARED: usize = 2000;

impl fmt::Display for WeightFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.missing.len() + self.unused.len() + self.unfit.len();
        let path = self.path.display();
        write!(f, "{path}: {count} tensors and the model do not match")?;
        for name in self.missing.iter().take(SHOWN) {
            write!(f, "\n  `{name}` is missing")?;
            if let Some(nearest) = self.nearest(name) {
                write!(f, ", there is `{nearest}`")?;
            }
        }
        rest(f, self.missing.len(), "missing")?;
        for fault in self.unfit.iter().take(SHOWN) {
            write!(f, "\n  {fault}")?;
        }
        rest(f, self.unfit.len(), "unfit")?;
        for name in self.unused.iter().take(SHOWN) {
            write!(f, "\n  `{name}` is taken by no parameter")?;
        }
        rest(f, self.unused.len(), "unused")?;
        write!(f, "\nload them with the config saved beside them")
    }
}

fn rest(f: &mut fmt::Formatter<'_>, count: usize, kind: &str) -> fmt::Result {
    match count.saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "\n  {more} more are {kind}"),
    }
}
