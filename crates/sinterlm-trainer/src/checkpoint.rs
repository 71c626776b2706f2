//! Checkpoint folders: a model folder, the trainer's state and a manifest, written as one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sinterlm_formats::{
    SafetensorsFile, StagedDir, TensorEntry, sha256_file, write_file_atomic, write_safetensors,
};

use crate::error::TrainError;
use crate::keep::Keep;
use crate::state::{HostTensor, TrainState};

const STATE: &str = "trainer.safetensors";
const SCALARS: &str = "trainer.json";
const MANIFEST: &str = "manifest.json";
/// Raised whenever an older reader could misread a newer checkpoint.
///
/// 1: all tensors in f32, numbers as JSON has them. 2: moments in their own format, fractions as
/// text.
const VERSION: u64 = 2;
/// The oldest version that is read.
const OLDEST: u64 = 1;
/// The remedy for a broken checkpoint.
pub(crate) const OLDER: &str = "use an older checkpoint";

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u64,
    /// Every other file of the folder, by name.
    files: BTreeMap<String, FileFact>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileFact {
    size_bytes: u64,
    sha256: String,
}

/// A whole, verified checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder, which is also a model folder.
    pub path: PathBuf,
    /// The trainer's state.
    pub state: TrainState,
}

impl Checkpoint {
    /// Where the checkpoint of a step lies.
    pub(crate) fn path(folder: &Path, step: u64) -> PathBuf {
        folder.join(format!("step-{step:08}"))
    }

    /// Writes `folder/step-NNNNNNNN`: `fill` puts the model into the staged folder, the state
    /// follows, the manifest comes last, and the whole appears at once or not at all.
    pub(crate) fn write(
        folder: &Path,
        step: u64,
        state: &TrainState,
        fill: impl FnOnce(&Path) -> Result<(), TrainError>,
    ) -> Result<PathBuf, TrainError> {
        let path = Self::path(folder, step);
        let staged = StagedDir::create(&path)?;
        fill(staged.path())?;
        let entries: Vec<TensorEntry<'_>> = state
            .tensors
            .iter()
            .map(|(name, tensor)| tensor.entry(name))
            .collect();
        write_safetensors(staged.path().join(STATE), &entries, &BTreeMap::new())?;
        write_json(&staged.path().join(SCALARS), &state.scalars)?;
        let mut files = BTreeMap::new();
        for entry in read_dir(staged.path())? {
            let name = entry
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.insert(name, FileFact::of(&entry)?);
        }
        write_json(
            &staged.path().join(MANIFEST),
            &Manifest {
                version: VERSION,
                files,
            },
        )?;
        staged.commit()?;
        Ok(path)
    }

    /// Removes the checkpoints that need not stay; `best` is the step of the best one.
    pub(crate) fn rotate(folder: &Path, keep: &Keep, best: u64) -> Result<(), TrainError> {
        let checkpoints = list_checkpoints(folder);
        let surplus = match keep.last {
            0 => 0,
            last => checkpoints.len().saturating_sub(last),
        };
        for old in &checkpoints[..surplus] {
            let step = step_of(old).unwrap_or_default();
            let is_due = keep.every_steps > 0 && step.is_multiple_of(keep.every_steps);
            if is_due || (keep.best && step == best) {
                continue;
            }
            fs::remove_dir_all(old)
                .map_err(|error| fault(old, &error.to_string(), "remove it by hand"))?;
        }
        Ok(())
    }

    /// Holds every file of a checkpoint against the manifest.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] names the file that is missing, changed or unreadable.
    pub fn verify(path: &Path) -> Result<(), TrainError> {
        let manifest: Manifest = read_json(&path.join(MANIFEST))?;
        if !(OLDEST..=VERSION).contains(&manifest.version) {
            let found = format!(
                "format version {} is none of {OLDEST} to {VERSION}",
                manifest.version
            );
            return Err(fault(
                path,
                &found,
                "read it with the release that wrote it",
            ));
        }
        for (name, expected) in &manifest.files {
            let file = path.join(name);
            let found = FileFact::of(&file).map_err(|_| fault(&file, "is missing", OLDER))?;
            if found.size_bytes != expected.size_bytes {
                let sizes = format!(
                    "has {} bytes, the manifest says {}",
                    found.size_bytes, expected.size_bytes
                );
                return Err(fault(&file, &sizes, OLDER));
            }
            if found != *expected {
                return Err(fault(&file, "does not match its checksum", OLDER));
            }
        }
        Ok(())
    }

