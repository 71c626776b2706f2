//! `cargo xtask check`: what every commit passes.

use anyhow::Result;

use crate::process::{self, cargo};
use crate::report::Report;
use crate::tidy;

/// Runs fmt, tidy, clippy and the unit tests, and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    let mut report = Report::new(false);
    let ended = static_steps(&mut report).and_then(|()| {
        report.tests(
            "unit tests",
            &mut cargo(&["test", "--release", "--workspace", "--lib"]),
        )
    });
    report.close(ended)
}

/// The steps that run nothing of ours, cheapest first; `ci` begins with them, too.
pub(crate) fn static_steps(report: &mut Report) -> Result<()> {
    const CLIPPY: &[&str] = &[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    report.step("fmt", || {
        process::run(&mut cargo(&["fmt", "--all", "--", "--check"]))
    })?;
    report.step("tidy", tidy::run)?;
    report.step("clippy", || process::run(&mut cargo(CLIPPY)))
}
