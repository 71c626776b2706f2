//! `report.html`: a run on one page that needs nothing else. Here is what it is made of; the page
//! is written in `page`, its curves in `chart`.

mod chart;
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    RunError, Summary,
    atomic::write_atomic,
    curves::Curves,
    samples::{SampleSection, read_sections},
};

/// Writes `report.html` into a run directory, from the files that are there: figures, curves, gates,
/// samples, config and provenance. Returns its path.
///
/// The page holds its styles and pictures, loads nothing, and says of what is missing that it is,
/// so that it also shows an interrupted or damaged run.
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
    write_atomic(&path, page::render(&Report::read(run)).as_bytes())?;
    Ok(path)
}

/// What a run directory holds.
#[derive(Debug, Default)]
struct Report {
    name: String,
    config: Option<String>,
    provenance: Option<Value>,
    summary: Option<Summary>,
    curves: Curves,
    samples: Vec<SampleSection>,
}

impl Report {
    fn read(run: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(run.join(name)).ok();
        let json = |name: &str| serde_json::from_str(&text(name)?).ok();
        let curves = Curves::read(&run.join("metrics.jsonl"));
        let full = fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
        // A summary of fewer steps is that of the run before it was made longer.
        let summary = json("summary.json").and_then(|value| serde_json::from_value(value).ok());
        let summary = summary.filter(|s: &Summary| s.steps.is_none_or(|at| at >= curves.steps));
        Self {
            name: full
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            config: text("config.toml"),
            provenance: json("run.json"),
            summary,
            curves,
            samples: text("samples.md").map_or_else(Vec::new, |text| read_sections(&text)),
        }
    }
}

#[cfg(test)]
mod tests;
