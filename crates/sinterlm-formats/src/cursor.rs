//! Reading little-endian fields one after the other, never past the end.

use std::path::Path;

use crate::FormatError;

/// A position in the bytes of a file.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// The start of `bytes`; `path` is for messages.
    pub(crate) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self {
            path,
            bytes,
            position: 0,
        }
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], FormatError> {
        if count > self.remaining() as u64 {
            return Err(FormatError::Truncated {
                path: self.path.to_path_buf(),
                found: self.bytes.len() as u64,
                needed: (self.position as u64).saturating_add(count),
            });
        }
        let start = self.position;
        self.position += count as usize;
        Ok(&self.bytes[start..self.position])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("take gives as many as asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The bytes up to the next line feed, which is passed over.
    pub(crate) fn line(&mut self) -> Result<&'a [u8], FormatError> {
        let rest = &self.bytes[self.position..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.unwrap_or(rest.len()) as u64)?;
        self.take(1)?;
        Ok(line)
    }

    /// Refuses a count of items that could not all follow, if each has `least` bytes or more.
    pub(crate) fn check_count(&self, count: u64, least: u64) -> Result<(), FormatError> {
        let needed = (self.position as u64).saturating_add(count.saturating_mul(least));
        if needed > self.bytes.len() as u64 {
            return Err(FormatError::Truncated {
                path: self.path.to_path_buf(),
                found: self.bytes.len() as u64,
                needed,
            });
        }
        Ok(())
    }

    /// A fault at this position.
    pub(crate) fn fault(&self, text: impl std::fmt::Display) -> FormatError {
        FormatError::header(self.path, format!("{text}, at byte {}", self.position))
    }
}
