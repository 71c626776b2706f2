//! The one memory map of the project, and its only `unsafe` outside `kernels`.

use std::{
    fmt,
    fs::File,
    ops::{Deref, Range},
    path::Path,
    sync::Arc,
};

use memmap2::Mmap;

use crate::{FormatError, lfs::refuse_lfs_pointer};

/// A whole file mapped read-only into memory; dereferences to its bytes.
///
/// It is `Send + Sync`: put it into an [`Arc`](std::sync::Arc) to share it, as tensors without a
/// copy do. Replacing the file by rename, as [`write_file_atomic`](crate::write_file_atomic) does,
/// leaves the mapped bytes as they were. Another program that shortens the file in place ends this
/// process with `SIGBUS`, as with every memory map.
pub struct MappedFile {
    content: Content,
}

enum Content {
    Mapped(Mmap),
    Memory(Vec<u8>),
}

impl MappedFile {
    /// Maps the file at `path`. An empty file gives an empty slice.
    ///
    /// # Errors
    /// [`FormatError::Io`] if it cannot be opened or mapped, or is a folder;
    /// [`FormatError::LfsPointer`] for what Git LFS leaves in place of a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
        let size = file
            .metadata()
            .map_err(|e| FormatError::io(path, "read", e))?
            .len();
        if size == 0 {
            return Ok(Vec::new().into()); // a map of zero bytes is an error on some systems
        }
        // SAFETY: the map is read-only and private to this value. Its bytes are read as `[u8]`,
        // for which every bit pattern is valid. No writer of this project changes a file in place:
        // all go through a sibling file and a rename, which leaves the mapped inode untouched.
        // What other programs do to the file is the documented risk of the type.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) };
        let map = map.map_err(|e| FormatError::io(path, "map", e))?;
        refuse_lfs_pointer(path, &map)?;
        Ok(Self {
            content: Content::Mapped(map),
        })
    }
}

impl From<Vec<u8>> for MappedFile {
    /// A file that lies in memory already, as one that was received or built.
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            content: Content::Memory(bytes),
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map) => map,
            Content::Memory(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("size_bytes", &self.len())
            .finish()
    }
}

/// Some bytes of a [`MappedFile`], which they keep alive; cloning copies nothing.
///
/// It owns what it refers to, so it may become the storage of a tensor.
#[derive(Clone)]
pub struct MappedBytes {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl MappedBytes {
    /// The bytes `range` of `file`, `None` where the file has not all of them.
    pub fn new(file: Arc<MappedFile>, range: Range<usize>) -> Option<Self> {
        file.get(range.clone())?;
        Some(Self { file, range })
    }
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for MappedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedBytes")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_an_empty_file_to_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty");
        File::create(&path).unwrap();
        assert!(MappedFile::open(&path).unwrap().is_empty());
    }

    #[test]
    fn keeps_its_bytes_when_the_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let map = MappedFile::open(&path).unwrap();
        crate::write_file_atomic(&path, |out| out.write_all(b"after")).unwrap();
        assert_eq!(&*map, b"before");
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
    }

    #[test]
    fn refuses_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            MappedFile::open(dir.path()),
            Err(FormatError::Io { .. })
        ));
    }
}
