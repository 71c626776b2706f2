//! From a source in the configuration to documents that can be read again and again.

use std::path::{Path, PathBuf};

use sinterlm_config::Seed;

use crate::config::default_stories;
use crate::digest::sha256_hex;
use crate::progress::{Progress, Stage};
use crate::{
    DataConfig, DataError, Document, Hub, HubFile, SourceConfig, StoryGenerator, TextSource,
    fingerprint, read_documents,
};

/// The data set that `auto` looks for.
const TINY_STORIES: &str = "TinyStories V2 validation file";

/// One text of a source.
#[derive(Debug)]
pub(crate) enum Corpus {
    Files(TextSource),
    Stories { seed: u64, count: u64 },
}

type BoxedDocuments = Box<dyn Iterator<Item = Result<Document, DataError>> + Send>;

impl Corpus {
    fn files(data: &DataConfig, paths: Vec<PathBuf>) -> Self {
        Self::Files(TextSource {
            paths,
            text_field: data.text_field.clone(),
            separator: data.separator.clone(),
            invalid_utf8: data.invalid_utf8,
        })
    }

    /// The documents, from the first on.
    pub(crate) fn documents(&self) -> Result<BoxedDocuments, DataError> {
        Ok(match self {
            Self::Files(source) => Box::new(read_documents(source)?),
            Self::Stories { seed, count } => {
                let stories = StoryGenerator::new(*seed);
                let trimmed = move |i| {
                    Ok(Document {
                        text: stories.story(i).trim().to_owned(),
                    })
                };
                Box::new((0..*count).map(trimmed))
            }
        })
    }

    fn fingerprint(&self) -> Result<String, DataError> {
        match self {
            Self::Files(source) => fingerprint(source),
            // Stories follow from seed and index; the first few differ between versions of the
            // generator.
            Self::Stories { seed, count } => {
                let stories = StoryGenerator::new(*seed);
                let first: Vec<_> = (0..16).map(|i| stories.story(i)).collect();
                Ok(sha256_hex(
                    format!("stories {seed} {count} {first:?}").as_bytes(),
                ))
            }
        }
    }
}

/// A resolved source: what to read, a config that names the same text again, and why it was chosen.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) source: SourceConfig,
    pub(crate) train: Corpus,
    pub(crate) valid: Option<Corpus>,
    pub(crate) fingerprint: String,
    pub(crate) text: String,
}

pub(crate) fn resolve(
    data: &DataConfig,
    seed: Seed,
    hub: &Hub,
    progress: &mut dyn FnMut(Progress),
) -> Result<Resolved, DataError> {
    let (source, why) = match &data.source {
        SourceConfig::Auto => auto(hub, data, progress),
        source => (source.clone(), None),
    };
    let (source, train, valid, text) = match source {
        SourceConfig::Auto => unreachable!("auto chooses one of the other sources"),
        SourceConfig::Files { train, valid } => {
            let (train, valid) = (absolute(&train)?, absolute(&valid)?);
            let text = format!("local files: {}", list(&train));
            let (text, valid_corpus) = if valid.is_empty() {
                (text, None)
            } else {
                let text = format!("{text}, validation {}", list(&valid));
                (text, Some(Corpus::files(data, valid.clone())))
            };
            let corpus = Corpus::files(data, train.clone());
            (
                SourceConfig::Files { train, valid },
                corpus,
                valid_corpus,
                text,
            )
        }
        SourceConfig::Hub {
            repo,
            file,
            valid_file,
            revision,
        } => {
            let mut fetch = |file: &str, revision: &str| {
                let file = hub_file(data, &repo, file, revision);
                hub.fetch(&file, &mut report_download(progress))
            };
            let copy = fetch(&file, &revision)?;
            let commit = copy.commit;
            // Both files from one commit, whatever happens to a branch in between.
            let valid = valid_file
                .as_ref()
                .map(|file| fetch(file, &commit))
                .transpose()?;
            let text = format!("{repo}/{file} of the Hub at commit {commit}");
            let valid = valid.map(|copy| Corpus::files(data, vec![copy.path]));
            let train = Corpus::files(data, vec![copy.path]);
            (
                SourceConfig::Hub {
                    repo,
                    file,
                    valid_file,
                    revision: commit,
                },
                train,
                valid,
                text,
            )
        }
        SourceConfig::Stories { count, seed: own } => {
            let seed = own.unwrap_or(seed.0);
            let text = format!("{count} generated stories (seed {seed})");
            let source = SourceConfig::Stories {
                count,
                seed: Some(seed),
            };
            (source, Corpus::Stories { seed, count }, None, text)
        }
    };
    let mut fingerprint = train.fingerprint()?;
    if let Some(valid) = &valid {
        let own = valid.fingerprint()?;
        if own == fingerprint {
            return Err(same_text(&train, valid));
        }
        fingerprint = sha256_hex(format!("{fingerprint} {own}").as_bytes());
    }
    let text = why.map_or(text.clone(), |why| format!("{text}: {why}"));
    Ok(Resolved {
        source,
        train,
        valid,
        fingerprint,
        text,
    })
}

/// The error for validation text that is the training text: the same files, or copies of them.
fn same_text(train: &Corpus, valid: &Corpus) -> DataError {
    let paths = |corpus: &Corpus| match corpus {
        Corpus::Files(source) => source.paths.clone(),
        Corpus::Stories { .. } => Vec::new(),
    };
    let (train, valid) = (paths(train), paths(valid));
    let real = |paths: &[PathBuf]| -> Vec<_> {
        paths.iter().map(|path| path.canonicalize().ok()).collect()
    };
    let fault = if real(&train) == real(&valid) {
        "given as training text and as validation text".to_owned()
    } else {
        format!(
            "the validation text holds the same as the training text, {}",
            list(&train)
        )
    };
    DataError::SameText {
        path: valid.into_iter().next().unwrap_or_default(),
        fault,
    }
}

