//! Files that a run appends to: their length, and cutting them back to what it was at a checkpoint.

use std::{fs::OpenOptions, path::Path};

use crate::RunError;

/// The length of the file at `path`; 0 if there is none.
pub(crate) fn len_bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Cuts the file at `path` back to its first `bytes`. One that is missing or shorter stays as it is,
/// with a warning that earlier `lost` are missing.
pub(crate) fn cut_back(path: &Path, bytes: u64, lost: &str) -> Result<(), RunError> {
    let found = len_bytes(path);
    if found < bytes {
        tracing::warn!(
            "{}: {found} bytes of the {bytes} at the checkpoint are left; \
             earlier {lost} are missing, the run is not affected",
            path.display()
        );
        return Ok(());
    }
    if found == bytes {
        return Ok(());
    }
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    };
    cut().map_err(|e| RunError::io(path, "cut back", e))
}
