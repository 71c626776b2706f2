//! What ends a template.

/// What is wrong in a template, or what it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line, from 1; 0 where it is not known yet.
    pub(crate) line: u32,
    pub(crate) text: String,
}

impl Fault {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::at(0, text)
    }

    pub(super) fn at(line: u32, text: impl Into<String>) -> Self {
        Self {
            line,
            text: text.into(),
        }
    }

    pub(super) fn in_line(mut self, line: u32) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}
