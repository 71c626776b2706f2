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
pub struct StopFlag {
    reason: Arc<AtomicUsize>,
    /// How many runs have work that would be lost.
    held: Arc<AtomicUsize>,
    /// Whether there is none, for the signal handlers.
    is_idle: Arc<AtomicBool>,
}

/// A run that has work to save; see [`StopFlag::hold`].
#[derive(Debug)]
#[must_use = "dropped, it lets signals end the process at once"]
pub struct Held(StopFlag);

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.held.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.is_idle.store(true, Ordering::SeqCst);
        }
    }
}

impl StopFlag {
    /// A flag that only [`request`](Self::request) raises.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that Ctrl-C and SIGTERM raise while a run [holds](Self::hold) it. Before that, while text is
    /// prepared or a model is read, there is nothing to save: they end the process at once with status
    /// 130 or 143, as a second Ctrl-C always does. Call it once in a program.
    ///
    /// # Errors
    /// [`RunError::Signals`] if the system refuses the handlers.
    pub fn install() -> Result<Self, RunError> {
        let stop = Self::new();
        stop.is_idle.store(true, Ordering::SeqCst);
        let interrupted = Arc::new(AtomicBool::new(false));
        // Handlers run in this order: the first Ctrl-C finds `interrupted` unset and sets it.
        let ends_if = |signal, status: ExitStatus, condition: &Arc<AtomicBool>| {
            let status = i32::from(status.code());
            flag::register_conditional_shutdown(signal, status, Arc::clone(condition))
        };
        let raises = |signal, reason: StopReason| {
            flag::register_usize(signal, Arc::clone(&stop.reason), reason.code())
        };
        ends_if(SIGINT, ExitStatus::Interrupted, &stop.is_idle)
            .and_then(|_| ends_if(SIGTERM, ExitStatus::Terminated, &stop.is_idle))
            .and_then(|_| ends_if(SIGINT, ExitStatus::Interrupted, &interrupted))
            .and_then(|_| flag::register(SIGINT, Arc::clone(&interrupted)))
            .and_then(|_| raises(SIGINT, StopReason::Interrupt))
            .and_then(|_| raises(SIGTERM, StopReason::Terminate))
            .map_err(RunError::Signals)?;
        Ok(stop)
    }

    /// Says that there is work to save from now on, until the result is dropped: signals raise the flag
    /// and no longer end the process.
    pub fn hold(&self) -> Held {
        self.held.fetch_add(1, Ordering::SeqCst);
        self.is_idle.store(false, Ordering::SeqCst);
        Held(self.clone())
    }

    /// Asks the run to end after the step in hand.
    pub fn request(&self, reason: StopReason) {
        self.reason.store(reason.code(), Ordering::SeqCst);
    }

    /// Why the run is to end; `None` while it may continue.
    pub fn requested(&self) -> Option<StopReason> {
        let code = self.reason.load(Ordering::SeqCst);
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
