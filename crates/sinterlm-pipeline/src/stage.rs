//! How a run ended, and the model that it left.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use sinterlm_formats::sha256_file;
use sinterlm_run::{ExitStatus, StopReason, Summary};

use crate::error::PipelineError;

/// How a pipeline ended.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a pipeline gives one, and a box would stand in the way of matching"
)]
pub enum End {
    /// The run is finished, now or before.
    Done(Stage),
    /// It was stopped; a checkpoint is written, from which it can be resumed.
    Stopped {
        /// Why.
        reason: StopReason,
        /// Steps done.
        steps: u64,
        /// The run directory.
        dir: PathBuf,
    },
    /// A plan or a replay was shown, nothing was trained.
    Shown,
}

impl End {
    /// The status that a program exits with.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Done(_) | Self::Shown => ExitStatus::Done,
            Self::Stopped { reason, .. } => reason.exit_status(),
        }
    }

    /// The finished run.
    pub fn stage(&self) -> Option<&Stage> {
        match self {
            Self::Done(stage) => Some(stage),
            Self::Stopped { .. } | Self::Shown => None,
        }
    }
}

/// A finished run: what the next one builds on.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The run directory.
    pub dir: PathBuf,
    /// Its final model.
    pub model: ModelRef,
    /// Its final figures. Where they were read back from `summary.json`, the last bit of one may differ.
    pub summary: Summary,
}

impl Stage {
    /// The finished run of a directory; none where its summary or its model is not whole.
    pub fn of_run(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join("summary.json")).ok()?;
        Some(Self {
            summary: serde_json::from_str(&text).ok()?,
            model: ModelRef::of(&dir.join("model")).ok()?,
            dir: dir.to_owned(),
        })
    }
}

/// A model folder and the identity of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The folder.
    pub path: PathBuf,
    /// Identity of its files: their names and SHA-256 in hexadecimal, hashed together.
    pub fingerprint: String,
}

impl ModelRef {
    /// Reads every file of a model folder for its fingerprint.
    ///
    /// # Errors
    /// Where the folder or a file of it cannot be read, or there is no file.
    pub fn of(path: &Path) -> Result<Self, PipelineError> {
        let unreadable = |source| PipelineError::File {
            path: path.to_owned(),
            action: "cannot be read",
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.path().is_file() {
                names.push(entry.file_name());
            }
        }
        if names.is_empty() {
            return Err(unreadable(ErrorKind::NotFound.into()));
        }
        names.sort();
        let mut hasher = Sha256::new();
        for name in names {
            let hash = sha256_file(path.join(&name))?;
            hasher.update(format!("{hash} "));
            hasher.update(name.as_encoded_bytes());
            hasher.update("\n");
        }
        Ok(Self {
            path: path.to_owned(),
            fingerprint: hex(&hasher.finalize()),
        })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}
