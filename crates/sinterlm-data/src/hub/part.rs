//! The bytes of an unfinished download on disk, and their hash. `transfer` brings them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::announced::Announced;
use crate::DataError;
use crate::source::hex;

/// Size of the buffer for reading from a file or from the network.
pub(super) const BUFFER_BYTES: usize = 128 << 10;

/// The bytes of a download so far, in a file beside the blob that they will become.
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// Locked, so that two processes never write the same bytes.
    pub(super) file: File,
    pub(super) len: u64,
    /// The largest `len` so far: a restart brings new bytes only beyond it.
    pub(super) longest: u64,
    pub(super) hash: Hash,
    size_bytes: u64,
    etag: String,
}

impl Part {
    /// Opens `BLOB.incomplete` (Python's name for it), waiting for any other process to finish,
    /// and hashes the bytes that an earlier attempt left.
    pub(super) fn open(blob: &Path, announced: &Announced) -> Result<Self, DataError> {
        let mut path = blob.as_os_str().to_owned();
        path.push(".incomplete");
        let path = PathBuf::from(path);
        let failed = |source| DataError::Io {
            path: path.clone(),
            action: "write",
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        if file.try_lock().is_err() {
            tracing::info!(path = %path.display(), "another process is downloading this, waiting");
            file.lock().map_err(failed)?;
        }
        let mut hash = Hash::new(&announced.etag, announced.size_bytes);
        let mut len = 0;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            len += count as u64;
        }
        let (size_bytes, etag) = (announced.size_bytes, announced.etag.clone());
        let mut part = Self {
            path,
            file,
            len,
            longest: len,
            hash,
            size_bytes,
            etag,
        };
        if len > size_bytes {
            part.restart()?;
            part.longest = 0;
        }
        Ok(part)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file
            .write_all(bytes)
            .map_err(|source| self.failure(source))?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        self.longest = self.longest.max(self.len);
        Ok(())
    }

    pub(super) fn restart(&mut self) -> Result<(), DataError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|source| self.failure(source))?;
        self.hash = Hash::new(&self.etag, self.size_bytes);
        self.len = 0;
        Ok(())
    }

    pub(super) fn discard(&self) -> Result<(), DataError> {
        std::fs::remove_file(&self.path).map_err(|source| self.failure(source))
    }

    fn failure(&self, source: io::Error) -> DataError {
        DataError::Io {
            path: self.path.clone(),
            action: "write",
            source,
        }
    }
}

/// The hash that an etag of the Hub states.
pub(super) enum Hash {
    /// Of large files.
    Sha256(Sha256),
    /// Git's hash of small files: SHA-1 of `blob SIZE`, a zero byte and the content.
    GitBlob(sha1_smol::Sha1),
}

impl Hash {
    fn new(etag: &str, size_bytes: u64) -> Self {
        if etag.len() == 64 {
            Self::Sha256(Sha256::new())
        } else {
            Self::GitBlob(sha1_smol::Sha1::from(format!("blob {size_bytes}\0")))
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitBlob(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(&self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.clone().finalize()),
            Self::GitBlob(hash) => hash.digest().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_hash_as_git_blobs() {
        // `printf 'hello\n' | git hash-object --stdin`
        let etag = "ce013625030ba8dba906f756967f9e9ca394464a";
        let mut hash = Hash::new(etag, 6);
        hash.update(b"hello\n");
        assert_eq!(hash.finish(), etag);
    }
}
