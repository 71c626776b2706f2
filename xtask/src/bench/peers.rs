//! The same work in other programs, by turns with ours: training steps in PyTorch, generation with
//! transformers and llama.cpp. The scripts in `benches/peers` run the shapes that our benches list.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::figures::{self, Figure, Figures};
use crate::process::{self, cargo, first_line};
use crate::{machine, repository};

/// Rounds of ours and theirs by turns, so that a slow minute hits both.
const ROUNDS: usize = 3;

/// Timed runs of each program in each round.
const STEPS: usize = 5;

/// Our benches that have peers; a script in `benches/peers` has the bench's name.
const BENCHES: [&str; 2] = ["train_step", "decode"];

/// The mode that runs in Node.js, where llama.cpp comes without a compiler.
const LLAMA_CPP: &str = "llama.cpp";

const REQUIREMENTS: &str = "benches/peers/requirements.txt";

/// Measures the steps whose id holds one of `names`, or all; the peers are in each figure.
pub(crate) fn measure(names: &[String]) -> Result<Figures> {
    let python = python()?;
    let compiler = compiler();
    if compiler.is_none() {
        println!("skipped: torch.compile needs a C++ compiler; put g++ or clang++ in PATH");
    }
    let mut all = Figures::new();
    let mut cases = Vec::new();
    for bench in BENCHES {
        cases.extend(
            shapes(bench, names)?
                .into_iter()
                .map(|shape| (bench, shape)),
        );
    }
    for (bench, shape) in cases {
        let id = shape["bench"].as_str().context("a shape has an id")?;
        let figure = all.entry(id.to_owned()).or_default();
        let mut modes = modes(&shape).to_vec();
        modes.retain(|mode| *mode != "compile" || compiler.is_some());
        for _ in 0..ROUNDS {
            for (_, ours) in our_run(bench, id)? {
                figure.merge(ours);
            }
            for mode in &modes {
                match their_run(&python, bench, &shape, mode) {
                    Ok((name, theirs)) => figure.peers.entry(name).or_default().merge(theirs),
                    // A compiler that is there may still fail; the other rows stand without it.
                    Err(error) => println!("skipped: {mode} of {id}: {error:#}"),
                }
            }
        }
    }
    Ok(all)
}

/// How others run what we run: training by precision; generation, which names none, with
/// transformers, and that of a model file with llama.cpp too.
fn modes(shape: &Value) -> &'static [&'static str] {
    let of_a_file = shape["file"].is_string();
    match shape["precision"].as_str() {
        None if of_a_file => &["generate", LLAMA_CPP],
        None => &["generate"],
        Some("f32") => &["eager", "compile"],
        Some("bf16") => &["bf16"],
        Some(_) => &[],
    }
}

/// The cases of one of our benches that `names` leave in, as it lists them.
fn shapes(bench: &str, names: &[String]) -> Result<Vec<Value>> {
    let mut command = cargo(&["bench", "--workspace", "--bench", bench, "--", "--list"]);
    let listing = process::capture(command.args(names))?;
    Ok(listing
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn our_run(bench: &str, id: &str) -> Result<Figures> {
    let (case, steps) = (format!("--case={id}"), format!("--steps={STEPS}"));
    super::measure(&["--workspace", "--bench", bench, "--", &case, &steps])
}

/// The program's name and its figure.
fn their_run(python: &str, bench: &str, shape: &Value, mode: &str) -> Result<(String, Figure)> {
    let mut task = shape.clone();
    task["mode"] = json!(mode);
    task["steps"] = json!(STEPS);
    task["threads"] = json!(threads());
    let mut found = None;
    let mut command = if mode == LLAMA_CPP {
        let mut node = Command::new("node");
        node.arg(format!("benches/peers/{bench}.mjs"));
        node
    } else {
        let mut python = Command::new(python);
        python.arg(format!("benches/peers/{bench}.py"));
        python
    };
    command.arg(task.to_string());
    command.env("TORCHINDUCTOR_CACHE_DIR", folder().join("compiled"));
    process::tee(&mut command, |line| found = answer(line).or(found.take()))?;
    found.context("the script printed no figure")
}

fn answer(line: &str) -> Option<(String, Figure)> {
    let (_, figure) = figures::printed(line)?;
    let value: Value = serde_json::from_str(line.trim()).ok()?;
    Some((value["program"].as_str()?.to_owned(), figure))
}

/// As many as ours uses.
fn threads() -> usize {
    let set = std::env::var("RAYON_NUM_THREADS").ok();
    set.and_then(|count| count.parse().ok())
        .filter(|count| *count > 0)
        .unwrap_or_else(machine::cores)
}

/// The C++ compiler that `torch.compile` would find.
fn compiler() -> Option<String> {
    let named = std::env::var("CXX").ok();
    let usual = ["g++", "clang++"].map(str::to_owned);
    named
        .into_iter()
        .chain(usual)
        .find(|program| first_line(program, &["--version"]).is_some())
}

/// What peers need and leave behind, below the build folder.
fn folder() -> PathBuf {
    repository::target_dir().join("peers")
}

/// The interpreter named by `PYTHON`, or one of an environment made here with pinned packages.
fn python() -> Result<String> {
    if let Ok(python) = std::env::var("PYTHON") {
        return Ok(python);
    }
    let folder = folder();
    let python = folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    if !python.exists() {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("peers need Python 3; or name an interpreter with torch in PYTHON")?;
    }
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--requirement",
        REQUIREMENTS,
    ];
    process::run(Command::new(&python).args(install))?;
    Ok(python.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_the_program_that_it_names() {
        let line = r#"{"bench": "x", "program": "torch 2.15.0 eager", "median_seconds": 2.0}"#;
        let (name, figure) = answer(line).unwrap();
        assert_eq!(name, "torch 2.15.0 eager");
        assert_eq!(figure.seconds, [2.0]);
        assert_eq!(answer(r#"{"bench": "x", "median_seconds": 2.0}"#), None);
    }

    #[test]
    fn each_kind_of_work_has_its_own_peers() {
        assert_eq!(modes(&json!({"precision": "f32"})), ["eager", "compile"]);
        assert_eq!(modes(&json!({"precision": "bf16"})), ["bf16"]);
        assert_eq!(modes(&json!({"rows": 16})), ["generate"]);
        assert_eq!(
            modes(&json!({"file": "model.gguf"})),
            ["generate", LLAMA_CPP]
        );
    }
}
