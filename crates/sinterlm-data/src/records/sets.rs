//! The sets of a config: where their files are, on this machine or on the Hub, or what makes them, and
//! their splits. Reading the files belongs to `read`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::options::RecordOptions;
use super::read::{RecordSet, read_records};
use super::rows::{ending, is_record_file};
use crate::{
    DataError, Hub, HubFile, InstructionTasks, Record, RecordForm, RecordsConfig, RecordsSource,
    SpamMessages, SplitConfig, TaskSplit, split_records,
};

/// Files of a data set's repository that describe it and hold no records.
const DESCRIPTIONS: [&str; 3] = [
    "dataset_infos.json",
    "dataset_info.json",
    "dataset_dict.json",
];

/// The records of one set.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSet {
    /// Its name in a mixture; none for a single source.
    pub name: Option<Arc<str>>,
    /// How often each of its records is drawn, relative to the other sets' records.
    pub weight: f64,
    /// Training records.
    pub train: RecordSet,
    /// Validation records; none where the source has none of its own.
    pub valid: Option<RecordSet>,
    /// Test records; none where the source has none of its own.
    pub test: Option<RecordSet>,
    /// Records of kinds that no training record is of, for figures of their own; none but where the source
    /// makes them.
    pub held_out: Option<RecordSet>,
}

/// Reads all sets of a config, fetching those of the Hub; `progress` receives a file's name, its bytes
/// so far and their total.
///
/// # Errors
/// Those of [`read_records`], [`Hub::fetch`] and [`Hub::files`]; [`DataError::NoPaths`] where the
/// config has neither a source nor sets, and [`DataError::HubNoRecords`] for a repository without
/// training records.
pub fn load_records(
    config: &RecordsConfig,
    hub: &Hub,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Vec<LoadedSet>, DataError> {
    let mut load = |source: &RecordsSource, options: &RecordOptions, weight: f64| {
        if let Some(made) = made(source, options, weight)? {
            return Ok(made);
        }
        let splits = splits(source, config.max_download_bytes, hub, progress)?;
        let read = |paths: &[PathBuf]| match paths {
            [] => Ok(None),
            _ => read_records(paths, options).map(Some),
        };
        Ok(LoadedSet {
            name: options.task.clone(),
            weight,
            train: read_records(&splits.train, options)?,
            valid: read(&splits.valid)?,
            test: read(&splits.test)?,
            held_out: None,
        })
    };
    if let Some(source) = &config.source {
        return Ok(vec![load(source, &RecordOptions::of(config), 1.0)?]);
    }
    if config.sets.is_empty() {
        return Err(DataError::NoPaths);
    }
    let sets = config.sets.iter();
    sets.map(|set| load(&set.source, &RecordOptions::of_set(config, set), set.weight))
        .collect()
}

impl RecordsSource {
    /// The source with nothing left open that may change: of a data set on the Hub, the commit that its
    /// branch or tag names now and the files that are read of it; of files, their paths from the root of
    /// the file system.
    ///
    /// # Errors
    /// [`DataError::Io`] for a path that cannot be made absolute; those of [`Hub::files`], and
    /// [`DataError::HubNoRecords`] for a repository without training records.
    pub fn resolved(&self, hub: &Hub) -> Result<Self, DataError> {
        match self {
            Self::Files { train, valid, test } => Ok(Self::Files {
                train: absolute(train)?,
                valid: absolute(valid)?,
                test: absolute(test)?,
            }),
            Self::Hub {
                repo,
                train,
                valid,
                test,
                revision,
            } => {
                let is_commit =
                    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit());
                if is_commit && !train.is_empty() {
                    return Ok(self.clone());
                }
                let listing = hub.files(repo, HubFile::dataset(repo, "").repo_type, revision)?;
                let files = if train.is_empty() {
                    chosen_of(repo, &listing.files)?
                } else {
                    Splits {
                        train: train.clone(),
                        valid: valid.clone(),
                        test: test.clone(),
                    }
                };
                Ok(Self::Hub {
                    repo: repo.clone(),
                    train: files.train,
                    valid: files.valid,
                    test: files.test,
                    revision: listing.commit,
                })
            }
            Self::Instructions(_) | Self::Messages(_) => Ok(self.clone()),
        }
    }

    /// The local paths that the source names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let lists = match self {
            Self::Files { train, valid, test } => [train.as_slice(), valid, test],
            _ => [&[][..]; 3],
        };
        lists.into_iter().flatten().map(PathBuf::as_path)
    }
}

