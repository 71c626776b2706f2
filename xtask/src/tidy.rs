//! `cargo xtask tidy`: the rules of CONTRIBUTING.md that no compiler checks, one file a group.

mod configs;
mod dependencies;
mod rust_text;
mod sources;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{metadata, repository};

/// Holds the checkout against every rule; all faults are shown at once.
pub(crate) fn run() -> Result<()> {
    let files = repository::files()?;
    let mut faults = dependencies::faults(&metadata::packages()?);
    faults.extend(configs::faults(&files, &metadata::examples()?));
    for path in &files {
        // What is no UTF-8 is no text of ours: fonts, images, golden files.
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        faults.extend(words::faults(path, &text));
        if path.extension().is_some_and(|extension| extension == "rs") {
            faults.extend(sources::faults(path, &text));
        }
    }
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("tidy: {} faults", faults.len());
    }
    println!("tidy: {} files, no faults", files.len());
    Ok(())
}

/// Path with forward slashes on every system, as rules and messages spell it.
fn slashed(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// The package folder below `crates/` that a file lies in, such as `sinterlm-kernels`.
fn crate_of(path: &Path) -> Option<String> {
    let path: PathBuf = path.strip_prefix("crates").ok()?.to_owned();
    Some(
        path.components()
            .next()?
            .as_os_str()
            .to_string_lossy()
            .into_owned(),
    )
}
