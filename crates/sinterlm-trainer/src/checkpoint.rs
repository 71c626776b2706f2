//! Checkpoint folders: a model folder, the trainer's state and a manifest, written as one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sinterlm_formats::{
    Dtype, SafetensorsFile, StagedDir, TensorEntry, sha256_file, write_file_atomic,
    write_safetensors,
};
use sinterlm_model::CausalLm;

use crate::error::TrainError;
use crate::objective::Objective;
use crate::state::{HostTensor, TrainState};
use crate::trainer::{Meters, Trainer};

const STATE: &str = "trainer.safetensors";
const SCALARS: &str = "trainer.json";
const MANIFEST: &str = "manifest.json";
/// Raised whenever an older reader could misread a newer checkpoint.
const VERSION: u64 = 1;
/// The remedy for a broken checkpoint.
const OLDER: &str = "use an older checkpoint";

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
    /// Writes `folder/step-NNNNNNNN`: `fill` puts files into the staged folder and gives the
    /// state; the manifest comes last and the whole appears at once or not at all.
    pub(crate) fn write(
        folder: &Path,
        step: u64,
        fill: impl FnOnce(&Path) -> Result<TrainState, TrainError>,
    ) -> Result<PathBuf, TrainError> {
        let path = folder.join(format!("step-{step:08}"));
        let staged = StagedDir::create(&path)?;
        let state = fill(staged.path())?;
        let entries: Vec<TensorEntry<'_>> = state
            .tensors
            .iter()
            .map(|(name, tensor)| TensorEntry {
                name: name.clone(),
                dtype: Dtype::F32,
                shape: tensor.shape.clone(),
                data: Cow::Owned(tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            })
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

    /// Removes all but the newest `keep` checkpoints; 0 keeps all.
    pub(crate) fn keep_last(folder: &Path, keep: usize) -> Result<(), TrainError> {
        let checkpoints = list_checkpoints(folder);
        let surplus = if keep == 0 {
            0
        } else {
            checkpoints.len().saturating_sub(keep)
        };
        for old in &checkpoints[..surplus] {
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
        if manifest.version != VERSION {
            let found = format!("format version {} is not {VERSION}", manifest.version);
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
            let name = name.to_string();
            let shape = file.tensor(&name)?.shape.clone();
            let values = file.to_f32(&name)?;
            tensors.insert(name, HostTensor { shape, values });
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
    found.retain(|path| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.strip_prefix("step-")
                .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        })
    });
    found.sort();
    found
}

/// The newest whole checkpoint of a folder, and what is wrong with each newer one.
pub fn find_checkpoint(folder: &Path) -> (Option<Checkpoint>, Vec<TrainError>) {
    find_checkpoint_until(folder, u64::MAX)
}

/// [`find_checkpoint`] among those of at most `step` finished steps.
pub fn find_checkpoint_until(folder: &Path, step: u64) -> (Option<Checkpoint>, Vec<TrainError>) {
    let is_early = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name
            .rsplit('-')
            .next()
            .and_then(|number| number.parse().ok());
        number.is_none_or(|number: u64| number <= step)
    };
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
    for path in list_checkpoints(folder) {
        if newest_whole.is_some_and(|whole| path.as_path() <= whole) {
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

impl<M: CausalLm, O: Objective<M>> Trainer<M, O> {
    /// Everything but the model's weights.
    pub(crate) fn state(&self) -> TrainState {
        let mut state = TrainState::default();
        state.put_section("optimizer", self.optimizer.save());
        if let Some(ema) = &self.ema {
            state.put_section("ema", ema.save());
        }
        let Meters {
            steps,
            tokens,
            seconds,
            best_loss,
            since_best,
        } = &self.meters;
        let scalars = [
            ("step", Value::from(*steps)),
            ("tokens", Value::from(*tokens)),
            ("seconds", Value::from(*seconds)),
            ("since_best", Value::from(*since_best)),
            ("best_loss", best_loss.map_or(Value::Null, Value::from)),
            ("seed", Value::from(self.seed.0)),
        ];
        state
            .scalars
            .extend(scalars.map(|(key, value)| (key.to_owned(), value)));
        self.guard.save(&mut state);
        self.objective.save(&mut state);
        state
    }

    /// Goes on from a checkpoint whose weights the model was made of.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] where the state is of another run: another seed, or optimizer
    /// state that the optimizer in force would not have made.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let Checkpoint { path, mut state } = checkpoint;
        if state.number("seed") != self.seed.0 {
            let found = format!(
                "has seed {}, the run has {}",
                state.number("seed"),
                self.seed.0
            );
            return Err(fault(&path, &found, "use the run's own config"));
        }
        let optimizer = state.take_section("optimizer");
        let ema = state.take_section("ema");
        self.guard.load(&state);
        // Skipped steps have no average yet.
        let has_updates = state.number("step") > self.guard.skipped;
        if self.ema.is_some() == ema.is_empty() && has_updates {
            let remedy = "keep trainer.ema_decay as it was";
            return Err(fault(
                &path,
                "was written with another trainer.ema_decay",
                remedy,
            ));
        }
        let plain = self.device.clone().without_autodiff();
        self.optimizer.load(optimizer, &plain);
        if let Some(own) = &mut self.ema {
            own.load(ema, &plain);
        }
        let float = |key: &str| state.scalars.get(key).and_then(Value::as_f64);
        self.meters = Meters {
            steps: state.number("step"),
            tokens: float("tokens").unwrap_or(0.0),
            seconds: float("seconds").unwrap_or(0.0),
            best_loss: float("best_loss"),
            since_best: state.number("since_best"),
        };
        self.saved_at = Some(self.meters.steps);
        self.objective.load(&state)
    }
}

fn fault(path: &Path, fault: &str, remedy: &str) -> TrainError {
    let (fault, remedy) = (fault.to_owned(), remedy.to_owned());
    TrainError::Checkpoint {
        path: path.to_owned(),
        fault,
        remedy,
    }
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