impl RecordsConfig {
    /// The sources, of a mixture each set's.
    pub fn sources(&self) -> impl Iterator<Item = &RecordsSource> {
        let sets = self.sets.iter().map(|set| &set.source);
        self.source.iter().chain(sets)
    }

    /// The sources, to be changed.
    pub fn sources_mut(&mut self) -> impl Iterator<Item = &mut RecordsSource> {
        let sets = self.sets.iter_mut().map(|set| &mut set.source);
        self.source.iter_mut().chain(sets)
    }
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|source| DataError::Io {
            path: path.clone(),
            action: "cannot be made absolute",
            source,
        })
    };
    paths.iter().map(absolute).collect()
}

/// The records of a source that makes them.
fn made(
    source: &RecordsSource,
    options: &RecordOptions,
    weight: f64,
) -> Result<Option<LoadedSet>, DataError> {
    let most = options.max_records.unwrap_or(u64::MAX);
    let set = |mut records: Vec<Record>, form| {
        records.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        RecordSet::made(records, form)
    };
    let [train, valid, test, held_out] = match source {
        RecordsSource::Files { .. } | RecordsSource::Hub { .. } => return Ok(None),
        RecordsSource::Instructions(tasks) => instructions(tasks).map(Some),
        RecordsSource::Messages(messages) => {
            let [train, valid, test] = split_messages(messages)?;
            [Some(train), Some(valid), Some(test), None]
        }
    };
    let form = match source {
        RecordsSource::Messages(_) => RecordForm::Labelled,
        _ => RecordForm::Alpaca,
    };
    let set = |records: Option<Vec<Record>>| records.map(|records| set(records, form));
    Ok(Some(LoadedSet {
        name: options.task.clone(),
        weight,
        train: set(train).expect("every source has training records"),
        valid: set(valid),
        test: set(test),
        held_out: set(held_out),
    }))
}

fn instructions(tasks: &InstructionTasks) -> [Vec<Record>; 4] {
    [
        TaskSplit::Train,
        TaskSplit::Valid,
        TaskSplit::Test,
        TaskSplit::HeldOut,
    ]
    .map(|split| tasks.records(split))
}

/// Messages are all made from the same clauses, so that only equal ones are kept together.
fn split_messages(messages: &SpamMessages) -> Result<[Vec<Record>; 3], DataError> {
    let config = SplitConfig {
        near_threshold: 1.0,
        ..SplitConfig::default()
    };
    let splits = split_records(messages.records(), &config, messages.seed)?;
    Ok([splits.train, splits.valid, splits.test])
}

/// The files of each split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Splits<T> {
    train: Vec<T>,
    valid: Vec<T>,
    test: Vec<T>,
}