/// The first source at hand, and why it is that one.
fn auto(
    hub: &Hub,
    data: &DataConfig,
    progress: &mut dyn FnMut(Progress),
) -> (SourceConfig, Option<String>) {
    let HubFile {
        repo,
        revision,
        file,
        ..
    } = HubFile::tinystories_valid();
    let wanted = hub_file(data, &repo, &file, &revision);
    let on_hub = |revision| SourceConfig::Hub {
        repo,
        file,
        valid_file: None,
        revision,
    };
    if let Some(copy) = hub.cached(&wanted) {
        return (
            on_hub(copy.commit),
            Some("it lies in the local Hub cache".into()),
        );
    }
    let stories = || SourceConfig::Stories {
        count: default_stories(),
        seed: None,
    };
    if hub.is_offline {
        let why = format!("the {TINY_STORIES} is not cached and this run is offline");
        return (stories(), Some(why));
    }
    if !hub.is_reachable() {
        let why = format!(
            "the {TINY_STORIES} is not cached and {} is out of reach",
            hub.endpoint
        );
        return (stories(), Some(why));
    }
    match hub.fetch(&wanted, &mut report_download(progress)) {
        Ok(copy) => (on_hub(copy.commit), Some("it could be downloaded".into())),
        Err(error) => {
            tracing::warn!(%error, "no download, the built-in stories are used instead");
            (
                stories(),
                Some(format!(
                    "the {TINY_STORIES} could not be downloaded ({error})"
                )),
            )
        }
    }
}

fn hub_file(data: &DataConfig, repo: &str, file: &str, revision: &str) -> HubFile {
    HubFile {
        revision: revision.to_owned(),
        max_bytes: Some(data.max_download_bytes),
        ..HubFile::dataset(repo, file)
    }
}

fn report_download(progress: &mut dyn FnMut(Progress)) -> impl FnMut(u64, u64) {
    |done, total| {
        progress(Progress {
            stage: Stage::Download,
            done,
            total: Some(total),
        });
    }
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    paths.iter().map(|path| absolute_path(path)).collect()
}

pub(crate) fn absolute_path(path: &Path) -> Result<PathBuf, DataError> {
    std::path::absolute(path).map_err(|source| DataError::Io {
        path: path.to_owned(),
        action: "be made absolute",
        source,
    })
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(cache: &Path, endpoint: &str, is_offline: bool) -> Hub {
        let cache_dir = cache.to_owned();
        Hub {
            endpoint: endpoint.to_owned(),
            cache_dir,
            ..Hub::from_env(is_offline)
        }
    }

    fn resolved(data: &DataConfig, hub: &Hub) -> Resolved {
        resolve(data, Seed(5), hub, &mut |_| ()).unwrap()
    }

    #[test]
    fn auto_generates_stories_where_nothing_is_cached_and_says_why() {
        let cache = tempfile::tempdir().unwrap();
        let data = DataConfig::default();
        let offline = resolved(&data, &hub(cache.path(), "http://127.0.0.1:1", true));
        assert_eq!(
            offline.source,
            SourceConfig::Stories {
                count: 20_000,
                seed: Some(5)
            }
        );
        insta::assert_snapshot!(offline.text, @"20000 generated stories (seed 5): the TinyStories V2 validation file is not cached and this run is offline");
        let unreachable = hub(cache.path(), "http://127.0.0.1:1", false);
        if unreachable.is_offline {
            return; // the environment wants it so
        }
        insta::assert_snapshot!(resolved(&data, &unreachable).text, @"20000 generated stories (seed 5): the TinyStories V2 validation file is not cached and http://127.0.0.1:1 is out of reach");
    }

    #[test]
    fn auto_takes_the_cached_file_and_resolves_to_its_commit() {
        let cache = tempfile::tempdir().unwrap();
        let commit = "0123456789012345678901234567890123456789";
        let repo = cache.path().join("datasets--roneneldan--TinyStories");
        let folder = repo.join("snapshots").join(commit);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), commit).unwrap();
        std::fs::write(
            folder.join("TinyStoriesV2-GPT4-valid.txt"),
            "a<|endoftext|>b",
        )
        .unwrap();
        let hub = hub(cache.path(), "http://127.0.0.1:1", true);
        let first = resolved(&DataConfig::default(), &hub);
        insta::assert_snapshot!(first.text, @"roneneldan/TinyStories/TinyStoriesV2-GPT4-valid.txt of the Hub at commit 0123456789012345678901234567890123456789: it lies in the local Hub cache");
        assert_eq!(first.train.documents().unwrap().count(), 2);
        // With the branch gone the resolved source still finds the same bytes.
        std::fs::remove_file(repo.join("refs/main")).unwrap();
        let data = DataConfig {
            source: first.source.clone(),
            ..DataConfig::default()
        };
        let again = resolved(&data, &hub);
        assert_eq!(
            (again.source, again.fingerprint),
            (first.source, first.fingerprint)
        );
    }

    #[test]
    fn stories_of_other_seeds_and_counts_have_other_fingerprints() {
        let fingerprint = |seed, count| Corpus::Stories { seed, count }.fingerprint().unwrap();
        assert_eq!(fingerprint(1, 50), fingerprint(1, 50));
        assert_ne!(fingerprint(1, 50), fingerprint(2, 50));
        assert_ne!(fingerprint(1, 50), fingerprint(1, 51));
    }
}
