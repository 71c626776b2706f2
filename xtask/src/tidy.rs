//! `cargo xtask tidy`: the rules of CONTRIBUTING.md that no compiler checks, one file a group.

mod circles;
mod configs;
mod dependencies;
mod imports;
mod modules;
mod paths;
mod rust_text;
mod sources;
mod words;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::{metadata, repository};

/// Holds the checkout against every rule; all faults are shown at once.
pub(crate) fn run() -> Result<()> {
    let files = repository::files()?;
    let mut faults = dependencies::faults(&metadata::packages()?);
    faults.extend(configs::faults(&files, &metadata::examples()?));
    let mut sources = BTreeMap::new();
    for path in &files {
        // What is no UTF-8 is no text of ours: fonts, images, golden files.
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        faults.extend(words::faults(path, &text));
        if path.extension().is_some_and(|extension| extension == "rs") {
            faults.extend(sources::faults(path, &text));
            sources.insert(paths::slashed(path), text);
        }
    }
    faults.extend(circles::faults(&sources));
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("tidy: {} faults", faults.len());
    }
    println!("tidy: {} files, no faults", files.len());
    Ok(())
}
