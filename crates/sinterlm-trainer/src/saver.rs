//! Writing beside training: one checkpoint at a time, on a thread of its own.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use crate::error::TrainError;

/// A checkpoint that is whole on the disk.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) step: u64,
    pub(crate) path: PathBuf,
}

/// The checkpoint that is being written, if any. Dropped, it waits for that one.
#[derive(Debug, Default)]
pub(crate) struct Saver(Option<JoinHandle<Result<Saved, TrainError>>>);

impl Saver {
    /// Starts to write; the one before must be over.
    pub(crate) fn start(
        &mut self,
        write: impl FnOnce() -> Result<Saved, TrainError> + Send + 'static,
    ) -> Result<(), TrainError> {
        debug_assert!(self.0.is_none(), "Saver::start: wait for the one before");
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        self.0 = Some(thread.spawn(write).map_err(TrainError::Thread)?);
        Ok(())
    }

    /// Whether there is an end to be told by [`wait`](Self::wait), at once.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits for the one that is being written and gives it; none where there is none.
    pub(crate) fn wait(&mut self) -> Result<Option<Saved>, TrainError> {
        let Some(thread) = self.0.take() else {
            return Ok(None);
        };
        match thread.join() {
            Ok(saved) => saved.map(Some),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Saver {
    /// The fault that ended the run is the one to report, so that this one is only logged.
    fn drop(&mut self) {
        if let Some(Ok(Err(error))) = self.0.take().map(JoinHandle::join) {
            tracing::warn!(%error, "the checkpoint in hand was not written");
        }
    }
}
