//! Runs the steps of `check` and `ci`, counts tests and keeps what failed.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::process;

/// What the steps so far have given.
#[derive(Debug)]
pub(crate) struct Report {
    keep_going: bool,
    tests: Tests,
    failed_steps: Vec<String>,
}

/// Sums over the `test result:` lines of cargo.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tests {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Report {
    /// With `keep_going` a failed step is noted and the next one runs; else it ends the report.
    pub(crate) fn new(keep_going: bool) -> Self {
        Self {
            keep_going,
            tests: Tests::default(),
            failed_steps: Vec::new(),
        }
    }

    /// Runs one step under its name.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = run();
        let seconds = start.elapsed().as_secs();
        if let Err(error) = result {
            eprintln!("== {name}: FAILED after {seconds} s: {error:#}");
            self.failed_steps.push(name.to_owned());
            if !self.keep_going {
                bail!("step `{name}` failed");
            }
        } else {
            eprintln!("== {name}: ok, {seconds} s");
        }
        Ok(())
    }

    /// Runs a `cargo test` command as a step and adds up its tests.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let mut tests = Tests::default();
        let result = self.step(name, || process::tee(command, |line| tests.read(line)));
        let broken = result.is_err() || self.failed_steps.last().is_some_and(|step| step == name);
        if broken && tests.failed == 0 {
            tests.failed = 1; // it did not compile, or crashed before it could count
        }
        self.tests.passed += tests.passed;
        self.tests.failed += tests.failed;
        result
    }

    /// Prints the failed steps and, as the last line alone, the tests; an error if anything failed.
    pub(crate) fn close(self, ended: Result<()>) -> Result<()> {
        if !self.failed_steps.is_empty() {
            println!("failed steps: {}", self.failed_steps.join(", "));
        }
        println!("{} passed, {} failed", self.tests.passed, self.tests.failed);
        ended?;
        if !self.failed_steps.is_empty() {
            bail!("{} steps failed", self.failed_steps.len());
        }
        Ok(())
    }
}

impl Tests {
    /// Adds what a line like `test result: ok. 4 passed; 0 failed; 1 ignored; ...` says.
    fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else {
            return;
        };
        let count = |word: &str| {
            let before = counts.split(word).next()?;
            before.trim_end().rsplit(' ').next()?.parse::<u64>().ok()
        };
        self.passed += count("passed").unwrap_or(0);
        self.failed += count("failed").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed_and_others_ignored() {
        let mut tests = Tests::default();
        for line in [
            "test result: ok. 16 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out",
            "test the_words_3_passed_do_not_count ... ok",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            tests.read(line);
        }
        assert_eq!(
            tests,
            Tests {
                passed: 19,
                failed: 2
            }
        );
    }

    #[test]
    fn a_failed_step_ends_the_report_unless_it_keeps_going() {
        let mut report = Report::new(false);
        assert!(report.step("x", || bail!("no")).is_err());
        let mut report = Report::new(true);
        assert!(report.step("x", || bail!("no")).is_ok());
        assert!(report.close(Ok(())).is_err());
    }

    #[test]
    fn a_test_command_that_does_not_build_counts_as_one_failure() {
        let mut report = Report::new(true);
        let mut command = process::cargo(&["no-such-subcommand"]);
        assert!(report.tests("tests", &mut command).is_ok());
        assert_eq!(
            report.tests,
            Tests {
                passed: 0,
                failed: 1
            }
        );
    }
}
