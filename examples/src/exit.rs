//! How a program ends: the exit statuses of the contract, with one message on stderr.

use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use sinterlm::kernels::run_on_pool;
use sinterlm::pipeline::PipelineError;
use sinterlm::run::ExitStatus;

/// Why a program could not do its work.
#[derive(Debug)]
pub struct Failure {
    status: ExitStatus,
    error: anyhow::Error,
}

impl Display for Failure {
    /// The error with its causes.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Marks an error with the status that it ends the program with.
pub trait OrFailure<T> {
    /// Options, config or data are unusable: nothing was trained, nothing was overwritten.
    fn or_unusable(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFailure<T> for Result<T, E> {
    fn or_unusable(self) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            status: ExitStatus::Unusable,
            error: error.into(),
        })
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    /// A pipeline's error brings its own status, any other is a failure while running.
    fn from(error: E) -> Self {
        let error = error.into();
        let status = error
            .downcast_ref()
            .map_or(ExitStatus::Failed, PipelineError::exit_status);
        Self { status, error }
    }
}

/// Runs a program's body on `--threads`, prints what went wrong with its causes, and gives the exit
/// status.
pub fn main_with(
    threads: Option<NonZeroUsize>,
    body: impl FnOnce() -> Result<ExitStatus, Failure> + Send,
) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run_on_pool(threads, body) {
        Ok(status) => status.into(),
        Err(failure) => {
            // Nobody may be reading: no reason for another exit status.
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            failure.status.into()
        }
    }
}

/// Writes a line to stdout. A run is not to end because nobody reads its results any more.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
