//! `cargo xtask ci`: everything that must hold before a change is done, cheapest first.

use std::process::Command;

use anyhow::Result;

#[cfg(unix)]
use crate::fuzz;
use crate::process::{self, cargo};
use crate::report::Report;
use crate::{check, docs, machine, scratch, smoke};

/// Runs all steps. The last line alone says `N passed, N failed`, the sums over all tests.
pub(crate) fn run(keep_going: bool) -> Result<()> {
    let mut report = Report::new(keep_going);
    let ended = steps(&mut report, keep_going);
    report.close(ended)
}

fn steps(report: &mut Report, keep_going: bool) -> Result<()> {
    check::static_steps(report)?;
    let mut tests = cargo(&["test", "--release", "--workspace"]); // with integration and doctests
    if keep_going {
        tests.arg("--no-fail-fast");
    }
    report.tests("tests and doctests", &mut tests)?;
    other_processors(report)?;
    report.step("examples", smoke::run)?;
    #[cfg(unix)]
    report.step("fuzz, the short form", fuzz::short)?; // of the examples just built
    report.step("a program outside the workspace", scratch::run)?;
    report.step("rustdoc", || {
        let mut doc = cargo(&["doc", "--release", "--workspace", "--no-deps"]);
        process::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    report.step("docs --check", || docs::run(true))?;
    for feature in ["flex", "wgpu"] {
        report.step(&format!("feature {feature} alone"), || {
            process::run(&mut check_alone(feature))
        })?;
    }
    // Without DOCS_RS the build of the CUDA compiler's bindings downloads a prebuilt LLVM.
    report.step("feature cuda alone", || {
        process::run(check_alone("cuda").env("DOCS_RS", "1"))
    })?;
    gpu_tests(report)?;
    report.step("deny", deny)
}

/// The tests of numbers on one thread, and on a processor without AVX-512.
fn other_processors(report: &mut Report) -> Result<()> {
    let numbers = || {
        let mut tests = cargo(&["test", "--release", "--workspace", "--lib"]);
        tests.args(["--test", "golden", "--test", "instruction_sets"]);
        tests
    };
    report.tests(
        "tests of numbers on one thread",
        numbers().env("RAYON_NUM_THREADS", "1"),
    )?;
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux")))
        || process::first_line("qemu-x86_64", &["--version"]).is_none()
    {
        println!("skipped: tests without AVX-512: install qemu-user to emulate such a processor");
        return Ok(());
    }
    report.tests(
        "tests of numbers without AVX-512",
        numbers().env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
            "qemu-x86_64 -cpu Haswell",
        ),
    )
}

fn check_alone(feature: &str) -> Command {
    let arguments = [
        "check",
        "--release",
        "-p",
        "sinterlm",
        "--no-default-features",
    ];
    let mut command = cargo(&arguments);
    command.args(["--features", feature]);
    command
}

/// The tests that compare backends; a software driver is enough.
fn gpu_tests(report: &mut Report) -> Result<()> {
    const TESTS: &[&str] = &[
        "test",
        "--profile",
        "quick",
        "-p",
        "sinterlm-trainer",
        "--features",
        "burn/wgpu,burn/fusion,burn/autotune",
        "--test",
        "golden",
        "--test",
        "packing",
    ];
    if machine::vulkan_driver().is_none() {
        println!(
            "skipped: tests on wgpu: no Vulkan driver; install mesa-vulkan-drivers for a software one"
        );
        return Ok(());
    }
    let mut tests = cargo(TESTS);
    tests.env("BURN_DEVICE", "wgpu");
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        tests.env("XDG_RUNTIME_DIR", std::env::temp_dir()); // Vulkan loaders ask for one
    }
    report.tests("tests on wgpu", &mut tests)
}

fn deny() -> Result<()> {
    if process::first_line("cargo-deny", &["--version"]).is_none() {
        println!("skipped: cargo-deny is not installed; cargo install cargo-deny");
        return Ok(());
    }
    process::run(&mut cargo(&[
        "deny", "check", "bans", "licenses", "sources",
    ]))
}
