//! The `[data]` and `[tokenizer]` sections of a run config. Reading the text is left to `prepare`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

/// Where the text comes from and how it is cut into documents and splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The source of the text; `auto` where absent.
    pub source: SourceConfig,
    /// Name of the text field in JSON objects.
    pub text_field: String,
    /// The mark between documents in plain text files.
    pub separator: String,
    /// What to do with bytes that are not UTF-8, and with lone surrogates (`\ud83d`) in JSON.
    pub invalid_utf8: InvalidUtf8,
    /// Share of the documents kept for validation where the source has no validation text of its
    /// own, above 0 and up to 0.5. Documents are chosen by a hash of their content.
    pub valid_fraction: f64,
    /// Folder for tokenized text. The programs fill in the user's cache folder; without one the
    /// library uses `.sinterlm-cache` in the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
    /// The most that may be downloaded, in bytes.
    #[schemars(range(min = 1))]
    pub max_download_bytes: u64,
    /// Fingerprint that the text must have. Written into a run's config; a text with another
    /// content is then refused. Absent: any content is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: SourceConfig::Auto,
            text_field: "text".into(),
            separator: "<|endoftext|>".into(),
            invalid_utf8: InvalidUtf8::Error,
            valid_fraction: 0.05,
            cache_dir: None,
            max_download_bytes: 64 << 20,
            fingerprint: None,
        }
    }
}

impl Validate for DataConfig {
    fn validate(&self, check: &mut Check) {
        check.require(!self.text_field.is_empty(), "text_field", || {
            "is empty; name the field that holds the text, such as \"text\"".into()
        });
        check.require(!self.separator.is_empty(), "separator", || {
            "is empty; give the mark between documents, such as \"<|endoftext|>\"".into()
        });
        check.require(
            self.valid_fraction > 0.0 && self.valid_fraction <= 0.5,
            "valid_fraction",
            || {
                format!(
                    "{} is not above 0 and up to 0.5; use 0.05",
                    self.valid_fraction
                )
            },
        );
        match &self.source {
            SourceConfig::Files { train, .. } => {
                check.require(!train.is_empty(), "source.train", || {
                    "is empty; list at least one text file or folder".into()
                });
            }
            SourceConfig::Hub { repo, .. } => {
                check.require(repo.contains('/'), "source.repo", || {
                    format!("`{repo}` is no data set of the Hub; write it as owner/name")
                });
            }
            SourceConfig::Auto | SourceConfig::Stories { .. } => {}
        }
    }
}

/// The source of the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceConfig {
    /// TinyStories' validation file from the local Hub cache, else from the Hub where it can be
    /// reached, else generated stories. Which one it was stands in the report.
    #[default]
    Auto,
    /// Local files or folders: plain text, or JSON objects, one a line (JSONL) or all in one array;
    /// also compressed with gzip or zstd.
    Files {
        /// Training text.
        train: Vec<PathBuf>,
        /// Validation text. Where empty, a split is made by content.
        #[serde(default)]
        valid: Vec<PathBuf>,
    },
    /// Files of a data set on the Hub.
    Hub {
        /// The data set, `owner/name`.
        repo: String,
        /// Training file in it.
        file: String,
        /// Validation file in it. Where absent, a split is made by content.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid_file: Option<String>,
        /// Branch, tag or commit.
        #[serde(default = "main_revision")]
        revision: String,
    },
    /// Stories made by the built-in generator; no file and no network.
    Stories {
        /// Number of stories, training and validation together.
        #[serde(default = "default_stories")]
        #[schemars(range(min = 2))]
        count: u64,
        /// Seed of the stories; the run's seed where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
    },
}

/// What to do with bytes that are not UTF-8, and with lone surrogates in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvalidUtf8 {
    /// Stop and name the place.
    #[default]
    Error,
    /// Put U+FFFD in their place.
    Replace,
}

fn main_revision() -> String {
    "main".into()
}

/// Some 15 MB of text: as much as two CPU cores train on in a few hours.
pub(crate) fn default_stories() -> u64 {
    20_000
}

/// The tokenizer of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenizerConfig {
    /// GPT-2's 50,257 tokens (Radford et al. 2019), built in.
    #[default]
    Gpt2,
    /// A Hugging Face `tokenizer.json`.
    File {
        /// The file.
        path: PathBuf,
    },
    /// A byte-level BPE trained on the training text.
    Bpe {
        /// Tokens, with the 256 bytes and `<|endoftext|>`.
        #[schemars(range(min = 257))]
        vocab_size: usize,
    },
}

impl Validate for TokenizerConfig {
    fn validate(&self, check: &mut Check) {
        match self {
            Self::Bpe { vocab_size } => check.require(*vocab_size >= 257, "vocab_size", || {
                format!(
                    "{vocab_size} is below 257, the 256 bytes and the end-of-text token; raise it"
                )
            }),
            Self::File { path } => check.require(!path.as_os_str().is_empty(), "path", || {
                "is empty; give the path of a tokenizer.json".into()
            }),
            Self::Gpt2 => {}
        }
    }
}