    /// Verifies and reads a checkpoint.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        Self::verify(path)?;
        let file = SafetensorsFile::open(path.join(STATE))?;
        let mut tensors = BTreeMap::new();
        for name in file.names() {
            let view = file.tensor(name)?;
            let tensor = HostTensor::from_view(&view).ok_or_else(|| {
                let found = format!("tensor `{name}` is {:?}, not F32, BF16 or U8", view.dtype);
                fault(file.path(), &found, OLDER)
            })?;
            tensors.insert(name.to_owned(), tensor);
        }
        let scalars = read_json(&path.join(SCALARS))?;
        Ok(Self {
            path: path.to_owned(),
            state: TrainState { tensors, scalars },
        })
    }
}

impl FileFact {
    fn of(path: &Path) -> Result<Self, TrainError> {
        let size_bytes = fs::metadata(path)
            .map_err(|error| fault(path, &error.to_string(), "check the disk"))?
            .len();
        Ok(Self {
            size_bytes,
            sha256: sha256_file(path)?,
        })
    }
}

/// The checkpoints of a folder, oldest first; unfinished ones have another name and are not seen.
pub fn list_checkpoints(folder: &Path) -> Vec<PathBuf> {
    let mut found = read_dir(folder).unwrap_or_default();
    found.retain(|path| step_of(path).is_some());
    found.sort_by_key(|path| step_of(path));
    found
}

/// The step in a checkpoint's name, `step-NNNNNNNN`.
fn step_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_prefix("step-")?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// The newest whole checkpoint of a folder, and what is wrong with each newer one.
pub fn find_checkpoint(folder: &Path) -> (Option<Checkpoint>, Vec<TrainError>) {
    find_checkpoint_until(folder, u64::MAX)
}

/// [`find_checkpoint`] among those of at most `step` finished steps.
pub fn find_checkpoint_until(folder: &Path, step: u64) -> (Option<Checkpoint>, Vec<TrainError>) {
    let is_early = |path: &&PathBuf| step_of(path).is_none_or(|number| number <= step);
    let mut broken = Vec::new();
    for path in list_checkpoints(folder).iter().rev().filter(is_early) {
        match Checkpoint::open(path) {
            Ok(checkpoint) => return (Some(checkpoint), broken),
            Err(error) => broken.push(error),
        }
    }
    (None, broken)
}

/// Renames the checkpoints behind `newest_whole`, all of them where there is none, to
/// `broken-step-NNNNNNNN`: the run is going to write these steps again.
///
/// # Errors
/// [`TrainError::Checkpoint`] where a folder cannot be renamed.
pub fn set_aside_broken(folder: &Path, newest_whole: Option<&Path>) -> Result<(), TrainError> {
    let newest = newest_whole.and_then(step_of);
    for path in list_checkpoints(folder) {
        if newest.is_some() && step_of(&path) <= newest {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = folder.join(format!("broken-{name}"));
        let renamed = match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => fs::rename(&path, &aside),
        };
        renamed.map_err(|error| fault(&path, &error.to_string(), "move it away by hand"))?;
    }
    Ok(())
}

/// A fault of a checkpoint or of a file in it.
pub(crate) fn fault(path: &Path, fault: &str, remedy: &str) -> TrainError {
    let (fault, remedy) = (fault.to_owned(), remedy.to_owned());
    TrainError::Checkpoint {
        path: path.to_owned(),
        fault,
        remedy,
    }
}

/// Copies a file into a folder under its own name.
pub(crate) fn copy_into(folder: &Path, file: &Path) -> Result<(), TrainError> {
    let bytes = fs::read(file).map_err(|error| fault(file, &error.to_string(), "put it back"))?;
    let target = folder.join(file.file_name().unwrap_or_default());
    Ok(write_file_atomic(target, |out| out.write_all(&bytes))?)
}

fn read_dir(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let entries = fs::read_dir(folder)
        .map_err(|error| fault(folder, &error.to_string(), "check the path"))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), TrainError> {
    let text = serde_json::to_string_pretty(value).expect("maps of numbers and strings print");
    Ok(write_file_atomic(path, |out| {
        out.write_all(text.as_bytes())
    })?)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, TrainError> {
    let text = fs::read_to_string(path).map_err(|e| fault(path, &e.to_string(), OLDER))?;
    serde_json::from_str(&text).map_err(|e| fault(path, &e.to_string(), OLDER))
}
