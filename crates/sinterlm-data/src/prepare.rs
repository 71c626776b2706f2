//! From a configuration to token stores: resolves the source, splits, makes the tokenizer, and
//! keeps the result in the cache, so that the next start finds it. Reading, splitting and writing
//! are left to their own files.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use sinterlm_config::Seed;
use sinterlm_formats::{FormatError, StagedDir, remove_stale_staging};

use crate::corpus::{Corpus, Resolved, absolute_path, resolve};
use crate::digest::sha256_hex;
use crate::progress::{Progress, Stage};
use crate::split::{Sample, Split, Survey, content_hash};
use crate::store::StoreWriter;
use crate::{DataConfig, DataError, Document, Hub, TokenStore, Tokenizer, TokenizerConfig};

/// Where tokenized text goes where the configuration names no folder.
const DEFAULT_CACHE: &str = ".sinterlm-cache";
/// Enters every cache key; raised when splitting or tokenizing changes.
const PREPARATION: &str = "sinterlm preparation 1";

/// Which text is in use, for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceReport {
    /// One line: the source in use and why, documents and tokens of both splits, what was dropped.
    pub text: String,
    /// Whether the tokens came from the cache.
    pub is_cached: bool,
}

/// Identities of what a run is trained on, for its provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprints {
    /// The text's content.
    pub source: String,
    /// The tokenizer.
    pub tokenizer: String,
}

/// Text ready for training.
#[derive(Debug)]
pub struct Prepared {
    /// Training text.
    pub train: TokenStore,
    /// Validation text, with its GPT-2 tokens counted.
    pub valid: TokenStore,
    /// The tokenizer of both.
    pub tokenizer: Tokenizer,
    /// Which text it is.
    pub report: SourceReport,
    /// The configuration with everything resolved: absolute paths, a commit in place of a branch,
    /// the stories' seed, the fingerprint. Preparing it again gives the same tokens.
    pub resolved: DataConfig,
    /// The tokenizer's configuration with an absolute path.
    pub resolved_tokenizer: TokenizerConfig,
    /// Identities of text and tokenizer.
    pub fingerprints: Fingerprints,
}

