//! Folders that appear whole or not at all: checkpoints, model folders.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use crate::{
    FormatError,
    atomic::{STAGING_PREFIX, create_dir_synced, parent_of, staging_path, sync_dir},
};

/// A folder that is filled beside its final path and moved there in one step.
///
/// Dropped without [`commit`](Self::commit), it is removed. A killed process leaves a folder named
/// `.staging-<pid>-<n>-<name>`, never one at the final path; [`remove_stale_staging`] finds it.
#[derive(Debug)]
pub struct StagedDir {
    final_path: PathBuf,
    staged: PathBuf,
    // Held while the folder is being filled: shows a sweep that this process lives.
    lock: Option<File>,
    committed: bool,
}

impl StagedDir {
    /// Makes the staging folder beside `final_path`, and the folders above it.
    ///
    /// # Errors
    /// [`FormatError::AlreadyExists`] if `final_path` is taken, [`FormatError::Io`] or
    /// [`FormatError::DiskFull`] if a folder cannot be made, [`FormatError::NoFileName`] if the
    /// path ends in no name.
    pub fn create(final_path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let final_path = final_path.as_ref().to_path_buf();
        refuse_taken(&final_path)?;
        let parent = parent_of(&final_path);
        create_dir_synced(parent).map_err(|e| FormatError::io(parent, "create", e))?;
        let staged = staging_path(&final_path, |path| fs::create_dir(path))?;
        // Where folders cannot be locked the sweep leaves this one alone, which only costs space.
        let lock = File::open(&staged)
            .ok()
            .filter(|dir| dir.try_lock().is_ok());
        Ok(Self {
            final_path,
            staged,
            lock,
            committed: false,
        })
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.staged
    }

    /// Flushes every file and folder to the disk and moves the folder to its final path.
    ///
    /// # Errors
    /// [`FormatError::AlreadyExists`] if the final path was taken meanwhile, otherwise
    /// [`FormatError::Io`] or [`FormatError::DiskFull`]; the staged folder is then removed.
    pub fn commit(mut self) -> Result<(), FormatError> {
        sync_tree(&self.staged)?;
        refuse_taken(&self.final_path)?;
        fs::rename(&self.staged, &self.final_path)
            .map_err(|e| FormatError::io(&self.final_path, "move the finished folder to", e))?;
        self.committed = true;
        let parent = parent_of(&self.final_path);
        sync_dir(parent).map_err(|e| FormatError::io(parent, "flush", e))
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if !self.committed {
            // `drop` cannot report an error; a sweep finds what is left.
            let _ = fs::remove_dir_all(&self.staged);
        }
        drop(self.lock.take());
    }
}

/// Removes the unfinished files and folders that dead processes left in `parent`.
///
/// Returns how many were removed. Those of a living process are locked and stay, as do those on
/// file systems without locks. A `parent` that does not exist holds none.
///
/// # Errors
/// [`FormatError::Io`] if the folder cannot be listed or a leftover not removed.
pub fn remove_stale_staging(parent: impl AsRef<Path>) -> Result<usize, FormatError> {
    let parent = parent.as_ref();
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(FormatError::io(parent, "list", e)),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(|e| FormatError::io(parent, "list", e))?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(STAGING_PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        let Some(_held) = File::open(&path)
            .ok()
            .filter(|file| file.try_lock().is_ok())
        else {
            continue;
        };
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        }
        .map_err(|e| FormatError::io(&path, "remove", e))?;
        removed += 1;
    }
    Ok(removed)
}

fn refuse_taken(path: &Path) -> Result<(), FormatError> {
    match path.symlink_metadata() {
        Ok(_) => Err(FormatError::AlreadyExists {
            path: path.to_path_buf(),
        }),
        Err(_) => Ok(()),
    }
}

/// Flushes all files below `dir`, then the folders from the inside out.
fn sync_tree(dir: &Path) -> Result<(), FormatError> {
    for entry in fs::read_dir(dir).map_err(|e| FormatError::io(dir, "list", e))? {
        let entry = entry.map_err(|e| FormatError::io(dir, "list", e))?;
        let path = entry.path();
        let kind = entry
            .file_type()
            .map_err(|e| FormatError::io(&path, "read", e))?;
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            // Windows flushes only through a handle that may write.
            OpenOptions::new()
                .read(true)
                .write(cfg!(windows))
                .open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|e| FormatError::io(&path, "flush", e))?;
        }
    }
    sync_dir(dir).map_err(|e| FormatError::io(dir, "flush", e))
}
