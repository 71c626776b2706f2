//! `cargo xtask docs [--check]`: writes `docs/config.md`, or says that it is stale.
//! What stands in it is made by the program `config-reference`, which links the facade.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo};
use crate::repository;

const PATH: &str = "docs/config.md";

/// With `--workspace --examples` the same features are on as in the tests, so that what these built
/// is used again.
const BUILD: &[&str] = &[
    "build",
    "--release",
    "--workspace",
    "--features",
    "xtask/recipes",
    "--examples",
    "--bin",
    "config-reference",
];

/// Writes the file, or with `check` compares it.
pub(crate) fn run(check: bool) -> Result<()> {
    process::run(&mut cargo(BUILD))?;
    let program = repository::target_dir().join("release/config-reference");
    let text = process::capture(&mut Command::new(program))?;
    if !check {
        fs::write(PATH, text).context(PATH)?;
        println!("wrote {PATH}");
        return Ok(());
    }
    let committed =
        fs::read_to_string(PATH).with_context(|| format!("{PATH}: run cargo xtask docs"))?;
    if committed != text {
        bail!("{PATH} is stale; run cargo xtask docs");
    }
    println!("{PATH} is up to date");
    Ok(())
}