/// Prepares the text of a configuration, or finds it in the cache.
///
/// The cache folder holds one folder for each combination of content, split and tokenizer. It
/// appears there whole or not at all; a damaged one is rebuilt. `seed` is the seed of generated
/// stories where the configuration gives none; with `offline` the network is not used.
///
/// # Errors
/// Errors of the source, the Hub, the tokenizer or the cache;
/// [`DataError::SourceChanged`] where the configuration has another fingerprint;
/// [`DataError::SameText`] where the validation text is the training text;
/// [`DataError::EmptySplit`] where nothing is left for training or validation.
pub fn prepare(
    data: &DataConfig,
    tokenizer: &TokenizerConfig,
    seed: Seed,
    offline: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Prepared, DataError> {
    let source = resolve(data, seed, &Hub::from_env(offline), progress)?;
    if let Some(expected) = &data.fingerprint
        && *expected != source.fingerprint
    {
        let (found, expected) = (source.fingerprint.clone(), expected.clone());
        return Err(DataError::SourceChanged { found, expected });
    }
    let choice = Choice::new(tokenizer)?;
    let cache = absolute_path(
        data.cache_dir
            .as_deref()
            .unwrap_or(Path::new(DEFAULT_CACHE)),
    )?;
    let fraction = source.valid.is_none().then_some(data.valid_fraction);
    let key = format!(
        "{PREPARATION} {} {fraction:?} {}",
        source.fingerprint,
        choice.key()
    );
    let folder = cache.join(&sha256_hex(key.as_bytes())[..32]);

    let (found, damage) = Stored::open(&folder, &choice)?;
    let is_cached = found.is_some();
    let stored = match found {
        Some(stored) => stored,
        None => Stored::make(&folder, data, &source, &choice, progress)?,
    };
    let Stored {
        train,
        valid,
        tokenizer: made,
    } = stored;
    let mut text = describe(&source.text, &train, &valid);
    if let Some(damage) = damage {
        text = format!("{text}; made again, as the cached tokens were damaged ({damage})");
    }
    let mut resolved = data.clone();
    resolved.source = source.source;
    resolved.fingerprint = Some(source.fingerprint.clone());
    resolved.cache_dir = data.cache_dir.as_deref().map(absolute_path).transpose()?;
    Ok(Prepared {
        train,
        valid,
        report: SourceReport { text, is_cached },
        resolved,
        resolved_tokenizer: match tokenizer {
            TokenizerConfig::File { path } => TokenizerConfig::File {
                path: absolute_path(path)?,
            },
            other => other.clone(),
        },
        fingerprints: Fingerprints {
            source: source.fingerprint,
            tokenizer: made.fingerprint().to_owned(),
        },
        tokenizer: made,
    })
}

/// The tokenizer of the configuration: ready, or to be trained.
enum Choice {
    Ready(Tokenizer),
    Train { vocab_size: usize },
}

impl Choice {
    fn new(config: &TokenizerConfig) -> Result<Self, DataError> {
        Ok(match config {
            TokenizerConfig::Gpt2 => Self::Ready(Tokenizer::gpt2()),
            TokenizerConfig::File { path } => Self::Ready(Tokenizer::from_file(path)?),
            TokenizerConfig::Bpe { vocab_size } => Self::Train {
                vocab_size: *vocab_size,
            },
        })
    }

    fn key(&self) -> String {
        match self {
            Self::Ready(tokenizer) => tokenizer.fingerprint().to_owned(),
            Self::Train { vocab_size } => format!("bpe {vocab_size}"),
        }
    }
}

/// The content of one cache folder.
struct Stored {
    train: TokenStore,
    valid: TokenStore,
    tokenizer: Tokenizer,
}

impl Stored {
    /// Reads a cache folder. A damaged one is removed, and the damage is returned as a text.
    fn open(folder: &Path, choice: &Choice) -> Result<(Option<Self>, Option<String>), DataError> {
        if !folder.exists() {
            return Ok((None, None));
        }
        Self::read(folder, choice)
            .map(|stored| (Some(stored), None))
            .or_else(|error| {
                tracing::warn!(%error, "the cached tokens are damaged and will be rebuilt");
                fs::remove_dir_all(folder).map_err(|source| DataError::Io {
                    path: folder.to_owned(),
                    action: "remove the damaged folder",
                    source,
                })?;
                Ok((None, Some(error.to_string())))
            })
    }

    fn read(folder: &Path, choice: &Choice) -> Result<Self, DataError> {
        let tokenizer = match choice {
            Choice::Ready(tokenizer) => tokenizer.clone(),
            Choice::Train { .. } => Tokenizer::from_file(&folder.join("tokenizer.json"))?,
        };
        Ok(Self {
            train: TokenStore::open(&folder.join("train.tokens"), &tokenizer)?,
            valid: TokenStore::open(&folder.join("valid.tokens"), &tokenizer)?,
            tokenizer,
        })
    }

    fn make(
        folder: &Path,
        data: &DataConfig,
        source: &Resolved,
        choice: &Choice,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, DataError> {
        if let Some(cache) = folder.parent() {
            remove_stale_staging(cache).map_err(cache_fault)?;
        }
        let staged = StagedDir::create(folder).map_err(cache_fault)?;
        let first = first_reading(
            data,
            source,
            matches!(choice, Choice::Train { .. }),
            progress,
        )?;
        let tokenizer = match choice {
            Choice::Ready(tokenizer) => tokenizer.clone(),
            Choice::Train { vocab_size } => {
                progress(Progress {
                    stage: Stage::TrainTokenizer,
                    done: 0,
                    total: None,
                });
                let split = &first.split;
                let texts = first
                    .sample
                    .into_texts()
                    .filter_map(|text| split.parts(text).train);
                Tokenizer::train_bpe(texts, *vocab_size)?
            }
        };
        tokenizer.save(&staged.path().join("tokenizer.json"))?;

        let gpt2 = Tokenizer::gpt2();
        let fingerprint = &source.fingerprint;
        let (train_path, valid_path) = (in_stage(&staged, "train"), in_stage(&staged, "valid"));
        let mut train = StoreWriter::create(&train_path, &tokenizer, None, fingerprint)?;
        let mut valid = StoreWriter::create(&valid_path, &tokenizer, Some(&gpt2), fingerprint)?;
        let mut reading = Reading::new(Stage::Tokenize, Some(first.bytes), progress);
        let mut dropped = 0;
        reading.each(&source.train, |document| {
            let parts = first.split.parts(document.text);
            dropped += u64::from(parts.train.is_none() && parts.valid.is_none());
            parts.train.map_or(Ok(()), |text| train.push(text))?;
            parts.valid.map_or(Ok(()), |text| valid.push(text))
        })?;
        if let Some(corpus) = &source.valid {
            reading.each(corpus, |document| valid.push(document.text))?;
        }
        if train.finish(dropped)?.documents == 0 {
            return Err(no_training_text());
        }
        if valid.finish(0)?.documents == 0 {
            let remedy = "give more text or validation text of its own";
            return Err(DataError::EmptySplit {
                split: "validation",
                remedy,
            });
        }
        // Another process may have made the same folder meanwhile; its content is the same.
        match staged.commit() {
            Err(_) if folder.exists() => {}
            result => result?,
        }
        Self::read(folder, choice)
    }
}

/// The error for a cache folder that cannot be created; it names the key that moves the folder,
/// whose path users did not choose.
fn cache_fault(error: FormatError) -> DataError {
    match error {
        FormatError::Io { path, source, .. } | FormatError::DiskFull { path, source } => {
            let action = "use the cache of tokens (data.cache_dir moves it)";
            DataError::Io {
                path,
                action,
                source,
            }
        }
        other => other.into(),
    }
}

fn no_training_text() -> DataError {
    DataError::EmptySplit {
        split: "training",
        remedy: "give text that the validation text does not hold as well",
    }
}

fn in_stage(staged: &StagedDir, split: &str) -> PathBuf {
    staged.path().join(format!("{split}.tokens"))
}

/// What the first pass over the text finds.
struct FirstReading {
    split: Split,
    sample: Sample,
    /// Bytes of all documents.
    bytes: u64,
}

fn first_reading(
    data: &DataConfig,
    source: &Resolved,
    sampled: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<FirstReading, DataError> {
    let mut survey = Survey::new(data.valid_fraction);
    let mut sample = Sample::default();
    let mut reading = Reading::new(Stage::Read, None, progress);
    let given = match &source.valid {
        None => None,
        Some(corpus) => {
            let mut hashes = HashSet::new();
            reading.each(corpus, |document| {
                hashes.insert(content_hash(&document.text));
                Ok(())
            })?;
            Some(hashes)
        }
    };
    let mut any_left = false;
    reading.each(&source.train, |document| {
        let hash = content_hash(&document.text);
        any_left |= given.as_ref().is_none_or(|hashes| !hashes.contains(&hash));
        survey.add(hash);
        if sampled {
            sample.add(hash, &document.text);
        }
        Ok(())
    })?;
    if !any_left {
        // Said here, as a tokenizer that is trained on nothing has another fault to tell.
        return Err(no_training_text());
    }
    let split = given.map_or_else(|| survey.split(), Split::Given);
    Ok(FirstReading {
        split,
        sample,
        bytes: reading.done,
    })
}

/// Passes over documents and reports progress every mebibyte.
struct Reading<'a> {
    stage: Stage,
    done: u64,
    total: Option<u64>,
    progress: &'a mut dyn FnMut(Progress),
}

impl<'a> Reading<'a> {
    fn new(stage: Stage, total: Option<u64>, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            stage,
            done: 0,
            total,
            progress,
        }
    }

    fn each(
        &mut self,
        corpus: &Corpus,
        mut take: impl FnMut(Document) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        for document in corpus.documents()? {
            let document = document?;
            let before = self.done;
            self.done += document.text.len() as u64;
            take(document)?;
            if before >> 20 != self.done >> 20 {
                self.report();
            }
        }
        self.report();
        Ok(())
    }

    fn report(&mut self) {
        (self.progress)(Progress {
            stage: self.stage,
            done: self.done,
            total: self.total,
        });
    }
}

fn describe(source: &str, train: &TokenStore, valid: &TokenStore) -> String {
    let (t, v) = (train.header(), valid.header());
    let mut text = format!(
        "{source}; {} training documents ({} tokens), {} validation documents ({} tokens)",
        t.documents,
        train.targets(),
        v.documents,
        valid.targets()
    );
    if t.dropped_documents > 0 {
        let dropped = t.dropped_documents;
        text = format!("{text}; {dropped} training documents left out, validation holds them too");
    }
    text
}
