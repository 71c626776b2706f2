//! `report.html`: a run on one page that needs nothing else. What it is made of is read by `content`;
//! the page is written in `page`, its curves in `chart`.

mod chart;
mod content;
mod html;
mod page;

use std::path::{Path, PathBuf};

use sinterlm_formats::write_file_atomic;

use crate::RunError;
use content::Content;

/// Writes `report.html` into a run directory, from the files that are there: figures, curves, gates,
/// samples, config and provenance. Returns its path.
///
/// The page holds its styles and pictures and loads nothing. It names what is missing, so that it
/// also shows an interrupted or damaged run.
///
/// # Errors
/// [`RunError::Io`] or [`RunError::DiskFull`] if it cannot be written.
///
/// # Example
/// ```no_run
/// let path = sinterlm_run::write_report("runs/first")?;
/// assert!(path.ends_with("report.html"));
/// # Ok::<(), sinterlm_run::RunError>(())
/// ```
pub fn write_report(run: impl AsRef<Path>) -> Result<PathBuf, RunError> {
    let run = run.as_ref();
    let path = run.join("report.html");
    let page = page::render(&Content::read(run));
    write_file_atomic(&path, |out| out.write_all(page.as_bytes()))?;
    Ok(path)
}

#[cfg(test)]
mod tests;
