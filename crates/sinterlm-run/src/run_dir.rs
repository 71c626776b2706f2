//! The run directory: its layout, its lock, and the refusal to overwrite a run.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
};

use sinterlm_formats::{create_dir_synced, write_file_atomic};

use crate::{RunError, utc::utc_now_compact};

/// Names whose presence means that the folder holds a run.
const RUN_NAMES: [&str; 7] = [
    "config.toml",
    "run.json",
    "metrics.jsonl",
    "summary.json",
    "tokenizer.json",
    "checkpoints",
    "model",
];

/// A run directory that this process alone works in, until the value is dropped.
///
/// The operating system holds the lock, on the file `.lock`, and releases it when the process ends,
/// in whichever way.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    // Holds the lock for as long as it is open.
    _lock: File,
}

impl RunDir {
    /// Makes the folder for a new run, with those above it, and locks it.
    ///
    /// A folder that exists may be used if nothing of a run is in it.
    ///
    /// # Errors
    /// [`RunError::HoldsRun`] if it holds a run (nothing is changed then), [`RunError::Locked`]
    /// if another process works there, [`RunError::UnusableDir`] if it cannot be made or written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, RunError> {
        let path = path.as_ref().to_path_buf();
        refuse_run(&path)?;
        create_dir_synced(&path).map_err(|e| unusable(&path, e))?;
        let lock = lock(&path)?;
        refuse_run(&path)?; // again: another process may have run here in the meantime
        Ok(Self { path, _lock: lock })
    }

    /// Locks the folder of an earlier run to resume it.
    ///
    /// # Errors
    /// [`RunError::NotARun`] if there is no `config.toml` in it, [`RunError::Locked`] if another
    /// process works there, [`RunError::UnusableDir`] if it cannot be written.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, RunError> {
        let path = path.as_ref().to_path_buf();
        if !path.join("config.toml").is_file() {
            return Err(RunError::NotARun { path });
        }
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the config in force.
    pub fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `run.json`: see [`Provenance`](crate::Provenance).
    pub fn provenance_path(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// `metrics.jsonl`: see [`MetricsFile`](crate::MetricsFile).
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `summary.json`: see [`Summary`](crate::Summary).
    pub fn summary_path(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// `samples.md`: see [`SampleFile`](crate::SampleFile).
    pub fn samples_path(&self) -> PathBuf {
        self.path.join("samples.md")
    }

    /// `loss.png`: the plot of the losses.
    pub fn loss_plot_path(&self) -> PathBuf {
        self.path.join("loss.png")
    }

    /// `post-mortem.json`: see [`PostMortem`](crate::PostMortem).
    pub fn post_mortem_path(&self) -> PathBuf {
        self.path.join("post-mortem.json")
    }

    /// `tensorboard/`: event files for TensorBoard.
    pub fn tensorboard_dir(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// `tokenizer.json`: the tokenizer used.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.path.join("tokenizer.json")
    }

    /// `checkpoints/`: one folder a checkpoint.
    pub fn checkpoints_dir(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `model/`: the final weights.
    pub fn model_dir(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The folder of the run at `path` that holds its weights: the final `model/`, or else the
    /// newest checkpoint; none where there is neither. Takes no lock, so the run may be at work.
    pub fn weights_in(path: impl AsRef<Path>) -> Option<PathBuf> {
        let path = path.as_ref();
        let mut folders: Vec<PathBuf> = fs::read_dir(path.join("checkpoints"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        // Unfinished and broken checkpoints have other names.
        folders.retain(|folder| {
            let name = folder.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with("step-")
        });
        folders.sort();
        folders.push(path.join("model"));
        let holds_model = |folder: &PathBuf| folder.join("config.json").is_file();
        folders.into_iter().rev().find(holds_model)
    }

    /// Writes `config.toml` in one step; in a new run, before anything else.
    ///
    /// # Errors
    /// [`RunError::Io`] or [`RunError::DiskFull`].
    pub fn write_config(&self, text: &str) -> Result<(), RunError> {
        Ok(write_file_atomic(self.config_path(), |out| {
            out.write_all(text.as_bytes())
        })?)
    }
}

/// The default directory of a run of the example `name`: `runs/NAME-<UTC time>`, with a number
/// behind it if that is taken.
pub fn default_out(name: &str) -> PathBuf {
    let base = format!("{name}-{}", utc_now_compact());
    let runs = Path::new("runs");
    let numbered = (2..).map(|n| runs.join(format!("{base}-{n}")));
    std::iter::once(runs.join(&base))
        .chain(numbered)
        .find(|path| !path.exists())
        .expect("numbers do not end")
}

fn refuse_run(path: &Path) -> Result<(), RunError> {
    if RUN_NAMES.iter().any(|name| path.join(name).exists()) {
        return Err(RunError::HoldsRun {
            path: path.to_path_buf(),
        });
    }
    Ok(())
}

fn unusable(path: &Path, source: io::Error) -> RunError {
    RunError::UnusableDir {
        path: path.to_path_buf(),
        source,
    }
}

/// Takes the folder's lock and writes this process's id into the file for others' messages.
fn lock(path: &Path) -> Result<File, RunError> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false) // it may hold the id of a living process
        .read(true)
        .write(true)
        .open(path.join(".lock"))
        .map_err(|e| unusable(path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut id = String::new();
            let _ = file.read_to_string(&mut id);
            let holder = match id.trim().parse::<u32>() {
                Ok(id) => format!("process {id}"),
                Err(_) => "another process".to_owned(),
            };
            return Err(RunError::Locked {
                path: path.to_path_buf(),
                holder,
            });
        }
        Err(TryLockError::Error(e)) => tracing::warn!(
            "{}: this file system cannot lock ({e}); let no second process use the folder",
            path.display()
        ),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", process::id()))
        .map_err(|e| unusable(path, e))?;
    Ok(file)
}
