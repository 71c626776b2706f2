//! `cargo xtask doctor`: what a bug report needs to say about versions and the machine.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::process::first_line;
use crate::{machine, metadata, repository};

/// Prints `name: value` lines; what is missing is said, too.
pub(crate) fn run() -> Result<()> {
    let or_missing = |found: Option<String>| found.unwrap_or_else(|| "not found".to_owned());
    let row = |name: &str, value: String| println!("{name:<13} {value}");
    row(
        "sinterlm",
        format!("{} {}", env!("CARGO_PKG_VERSION"), commit()),
    );
    row(
        "burn",
        or_missing(locked_version(&fs::read_to_string("Cargo.lock")?, "burn")),
    );
    row("rustc", or_missing(first_line("rustc", &["--version"])));
    row("cargo", or_missing(first_line("cargo", &["--version"])));
    row("features", features()?);
    row(
        "system",
        format!("{} {}", env::consts::OS, env::consts::ARCH),
    );
    row(
        "processor",
        format!("{}, {} threads", machine::cpu_model(), machine::cores()),
    );
    row("instructions", machine::instruction_sets().join(" "));
    row("kernels use", machine::kernel_instructions().to_owned());
    row("cpu caches", or_missing(cpu_caches()));
    let memory = machine::memory_bytes();
    row(
        "memory",
        or_missing(memory.map(|(all, free)| format!("{}, {} available", size(all), size(free)))),
    );
    row("nvidia", or_missing(machine::nvidia()));
    row("vulkan", or_missing(machine::vulkan_driver()));
    for (name, folder) in caches() {
        let bytes = or_missing(machine::folder_bytes(&folder).map(size));
        row(name, format!("{bytes} in {}", folder.display()));
    }
    Ok(())
}

fn cpu_caches() -> Option<String> {
    let caches = machine::cpu_caches().into_iter();
    let named: Vec<String> = caches
        .map(|(name, bytes)| format!("{name} {} KiB", bytes >> 10))
        .collect();
    (!named.is_empty()).then(|| named.join(", "))
}

fn commit() -> String {
    let commit = first_line("git", &["describe", "--always", "--dirty"]);
    commit.map_or_else(|| "without git".to_owned(), |commit| format!("at {commit}"))
}

/// The version of a package in a lock file's text.
pub(crate) fn locked_version(lock: &str, name: &str) -> Option<String> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split('"').next()?.to_owned())
}

/// The features that examples are built with unless told otherwise.
fn features() -> Result<String> {
    let packages = metadata::packages()?;
    let examples = packages
        .iter()
        .find(|package| package.name == "sinterlm-examples");
    Ok(examples.map_or_else(String::new, |package| package.default_features.join(" ")))
}

fn caches() -> Vec<(&'static str, PathBuf)> {
    let home = env::home_dir().unwrap_or_default();
    let from = |variable: &str, or: PathBuf| env::var_os(variable).map_or(or, PathBuf::from);
    vec![
        ("build folder", repository::target_dir()),
        ("cargo home", from("CARGO_HOME", home.join(".cargo"))),
        (
            "hub cache",
            from("HF_HOME", home.join(".cache/huggingface")),
        ),
        (
            "kernel cache",
            from("XDG_CACHE_HOME", home.join(".cache")).join("cubecl"),
        ),
    ]
}

fn size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_package_of_this_very_name() {
        let lock =
            "name = \"burn-core\"\nversion = \"9\"\n\nname = \"burn\"\nversion = \"0.22.1\"\n";
        assert_eq!(locked_version(lock, "burn").as_deref(), Some("0.22.1"));
        assert_eq!(locked_version(lock, "candle"), None);
    }
}
