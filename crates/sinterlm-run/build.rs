//! Tells the crate which compiler builds it, for `run.json`.
#![allow(
    clippy::print_stdout,
    reason = "this is how a build script talks to cargo"
)]

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let target = env::var("TARGET").expect("cargo sets it");
    println!("cargo::rustc-env=SINTERLM_RUSTC={version}");
    println!("cargo::rustc-env=SINTERLM_TARGET={target}");
}
