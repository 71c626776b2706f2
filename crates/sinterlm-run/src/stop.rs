//! Ending a run early without losing work: a flag that Ctrl-C, SIGTERM or a callback raises.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{ExitStatus, RunError};

/// Why a run is to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as a scheduler sends it.
    Terminate,
    /// The program itself asked for it.
    Request,
}

impl StopReason {
    /// The status to exit with after the checkpoint.
    pub fn exit_status(self) -> ExitStatus {
        match self {
            Self::Interrupt => ExitStatus::Interrupted,
            Self::Terminate => ExitStatus::Terminated,
            Self::Request => ExitStatus::Done,
        }
    }

    const fn code(self) -> usize {
        match self {
            Self::Interrupt => 1,
            Self::Terminate => 2,
            Self::Request => 3,
        }
    }
}

/// A flag that all clones share; a run looks at it after each step.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicUsize>);

impl StopFlag {
    /// A flag that only [`request`](Self::request) raises.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that Ctrl-C and SIGTERM raise; a second Ctrl-C ends the process at once with
    /// status 130. Call it once in a program.
    ///
    /// # Errors
    /// [`RunError::Signals`] if the system refuses the handlers.
    pub fn install() -> Result<Self, RunError> {
        let stop = Self::new();
        let interrupted = Arc::new(AtomicBool::new(false));
        // Handlers run in this order: the first Ctrl-C finds `interrupted` unset and sets it.
        let status = i32::from(ExitStatus::Interrupted.code());
        flag::register_conditional_shutdown(SIGINT, status, Arc::clone(&interrupted))
            .and_then(|_| flag::register(SIGINT, interrupted))
            .and_then(|_| {
                flag::register_usize(SIGINT, Arc::clone(&stop.0), StopReason::Interrupt.code())
            })
            .and_then(|_| {
                flag::register_usize(SIGTERM, Arc::clone(&stop.0), StopReason::Terminate.code())
            })
            .map_err(RunError::Signals)?;
        Ok(stop)
    }

    /// Asks the run to end after the step in hand.
    pub fn request(&self, reason: StopReason) {
        self.0.store(reason.code(), Ordering::SeqCst);
    }

    /// Why the run is to end; `None` while it may continue.
    pub fn requested(&self) -> Option<StopReason> {
        let code = self.0.load(Ordering::SeqCst);
        [
            StopReason::Interrupt,
            StopReason::Terminate,
            StopReason::Request,
        ]
        .into_iter()
        .find(|reason| reason.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_all_clones() {
        let stop = StopFlag::new();
        let clone = stop.clone();
        assert_eq!(clone.requested(), None);
        stop.request(StopReason::Request);
        assert_eq!(clone.requested(), Some(StopReason::Request));
    }
}
