//! Ending a run early without losing work: a flag that Ctrl-C, SIGTERM or a callback raises.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag, low_level,
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
    /// How many have begun something that is to be undone.
    undoing: Arc<AtomicUsize>,
    /// Whether there is neither, for the signal handlers.
    is_idle: Arc<AtomicBool>,
    /// Whether signals raise the flag.
    is_installed: bool,
}

/// How long a signal waits for what is undone before the process ends.
const POLL: Duration = Duration::from_millis(20);

/// A run that has work to save; see [`StopFlag::hold`].
#[derive(Debug)]
#[must_use = "dropped, it lets signals end the process at once"]
pub struct Held(StopFlag);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
        self.0.settle();
    }
}

/// Something that a signal undoes before it ends the process; see [`StopFlag::undo_if_stopped`].
#[derive(Debug)]
#[must_use = "dropped, it lets what was begun stand"]
pub struct Undoing {
    flag: StopFlag,
    is_over: Arc<Mutex<bool>>,
}

impl Drop for Undoing {
    fn drop(&mut self) {
        // A signal that came is heeded: the watch is about to end the process.
        while self.flag.ends_at_once().is_some() {
            thread::sleep(POLL);
        }
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.flag.undoing.fetch_sub(1, Ordering::SeqCst);
        self.flag.settle();
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
        let stop = Self {
            is_installed: true,
            ..Self::default()
        };
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
        self.settle();
        Held(self.clone())
    }

    /// Has `undo` called if a signal ends the process before the result is dropped and while no run
    /// [holds](Self::hold) the flag: what was begun is to leave nothing behind. The process then ends with
    /// the signal's status. A flag that is not [installed](Self::install) calls nothing.
    pub fn undo_if_stopped(&self, undo: impl FnOnce() + Send + 'static) -> Undoing {
        self.undoing.fetch_add(1, Ordering::SeqCst);
        self.settle();
        let is_over = Arc::new(Mutex::new(false));
        let (flag, over) = (self.clone(), Arc::clone(&is_over));
        let watch = move || {
            loop {
                thread::sleep(POLL);
                let over = over.lock().unwrap_or_else(PoisonError::into_inner);
                if *over {
                    return;
                }
                if let Some(reason) = flag.ends_at_once() {
                    undo();
                    low_level::exit(reason.exit_status().code().into());
                }
            }
        };
        if self.is_installed {
            thread::spawn(watch);
        }
        Undoing {
            flag: self.clone(),
            is_over,
        }
    }

    /// The signal that came, where no run has work to save.
    fn ends_at_once(&self) -> Option<StopReason> {
        let reason = self.requested()?;
        let is_signal = self.is_installed && reason != StopReason::Request;
        (is_signal && self.held.load(Ordering::SeqCst) == 0).then_some(reason)
    }

    /// Tells the handlers whether signals end the process by themselves.
    fn settle(&self) {
        let has = |count: &AtomicUsize| count.load(Ordering::SeqCst) > 0;
        let is_idle = !has(&self.held) && !has(&self.undoing);
        self.is_idle.store(is_idle, Ordering::SeqCst);
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
