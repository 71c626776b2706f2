//! Which files a source consists of, in which order. Reading them belongs to `reader`.

use std::io;
use std::path::{Path, PathBuf};

use crate::DataError;

/// One path of a source with the files that it stands for.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The path as it was given.
    pub(crate) path: PathBuf,
    /// The files to read, in order.
    pub(crate) files: std::vec::IntoIter<PathBuf>,
}

/// Lists the files of each path: itself, or all files below a folder.
pub(crate) fn list(paths: &[PathBuf]) -> Result<Vec<Entry>, DataError> {
    if paths.is_empty() {
        return Err(DataError::NoPaths);
    }
    paths.iter().map(|path| entry(path)).collect()
}

fn entry(path: &Path) -> Result<Entry, DataError> {
    let kind = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DataError::SourceMissing {
            path: path.to_owned(),
        },
        _ => DataError::SourceRead {
            path: path.to_owned(),
            source,
        },
    })?;
    let mut files = Vec::new();
    if kind.is_dir() {
        walk(path, &mut files)?;
    } else if kind.is_file() {
        files.push(path.to_owned());
    } else {
        // A pipe or device cannot be read twice, and the fingerprint has to.
        let source = io::Error::other("neither a file nor a folder");
        return Err(DataError::SourceRead {
            path: path.to_owned(),
            source,
        });
    }
    Ok(Entry {
        path: path.to_owned(),
        files: files.into_iter(),
    })
}

/// Appends the files below `folder`, depth first, sorted by name at each level.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let unreadable = |source| DataError::SourceRead {
        path: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for item in std::fs::read_dir(folder).map_err(unreadable)? {
        let item = item.map_err(unreadable)?;
        if !item.file_name().as_encoded_bytes().starts_with(b".") {
            names.push((item.file_name(), item.file_type().map_err(unreadable)?));
        }
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, kind) in names {
        let path = folder.join(name);
        if kind.is_dir() {
            walk(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        } else if std::fs::metadata(&path).is_err() {
            return Err(DataError::SourceMissing { path });
        }
    }
    Ok(())
}
