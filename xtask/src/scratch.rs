//! Builds and runs `xtask/scratch`, a user's program outside the workspace: it trains, resumes and
//! generates through the facade alone.

use std::{env, fs};

use anyhow::{Context, Result};

use crate::process::{self, cargo};
use crate::repository;

const MANIFEST: &str = "xtask/scratch/Cargo.toml";

/// Runs it in a folder that is removed afterwards.
pub(crate) fn run() -> Result<()> {
    // The versions of the workspace, for which its dependencies are compiled already.
    fs::copy("Cargo.lock", "xtask/scratch/Cargo.lock").context("Cargo.lock")?;
    process::run(&mut cargo(&[
        "fmt",
        "--manifest-path",
        MANIFEST,
        "--",
        "--check",
    ]))?;
    let folder = env::temp_dir().join(format!("sinterlm-scratch-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut program = cargo(&[
        "run",
        "--release",
        "--offline",
        "--manifest-path",
        MANIFEST,
        "--",
    ]);
    program.arg(&folder);
    let result = process::run(program.env("CARGO_TARGET_DIR", repository::target_dir()));
    fs::remove_dir_all(&folder)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With another profile every dependency would be compiled a second time.
    #[test]
    fn the_release_profile_is_that_of_the_workspace() {
        let profile = |manifest: &str| {
            let text = fs::read_to_string(repository::root().join(manifest)).unwrap();
            let (_, profile) = text.split_once("[profile.release]\n").unwrap();
            profile.split("\n\n").next().unwrap().trim().to_owned()
        };
        assert_eq!(profile(MANIFEST), profile("Cargo.toml"));
    }
}
