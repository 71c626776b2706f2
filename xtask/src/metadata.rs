//! What `cargo metadata --no-deps` says of the workspace's own packages, as far as commands need it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// One package of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Names of the runnable examples.
    pub(crate) examples: Vec<String>,
    /// The features on by default.
    pub(crate) default_features: Vec<String>,
}

/// One line of a package's dependency tables.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Of `[dev-dependencies]`.
    pub(crate) is_dev: bool,
    pub(crate) has_default_features: bool,
    pub(crate) features: Vec<String>,
}

/// Reads the workspace in the current folder.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let arguments = [
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ];
    let text = process::capture(&mut process::cargo(&arguments))?;
    parse(&text).context("cargo metadata gave something unexpected")
}

fn parse(text: &str) -> Result<Vec<Package>> {
    let root: Value = serde_json::from_str(text)?;
    Ok(list(&root["packages"]).iter().map(package).collect())
}

fn package(value: &Value) -> Package {
    let dependency = |value: &Value| Dependency {
        name: text(&value["name"]),
        is_dev: value["kind"] == "dev",
        has_default_features: value["uses_default_features"] == true,
        features: list(&value["features"]).iter().map(text).collect(),
    };
    let is_example = |target: &&Value| list(&target["kind"]).iter().any(|kind| kind == "example");
    Package {
        name: text(&value["name"]),
        dependencies: list(&value["dependencies"])
            .iter()
            .map(dependency)
            .collect(),
        examples: list(&value["targets"])
            .iter()
            .filter(is_example)
            .map(|target| text(&target["name"]))
            .collect(),
        default_features: list(&value["features"]["default"])
            .iter()
            .map(text)
            .collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Names of all examples of the workspace, sorted.
pub(crate) fn examples() -> Result<Vec<String>> {
    let mut names: Vec<String> = packages()?
        .into_iter()
        .flat_map(|package| package.examples)
        .collect();
    names.sort();
    Ok(names)
}
