//! The exit statuses that every program of the project uses.

use std::process::ExitCode;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The work is done.
    Done = 0,
    /// It failed while running.
    Failed = 1,
    /// Options, config or data are unusable: nothing was trained, nothing was overwritten.
    Unusable = 2,
    /// Ended by Ctrl-C, after a checkpoint.
    Interrupted = 130,
    /// Ended by SIGTERM, after a checkpoint.
    Terminated = 143,
}

impl ExitStatus {
    /// The number given to the operating system.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
