//! Models of the Hub: which files of a repository make a model folder, and fetching all of them.
//! `transfer` downloads a single file.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::endpoint::Hub;
use super::file::{HubCopy, HubFile, RepoType};
use crate::{DataError, PromptTemplate};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Small files that may accompany the weights; fetched before them.
const BESIDE: [&str; 7] = [
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    PromptTemplate::FILE,
];
/// Weights in the order of preference: an index of shards, or the one file.
const WEIGHTS: [&str; 4] = [
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
];

/// A model on the Hub: a repository, or one file of it.
///
/// # Example
/// ```
/// use sinterlm_data::HubModel;
///
/// let model: HubModel = "hub:owner/name@v1.0".parse().unwrap();
/// assert_eq!((model.repo.as_str(), model.revision.as_str()), ("owner/name", "v1.0"));
/// let file: HubModel = "hub:owner/name/sub/tiny.gguf".parse().unwrap();
/// assert_eq!(file.to_string(), "owner/name@main/sub/tiny.gguf");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// The repository, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit; `main` by default.
    pub revision: String,
    /// A file that holds all of the model, such as a GGUF; the model folder where absent.
    pub file: Option<String>,
}

/// Reads `[hub:]owner/name[@revision][/file]`; a file needs `hub:`, and its revision has no slash.
impl FromStr for HubModel {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let (prefixed, rest) = match text.strip_prefix("hub:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let wrong = || DataError::HubName {
            what: "model",
            name: text.to_owned(),
        };
        let (owner, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (repo_name, revision, file) = match rest.split_once('@') {
            Some((repo_name, tail)) => match tail.split_once('/') {
                Some((revision, file)) if is_whole_model(file) => (repo_name, revision, Some(file)),
                _ => (repo_name, tail, None),
            },
            None => match rest.split_once('/') {
                Some((repo_name, file)) => (repo_name, "main", Some(file)),
                None => (rest, "main", None),
            },
        };
        let is_word = |text: &str| {
            let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !text.is_empty() && text.bytes().all(known) && !text.starts_with('.')
        };
        let fits = is_word(owner) && is_word(repo_name) && (prefixed || file.is_none());
        if !fits || revision.is_empty() || file == Some("") {
            return Err(wrong());
        }
        Ok(Self {
            repo: format!("{owner}/{repo_name}"),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    }
}

/// `owner/name@revision`, and the file behind a slash.
impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.revision)?;
        self.file
            .as_ref()
            .map_or(Ok(()), |file| write!(f, "/{file}"))
    }
}

impl HubModel {
    /// A file of the repository at a revision.
    fn part(&self, revision: &str, file: &str) -> HubFile {
        HubFile {
            repo: self.repo.clone(),
            repo_type: RepoType::Model,
            revision: revision.to_owned(),
            file: file.to_owned(),
            max_bytes: None,
        }
    }
}

impl Hub {
    /// The model that the cache holds whole: a folder, or the file that was asked for. Never uses the
    /// network.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::HubIndex`] for a damaged index of shards.
    pub fn cached_model(&self, model: &HubModel) -> Result<Option<HubCopy>, DataError> {
        let cached = |revision: &str, file: &str| self.cached(&model.part(revision, file));
        if let Some(file) = &model.file {
            return Ok(cached(&model.revision, file));
        }
        let Some(config) = cached(&model.revision, CONFIG) else {
            return Ok(None);
        };
        let commit = &config.commit;
        let Some(weights) = WEIGHTS.iter().find_map(|name| cached(commit, name)) else {
            return Ok(None);
        };
        let shards = shards(&weights.path)?;
        let is_whole = shards.iter().all(|shard| cached(commit, shard).is_some());
        Ok(is_whole.then(|| folder_of(config)))
    }

