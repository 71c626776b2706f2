//! Small files that appear whole or not at all; large ones belong to `formats`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use crate::RunError;

/// Replaces the file at `path` by `bytes` in one step.
///
/// The sibling's name is fixed: only the holder of the run's lock writes here.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let temp = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = File::create(&temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temp, path)?;
        // The folder, and the one above it, in which a new run's folder lies. Elsewhere folders
        // cannot be opened as files, and renames are journalled.
        let above = path.ancestors().skip(1).take(2);
        above
            .filter(|folder| cfg!(unix) && !folder.as_os_str().is_empty())
            .try_for_each(|folder| File::open(folder)?.sync_all())
    };
    write().map_err(|e| {
        // The fault to report is the one above.
        let _ = fs::remove_file(&temp);
        RunError::io(path, "write", e)
    })
}

/// Replaces the file at `path` by `value` as indented JSON with a closing newline.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), RunError> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data is always JSON");
    text.push('\n');
    write_atomic(path, text.as_bytes())
}
