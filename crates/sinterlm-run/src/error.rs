//! The crate's one error, and the exit status that each fault leads to.

use std::{
    io,
    path::{Path, PathBuf},
};

use sinterlm_formats::FormatError;

use crate::{ExitStatus, shell::shell_path};

/// What can go wrong around a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The operating system refused a file operation; `action` says which, as in "cannot write".
    #[error("{path}: cannot {action}; check that the path exists and may be used", path = .path.display())]
    Io {
        /// The file or folder worked on.
        path: PathBuf,
        /// What was tried, as a verb: "open", "write".
        action: &'static str,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk or the user's quota is full.
    #[error("{path}: no space left on the disk; free space or choose another --out", path = .path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The path cannot become or be used as a run directory.
    #[error("{path}: cannot be used as a run directory; choose another --out", path = .path.display())]
    UnusableDir {
        /// The path given.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The folder for a new run holds a run already.
    #[error(
        "{path}: already holds a run, nothing was changed; \
         go on with it by --resume {word} or start a new one in another --out",
        path = .path.display(), word = shell_path(path)
    )]
    HoldsRun {
        /// The folder given.
        path: PathBuf,
    },
    /// Another process works in the run directory.
    #[error(
        "{path}: in use by {holder}; wait until it ends or choose another --out",
        path = .path.display()
    )]
    Locked {
        /// The run directory.
        path: PathBuf,
        /// "process 123", or "another process" where its id cannot be read.
        holder: String,
    },
    /// The folder to resume holds no run.
    #[error(
        "{path}: holds no run (there is no config.toml in it); \
         give --resume the --out of an earlier run",
        path = .path.display()
    )]
    NotARun {
        /// The folder given.
        path: PathBuf,
    },
    /// The handlers for Ctrl-C and SIGTERM could not be set.
    #[error("cannot set the handlers for Ctrl-C and SIGTERM; run without StopFlag::install")]
    Signals(#[source] io::Error),
    /// A picture could not be drawn.
    #[error("{path}: cannot draw the plot ({fault}); run without the plot", path = .path.display())]
    Plot {
        /// The picture.
        path: PathBuf,
        /// What the drawing library found.
        fault: String,
    },
    /// A file could not be written whole, for a reason that has no variant here.
    #[error(transparent)]
    Format(FormatError),
    /// A user's observer ended the run.
    #[error("an observer ended the run: {0}")]
    Observer(String),
}

impl RunError {
    /// The status that a program ending by this error exits with.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::UnusableDir { .. }
            | Self::HoldsRun { .. }
            | Self::Locked { .. }
            | Self::NotARun { .. } => ExitStatus::Unusable,
            _ => ExitStatus::Failed,
        }
    }

    /// The error for a failed `action` on `path`; a full disk gets its own variant.
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io {
                path,
                action,
                source,
            },
        }
    }
}

impl From<FormatError> for RunError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Io {
                path,
                action,
                source,
            } => Self::Io {
                path,
                action,
                source,
            },
            FormatError::DiskFull { path, source } => Self::DiskFull { path, source },
            other => Self::Format(other),
        }
    }
}
