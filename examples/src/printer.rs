//! Text on stdout as it comes, by a program that goes on where nobody reads.

use std::io::{self, ErrorKind, StdoutLock, Write};

/// Writes pieces of text and keeps the first fault for the end.
#[derive(Debug)]
pub struct Printer {
    out: StdoutLock<'static>,
    state: io::Result<()>,
}

impl Default for Printer {
    fn default() -> Self {
        Self {
            out: io::stdout().lock(),
            state: Ok(()),
        }
    }
}

impl Printer {
    /// Writes a piece of text at once, unless an earlier one could not be written.
    pub fn print(&mut self, text: &str) {
        if self.state.is_ok() {
            let written = self.out.write_all(text.as_bytes());
            self.state = written.and_then(|()| self.out.flush());
        }
    }

    /// Whether there is a fault by now: nothing more will be written.
    pub fn is_closed(&self) -> bool {
        self.state.is_err()
    }

    /// How it went. A reader who has what it wanted is no fault.
    ///
    /// # Errors
    /// The first fault of a write.
    pub fn finish(self) -> io::Result<()> {
        match self.state {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            state => state,
        }
    }
}
