//! `summary.json` of the programs that train nothing.

use std::path::Path;

use anyhow::Context;
use sinterlm::run::{Summary, peak_memory_bytes};

use crate::exit::Failure;

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
