//! One file of a repository on the Hub, and its copy on this machine.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a repository of the Hub holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepoType {
    /// Weights and what belongs to them.
    Model,
    /// Texts.
    #[default]
    Dataset,
}

/// One file of a Hub repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// The repository, `owner/name`.
    pub repo: String,
    /// What the repository holds.
    pub repo_type: RepoType,
    /// Branch, tag or commit; `main` by default. Only a commit always means the same bytes.
    pub revision: String,
    /// The file's path inside the repository, with `/` between folders.
    pub file: String,
    /// The largest download allowed, in bytes; `None` for any. A cached file may be larger.
    pub max_bytes: Option<u64>,
}

impl HubFile {
    /// A file of a data set at `main`, of any size.
    pub fn dataset(repo: &str, file: &str) -> Self {
        Self {
            repo: repo.to_owned(),
            repo_type: RepoType::Dataset,
            revision: "main".to_owned(),
            file: file.to_owned(),
            max_bytes: None,
        }
    }

    /// The validation file of TinyStories V2, about 22 MB (Eldan and Li 2023,
    /// <https://arxiv.org/abs/2305.07759>; stories written by GPT-4 alone).
    pub fn tinystories_valid() -> Self {
        Self::dataset("roneneldan/TinyStories", "TinyStoriesV2-GPT4-valid.txt")
    }

    /// The training file of TinyStories V2, about 2.2 GB.
    pub fn tinystories_train() -> Self {
        Self::dataset("roneneldan/TinyStories", "TinyStoriesV2-GPT4-train.txt")
    }
}

/// `datasets/owner/name@revision/file`, or without `datasets/` for a model.
impl fmt::Display for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.repo_type {
            RepoType::Model => "",
            RepoType::Dataset => "datasets/",
        };
        write!(f, "{kind}{}@{}/{}", self.repo, self.revision, self.file)
    }
}

/// A Hub file on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubCopy {
    /// Where it lies in the cache.
    pub path: PathBuf,
    /// The commit it belongs to, 40 hexadecimal digits: as a revision it always names the same
    /// bytes.
    pub commit: String,
}
