//! One case of a bench in a process of its own: the program calls itself.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::option;

/// Runs one case in a process of its own and returns the line that it prints.
///
/// # Errors
/// Where that process fails.
pub fn in_child(id: &str) -> Result<String> {
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
