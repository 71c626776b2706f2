//! `cargo xtask docs [--check]`: writes `docs/config.md`, or says that it is stale.
//! What stands in it is made by the program `config-reference`, which links the facade.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process::{capture, cargo};

const PATH: &str = "docs/config.md";

pub(crate) fn run(check: bool) -> Result<()> {
    let arguments = [
        "run",
        "--release",
        "--quiet",
        "-p",
        "xtask",
        "--features",
        "recipes",
        "--bin",
        "config-reference",
    ];
    let text = capture(&mut cargo(&arguments))?;
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