    /// The cached model, or else a download of what it lacks: `config.json`, the files of the
    /// tokenizer, generation and chat where the repository has them, then the weights, in one file or
    /// in shards. All come from one commit.
    ///
    /// A model that is whole in the cache is taken without asking the Hub. `progress` receives a
    /// file's name, its bytes so far and their total.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), and [`DataError::HubIndex`] for a malformed index of shards.
    pub fn fetch_model(
        &self,
        model: &HubModel,
        progress: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<HubCopy, DataError> {
        let mut get = |revision: &str, file: &str| {
            let report = &mut |done, total| progress(file, done, total);
            self.fetch(&model.part(revision, file), report)
        };
        if let Some(file) = &model.file {
            return get(&model.revision, file);
        }
        let known = self.cached_model(model)?;
        if let Some(copy) = known
            && (self.is_offline || copy.path.join(TOKENIZER).is_file())
        {
            return Ok(copy);
        }
        let config = get(&model.revision, CONFIG)?;
        let commit = config.commit.clone();
        for name in BESIDE {
            optional(get(&commit, name))?;
        }
        let mut weights = None;
        for name in WEIGHTS {
            weights = optional(get(&commit, name))?;
            if weights.is_some() {
                break;
            }
        }
        let Some(weights) = weights else {
            return Err(DataError::HubIndex {
                path: PathBuf::from(model.to_string()),
                fault: format!("has no weights, none of {}", WEIGHTS.join(", ")),
            });
        };
        for shard in shards(&weights.path)? {
            get(&commit, &shard)?;
        }
        Ok(folder_of(config))
    }
}

/// Whether a path names a file that holds tokenizer and description beside the weights.
fn is_whole_model(file: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// The folder of the snapshot that `config.json` lies in.
fn folder_of(config: HubCopy) -> HubCopy {
    let folder = config.path.parent();
    HubCopy {
        path: folder.expect("a cached file lies in a snapshot").to_owned(),
        commit: config.commit,
    }
}

/// Turns the refusal of a file that the repository lacks into `None`.
fn optional(answer: Result<HubCopy, DataError>) -> Result<Option<HubCopy>, DataError> {
    match answer {
        Ok(copy) => Ok(Some(copy)),
        Err(DataError::HubRefused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files that an index names, each once; empty where `weights` is not an index.
fn shards(weights: &Path) -> Result<BTreeSet<String>, DataError> {
    if weights
        .extension()
        .is_none_or(|extension| extension != "json")
    {
        return Ok(BTreeSet::new());
    }
    let text = std::fs::read_to_string(weights).map_err(|source| DataError::Io {
        path: weights.to_owned(),
        action: "read the index of shards",
        source,
    })?;
    let fault = |fault: String| DataError::HubIndex {
        path: weights.to_owned(),
        fault,
    };
    let index: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| fault(format!("is no JSON ({error})")))?;
    let map = index["weight_map"].as_object();
    let map = map.ok_or_else(|| fault("has no `weight_map`".to_owned()))?;
    map.values()
        .map(|file| match file.as_str() {
            // A shard lies beside its index; the names of files are checked again when they are used.
            Some(file) if !file.contains('/') => Ok(file.to_owned()),
            _ => Err(fault(format!("names {file} as a shard"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, String, Option<String>)> {
        let model: HubModel = text.parse().ok()?;
        Some((model.repo, model.revision, model.file))
    }

    #[test]
    fn names_revisions_and_files_are_told_apart() {
        let expect = |text: &str, repo: &str, revision: &str, file: Option<&str>| {
            let expected = (repo.into(), revision.into(), file.map(str::to_owned));
            assert_eq!(parts(text), Some(expected), "{text}");
        };
        expect("o/n", "o/n", "main", None);
        expect("hub:o-1/n.2_b", "o-1/n.2_b", "main", None);
        expect("o/n@v1", "o/n", "v1", None);
        expect("o/n@refs/pr/1", "o/n", "refs/pr/1", None);
        expect("hub:o/n/d/f.gguf", "o/n", "main", Some("d/f.gguf"));
        expect("hub:o/n@v1/d/f.gguf", "o/n", "v1", Some("d/f.gguf"));
        for text in [
            "",
            "n",
            "/n",
            "o/",
            "o/n/f.gguf",
            "./o",
            "../o/n",
            "o/n@",
            "hub:o/n/",
            "o o/n",
            "hub:o",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