fn splits(
    source: &RecordsSource,
    max_bytes: u64,
    hub: &Hub,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Splits<PathBuf>, DataError> {
    let (repo, mut revision, mut files) = match source {
        RecordsSource::Files { train, valid, test } => {
            return Ok(Splits {
                train: train.clone(),
                valid: valid.clone(),
                test: test.clone(),
            });
        }
        RecordsSource::Hub {
            repo,
            train,
            valid,
            test,
            revision,
        } => {
            let (train, valid, test) = (train.clone(), valid.clone(), test.clone());
            (repo, revision.clone(), Splits { train, valid, test })
        }
        RecordsSource::Instructions(_) | RecordsSource::Messages(_) => {
            unreachable!("made before files are looked for")
        }
    };
    let mut part = HubFile::dataset(repo, "");
    part.max_bytes = Some(max_bytes);
    if files == Splits::default() {
        let listing = hub.files(repo, part.repo_type, &revision)?;
        files = chosen_of(repo, &listing.files)?;
        // All files of one commit, even where the branch moves meanwhile.
        revision = listing.commit;
    }
    part.revision = revision;
    let mut fetch = |files: Vec<String>| -> Result<Vec<PathBuf>, DataError> {
        let files = files.into_iter();
        files
            .map(|file| {
                part.file = file;
                let name = part.file.clone();
                let copy = hub.fetch(&part, &mut |done, total| progress(&name, done, total))?;
                Ok(copy.path)
            })
            .collect()
    };
    Ok(Splits {
        train: fetch(files.train)?,
        valid: fetch(files.valid)?,
        test: fetch(files.test)?,
    })
}

/// The [chosen] files of a repository, among them one to train on.
fn chosen_of(repo: &str, files: &[String]) -> Result<Splits<String>, DataError> {
    let splits = chosen(files);
    if splits.train.is_empty() {
        return Err(DataError::HubNoRecords {
            repo: repo.to_owned(),
            files: files[..files.len().min(8)].join(", "),
        });
    }
    Ok(splits)
}

/// The data files of a repository by split: those of one format, as many hold the same records twice.
fn chosen(files: &[String]) -> Splits<String> {
    const FORMATS: [&[&str]; 3] = [
        &["json", "jsonl", "ndjson"],
        &["csv", "tsv", "tab"],
        &["parquet"],
    ];
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
    let usable = |file: &&String| {
        let name = name(file);
        is_record_file(Path::new(file)) && !DESCRIPTIONS.contains(&&*name) && !name.starts_with('.')
    };
    for format in FORMATS {
        let is_of =
            |file: &&String| ending(Path::new(file)).is_some_and(|end| format.contains(&end));
        let mut splits = Splits::default();
        for file in files.iter().filter(usable).filter(is_of) {
            let split = match split_of(file) {
                Split::Train => &mut splits.train,
                Split::Valid => &mut splits.valid,
                Split::Test => &mut splits.test,
            };
            split.push(file.clone());
        }
        // Without a file that says so, the test files are all there is.
        if !splits.train.is_empty() {
            return splits;
        }
    }
    Splits::default()
}

enum Split {
    Train,
    Valid,
    Test,
}

/// The split that a word of a file's path names; training where none does.
fn split_of(file: &str) -> Split {
    let lower = file.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).rev();
    for word in words {
        match word {
            "train" | "training" => return Split::Train,
            "valid" | "validation" | "val" | "dev" | "eval" => return Split::Valid,
            "test" | "testing" => return Split::Test,
            _ => {}
        }
    }
    Split::Train
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_of(files: &[&str]) -> (Vec<String>, Vec<String>, Vec<String>) {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        let splits = chosen(&files);
        (splits.train, splits.valid, splits.test)
    }

    #[test]
    fn a_listing_gives_the_files_of_one_format_by_split() {
        let (train, valid, test) = chosen_of(&[
            ".gitattributes",
            "README.md",
            "dataset_infos.json",
            "data/Alpaca-7B/test.jsonl",
            "data/Alpaca-7B/train.jsonl",
            "data/Alpaca2-7B/train.jsonl",
            "data/validation-00000-of-00001.parquet",
            "extra.csv",
        ]);
        assert_eq!(
            train,
            ["data/Alpaca-7B/train.jsonl", "data/Alpaca2-7B/train.jsonl"]
        );
        assert_eq!(
            (valid.len(), test),
            (0, vec!["data/Alpaca-7B/test.jsonl".to_owned()])
        );
        let (train, valid, _) =
            chosen_of(&["plain/train-00000-of-00001.parquet", "plain/dev-0.parquet"]);
        assert_eq!((train.len(), valid.len()), (1, 1));
        assert_eq!(
            chosen_of(&["alpaca_data_cleaned.json"]).0,
            ["alpaca_data_cleaned.json"]
        );
        assert_eq!(
            chosen_of(&["README.md", "test.json"]).0,
            Vec::<String>::new()
        );
    }
}
