//! Files that appear whole or not at all, and the names and locks of what is not whole yet.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::FormatError;

/// What the names of all unfinished files and folders begin with.
pub(crate) const STAGING_PREFIX: &str = ".staging-";

/// Writes a file so that `path` holds either what it held before or the whole new content.
///
/// `write` fills a buffered sibling file, which is flushed to the disk and renamed; then the
/// folder is flushed. On an error the sibling is removed; what a killed process leaves is found by
/// [`remove_stale_staging`](crate::remove_stale_staging).
///
/// # Errors
/// [`FormatError::DiskFull`] on a full disk, [`FormatError::Io`] for every other refusal, also of
/// `write` itself, [`FormatError::NoFileName`] if `path` names no file.
pub fn write_file_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FormatError> {
    let path = path.as_ref();
    let fault = |e| FormatError::io(path, "write", e);
    let mut created = None;
    let temp = staging_path(path, |candidate| {
        created = Some(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(candidate)?,
        );
        Ok(())
    })?;
    let file = created.expect("staging_path returns only after a successful creation");
    // The lock shows a sweep that this process lives. File systems without locks do without.
    let _ = file.try_lock();
    let guard = RemoveOnDrop(Some(temp.clone()));
    let mut buffered = BufWriter::with_capacity(1 << 18, file);
    write(&mut buffered).map_err(fault)?;
    let file = buffered.into_inner().map_err(|e| fault(e.into_error()))?;
    file.sync_all().map_err(fault)?;
    fs::rename(&temp, path).map_err(fault)?;
    guard.disarm();
    sync_dir(parent_of(path)).map_err(fault)
}

/// Creates something under a fresh staging name beside `path` and returns that name.
pub(crate) fn staging_path(
    path: &Path,
    mut create: impl FnMut(&Path) -> io::Result<()>,
) -> Result<PathBuf, FormatError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(FormatError::NoFileName {
            path: path.to_path_buf(),
        });
    };
    loop {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut staged = std::ffi::OsString::from(STAGING_PREFIX);
        staged.push(format!("{}-{count}-", process::id()));
        staged.push(name);
        let candidate = parent_of(path).join(staged);
        match create(&candidate) {
            Ok(()) => return Ok(candidate),
            // A dead process had the same id, as is common in containers: take the next number.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(FormatError::io(path, "create", e)),
        }
    }
}

/// The folder that holds `path`; a bare name lies in the working directory.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Flushes a folder's entries, so that a rename survives a power cut.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(()) // elsewhere folders cannot be opened as files, and renames are journalled
    }
}

/// Makes a folder and those above it, and flushes the folder that each new one lies in: what is
/// written below would be lost with it in a power cut.
///
/// # Errors
/// The operating system's; a file that is in the way is one.
pub fn create_dir_synced(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    if parent != path {
        create_dir_synced(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_dir(parent),
    }
}

/// Removes a file when dropped, unless disarmed.
struct RemoveOnDrop(Option<PathBuf>);

impl RemoveOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // An error here would hide the one that is being returned.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        fs::read_dir(dir).unwrap().map(name).collect()
    }

    #[test]
    fn replaces_the_old_content_and_leaves_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for text in ["old", "new"] {
            write_file_atomic(&path, |out| out.write_all(text.as_bytes())).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn keeps_the_old_content_when_writing_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        let result = write_file_atomic(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::Error::other("the writer gave up"))
        });
        assert!(matches!(
            result,
            Err(FormatError::Io {
                action: "write",
                ..
            })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn a_full_disk_names_the_file_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let error = write_file_atomic(&path, |_| Err(io::ErrorKind::StorageFull.into()))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            format!(
                "{}: no space left on the disk; free space or choose another --out",
                path.display()
            )
        );
    }

    #[test]
    fn refuses_a_path_without_a_file_name() {
        let result = write_file_atomic("/", |_| Ok(()));
        assert!(matches!(result, Err(FormatError::NoFileName { .. })));
    }
}
