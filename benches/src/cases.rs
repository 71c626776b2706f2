//! A bench of cases, each in a process of its own: a process's peak memory never falls. The program
//! calls itself.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sinterlm::kernels::run_on_pool;

use crate::{is_named, is_selected, option};

/// One case of a bench.
pub trait Case: Sync {
    /// Its name in baselines and filters.
    fn id(&self) -> String;

    /// What another program needs to know to do the same.
    fn shape(&self) -> Value;

    /// Whether it is run only when it is named: for what lies between others.
    fn is_extra(&self) -> bool {
        false
    }

    /// Makes the file that the case reads, where it needs one that is not there yet.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn prepare(&self) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    /// Its result; timed `runs` times, or as often as [`timings`](crate::timings) does.
    ///
    /// # Errors
    /// Where a file that it needs cannot be read.
    fn measure(&self, runs: Option<usize>) -> Result<Value>;
}

/// The main function of a bench: a JSON line for each case that the command line asks for, then
/// a table of all.
///
/// `--list` prints the cases as JSON lines in place of running them, `--steps=N` sets how often each
/// is timed, `--case=ID` runs one in this process.
///
/// # Errors
/// Where there is no such case, or its process fails.
pub fn run_cases<C: Case>(mut cases: Vec<C>, print_table: impl FnOnce(&[Value])) -> Result<()> {
    if let Some(id) = option("case") {
        let case = cases.iter().find(|case| case.id() == id);
        let case = case.context("no such case")?;
        let runs = option("steps").map(|count| count.parse()).transpose()?;
        let made = case.prepare()?;
        let result = run_on_pool(None, || case.measure(runs));
        remove(made)?;
        println!("{}", result?);
        return Ok(());
    }
    cases.retain(|case| is_named(&case.id()) || (is_selected(&case.id()) && !case.is_extra()));
    if option("list").is_some() {
        for case in &cases {
            println!("{}", case.shape());
        }
        return Ok(());
    }
    let mut results = Vec::new();
    for case in &cases {
        let made = case.prepare()?;
        let line = in_child(&case.id());
        remove(made)?;
        let line = line?;
        println!("{line}");
        results.push(serde_json::from_str(&line)?);
    }
    if !results.is_empty() {
        print_table(&results);
    }
    Ok(())
}

fn remove(file: Option<PathBuf>) -> Result<()> {
    Ok(file.map_or(Ok(()), std::fs::remove_file)?)
}

/// Runs one case in a process of its own and returns the line that it prints.
fn in_child(id: &str) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(format!("--case={id}")).stderr(Stdio::inherit());
    if let Some(steps) = option("steps") {
        command.arg(format!("--steps={steps}"));
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!("{id} ended with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
