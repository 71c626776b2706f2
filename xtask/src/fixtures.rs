//! `cargo xtask fixtures [--check]`: reruns the Python scripts that make golden files, in a virtual
//! environment with pinned packages below the build folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::{process, repository};

/// Writes the files beside their scripts, or with `check` compares bytes and changes nothing.
///
/// A script is called with `--out DIR`, needs a `requirements.txt` beside it, and finds data that
/// is not ours to commit through `SINTERLM_TEST_DATA`.
pub(crate) fn run(check: bool) -> Result<()> {
    let scripts: Vec<PathBuf> = repository::files()?
        .into_iter()
        .filter(|path| is_script(path))
        .collect();
    let mut faults = Vec::new();
    for script in &scripts {
        match rerun(script, check) {
            Ok(stale) if stale.is_empty() => println!("{}: ok", script.display()),
            Ok(stale) => faults.push(format!("{}: makes other bytes", stale.join(", "))),
            Err(error) => faults.push(format!("{}: {error:#}", script.display())),
        }
    }
    if !faults.is_empty() {
        bail!(
            "{} of {} scripts:\n  {}",
            faults.len(),
            scripts.len(),
            faults.join("\n  ")
        );
    }
    Ok(())
}

/// Runs one script; with `check` returns the committed files that differ.
fn rerun(script: &Path, check: bool) -> Result<Vec<String>> {
    let folder = script.parent().expect("a script lies in a fixtures folder");
    let python = environment(&folder.join("requirements.txt"))?;
    let out = if check { scratch()? } else { folder.to_owned() };
    process::run(
        Command::new(python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .arg("--out")
            .arg(&out),
    )?;
    if !check {
        return Ok(Vec::new());
    }
    let stale = different(&out, folder)?;
    fs::remove_dir_all(&out)?;
    Ok(stale)
}

/// `.../fixtures/gen_NAME.py`
fn is_script(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name);
    folder == Some("fixtures".as_ref()) && name.starts_with("gen_") && name.ends_with(".py")
}

/// The Python of an environment with these packages; made when the list has changed.
fn environment(requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("{}: pin what the scripts import", requirements.display()))?;
    // One for each folder of scripts: their pins may differ.
    let name = requirements.display().to_string().replace(['/', '\\'], "-");
    let folder = repository::target_dir().join("fixtures-python").join(name);
    let python = folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|list| list == wanted) {
        return Ok(python);
    }
    process::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    process::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-compile", "-r"])
            .arg(requirements),
    )?;
    fs::write(installed, wanted)?; // last: an interrupted install is begun anew
    Ok(python)
}

fn scratch() -> Result<PathBuf> {
    let folder = env::temp_dir().join(format!("sinterlm-fixtures-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Names of the files in `made` that `committed` has not, or has with other bytes.
fn different(made: &Path, committed: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(made)? {
        let entry = entry?;
        let old = committed.join(entry.file_name());
        if !fs::read(&old).is_ok_and(|old| fs::read(entry.path()).is_ok_and(|new| old == new)) {
            names.push(old.display().to_string());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generators_in_fixture_folders_are_scripts() {
        assert!(is_script(Path::new("crates/x/fixtures/gen_gpt.py")));
        assert!(!is_script(Path::new("crates/x/fixtures/fixed_fill.py")));
        assert!(!is_script(Path::new("benches/peers/gen_gpt.py")));
    }

    #[test]
    fn changed_and_missing_files_are_named() {
        let (made, committed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, new, old) in [
            ("same", "1", Some("1")),
            ("changed", "1", Some("2")),
            ("new", "1", None),
        ] {
            fs::write(made.path().join(name), new).unwrap();
            if let Some(old) = old {
                fs::write(committed.path().join(name), old).unwrap();
            }
        }
        let names = different(made.path(), committed.path()).unwrap();
        assert_eq!(names.len(), 2);
        assert!(names[0].ends_with("changed") && names[1].ends_with("new"));
    }
}
