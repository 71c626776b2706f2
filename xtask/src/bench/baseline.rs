//! `benches/baselines/<machine>.json`: what was measured on one kind of machine, and with what.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::figures::{Figure, Figures};
use crate::{doctor, machine, process};

fn path() -> PathBuf {
    Path::new("benches/baselines").join(format!("{}.json", machine::slug()))
}

/// Writes this machine's baseline; benches that did not run keep their old rows.
pub(crate) fn write(figures: &Figures) -> Result<()> {
    let path = path();
    let old = if path.exists() {
        rows(&path)?
    } else {
        Map::new()
    };
    let known = |program: &str, arguments: &[&str]| process::first_line(program, arguments);
    let commit = known("git", &["describe", "--always", "--dirty"]);
    let rows = updated(old, figures, commit.as_deref());
    let about = json!({
        "burn": doctor::locked_version(&fs::read_to_string("Cargo.lock")?, "burn"),
        "rustc": known("rustc", &["--version"]),
        "processor": machine::cpu_model(),
        "threads": machine::cores(),
        "instructions": machine::instruction_sets().join(" "),
        "gpu": machine::nvidia(),
    });
    let count = rows.len();
    let text = serde_json::to_string_pretty(&json!({ "about": about, "benches": rows }))?;
    fs::create_dir_all("benches/baselines")?;
    fs::write(&path, text + "\n").with_context(|| path.display().to_string())?;
    println!("wrote {}: {count} benches", path.display());
    Ok(())
}

/// The figures of this machine's baseline.
pub(crate) fn read() -> Result<Figures> {
    let rows = rows(&path())?;
    Ok(rows
        .iter()
        .filter_map(|(id, row)| Some((id.clone(), Figure::read(row)?)))
        .collect())
}

fn rows(path: &Path) -> Result<Map<String, Value>> {
    let context = || {
        let path = path.display();
        format!("{path}: no baseline of this machine; record one with cargo xtask bench --record")
    };
    let text = fs::read_to_string(path).with_context(context)?;
    let mut root: Value = serde_json::from_str(&text).with_context(context)?;
    match root["benches"].take() {
        Value::Object(rows) => Ok(rows),
        _ => Ok(Map::new()),
    }
}

/// New rows over the old ones, each with the commit that it was measured at. A row is replaced as a
/// whole, so that its peers are always those that ran beside it.
fn updated(
    mut rows: Map<String, Value>,
    figures: &Figures,
    commit: Option<&str>,
) -> Map<String, Value> {
    for (id, figure) in figures {
        let mut row = figure.write();
        row["commit"] = json!(commit);
        rows.insert(id.clone(), row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_that_did_not_run_keep_their_rows_and_commit() {
        let figure = |seconds| Figure {
            seconds: vec![seconds],
            ..Figure::default()
        };
        let first = Figures::from([("a".to_owned(), figure(1.0)), ("b".to_owned(), figure(2.0))]);
        let second = Figures::from([("b".to_owned(), figure(3.0))]);
        let rows = updated(Map::new(), &first, Some("old"));
        let rows = updated(rows, &second, Some("new"));
        assert_eq!(
            (&rows["a"]["commit"], &rows["b"]["commit"]),
            (&json!("old"), &json!("new"))
        );
        assert_eq!(rows["b"]["median_seconds"], 3.0);
    }
}
