//! Runs each example in its 30-second form, into a folder that is removed afterwards.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Result, bail};

use crate::{metadata, process, repository};

/// The example whose model the others read.
const PRETRAIN: &str = "pretrain_tinystories";
/// The example whose classifier `classify` reads.
const CLASSIFIER: &str = "finetune_classifier";

/// Builds all examples and runs each; those that need a model get the one that pretraining made.
pub(crate) fn run() -> Result<()> {
    // The workspace's features, so that what the tests built is used again.
    process::run(&mut process::cargo(&[
        "build",
        "--release",
        "--workspace",
        "--examples",
    ]))?;
    let runs = env::temp_dir().join(format!("sinterlm-smoke-{}", std::process::id()));
    fs::create_dir_all(&runs)?;
    let result = run_all(&runs);
    fs::remove_dir_all(&runs)?;
    result
}

fn run_all(runs: &Path) -> Result<()> {
    let mut examples = metadata::examples()?;
    // What trains runs before what reads; the sort is stable, so the others stay in order.
    examples.sort_by_key(|name| (name != PRETRAIN, !has_config(name)));
    if examples.is_empty() {
        println!("skipped: there are no examples");
    }
    for name in &examples {
        let Some(arguments) = arguments(name, runs) else {
            bail!(
                "example `{name}` has no smoke run; add configs/smoke/{name}.toml, or its arguments to xtask/src/smoke.rs"
            );
        };
        let start = Instant::now();
        let program = repository::target_dir().join("release/examples").join(name);
        // Nobody types: a conversation ends at once.
        process::run(Command::new(program).args(arguments).stdin(Stdio::null()))?;
        println!("example {name}: {} s", start.elapsed().as_secs());
    }
    Ok(())
}

/// The command line of one example's smoke run; none if nobody has said what it is.
fn arguments(name: &str, runs: &Path) -> Option<Vec<String>> {
    let path = |name: &str| runs.join(name).display().to_string();
    let model = ["--model".to_owned(), path(PRETRAIN)];
    if name == "chat" {
        return Some([&model[..], &["--device", "flex"].map(str::to_owned)].concat());
    }
    if name == "classify" {
        let text = ["--text", "WIN a prize now", "--device", "flex"].map(str::to_owned);
        let model = ["--model".to_owned(), path(CLASSIFIER)];
        return Some(model.into_iter().chain(text).collect());
    }
    let mut arguments = if name == "generate" {
        let prompt = ["--prompt", "Once upon a time", "--max-new-tokens", "20"].map(str::to_owned);
        model.into_iter().chain(prompt).collect()
    } else if name == "export" {
        let to = ["--to".to_owned(), path("exported.gguf")];
        model.into_iter().chain(to).collect()
    } else {
        if !has_config(name) {
            return None;
        }
        vec![
            "--config".to_owned(),
            config_of(name),
            "--quiet".to_owned(),
            "--offline".to_owned(),
        ]
    };
    arguments.extend(["--device", "flex", "--out"].map(str::to_owned));
    arguments.push(path(name));
    Some(arguments)
}

fn config_of(name: &str) -> String {
    format!("configs/smoke/{name}.toml")
}

fn has_config(name: &str) -> bool {
    fs::exists(config_of(name)).is_ok_and(|there| there)
}
