//! `summary.json` of the programs that train nothing.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, anyhow};
use sinterlm::run::{Summary, peak_memory_bytes};

use crate::exit::{Failure, OrFailure};

/// Refuses an `--out` that cannot be a folder, before there is work to lose.
///
/// # Errors
/// Where a part of the path is a file, or the system does not take it.
pub(crate) fn check_out(folder: Option<&Path>) -> Result<(), Failure> {
    for part in folder.iter().flat_map(|folder| folder.ancestors()) {
        let fault = match std::fs::metadata(part) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => "it is no folder".to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue, // it is made then
            Err(error) => error.to_string(),
        };
        return Err(anyhow!("{}: {fault}; give another --out", part.display())).or_unusable();
    }
    Ok(())
}

/// Writes the figures of a program that took `seconds` into `folder`, which is made; nothing where
/// there is none.
///
/// # Errors
/// Where it cannot be written.
pub fn write_summary(
    folder: Option<&Path>,
    mut summary: Summary,
    seconds: f64,
) -> Result<(), Failure> {
    let Some(folder) = folder else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    summary.seconds = Some(seconds);
    summary.tokens_per_second = summary.tokens.map(|tokens| tokens as f64 / seconds);
    summary.peak_memory_bytes = peak_memory_bytes();
    Ok(summary.write(folder.join("summary.json"))?)
}
