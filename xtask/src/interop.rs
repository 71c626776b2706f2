//! `cargo xtask interop --run DIR`: what other libraries make of the files of a run.
//! The checks are scripts in `xtask/interop`; here is only which of them can run.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{process, repository};

/// One script, called with the run's folder and the paths of compiled examples.
struct Peer {
    /// A name that ends in `.py` is run by Python, another by Node.
    script: &'static str,
    /// Modules that it imports.
    modules: &'static [&'static str],
    /// What it reads of the run.
    reads: &'static str,
    /// Examples whose results it compares; it says itself what it skips without them.
    examples: &'static [&'static str],
}

const PEERS: &[Peer] = &[
    Peer {
        script: "tokenizer.py",
        modules: &["tokenizers"],
        reads: "tokenizer.json",
        examples: &[],
    },
    Peer {
        script: "weights.py",
        modules: &["numpy", "safetensors"],
        reads: "model",
        examples: &[],
    },
    Peer {
        script: "event_files.py",
        modules: &["tensorboard"],
        reads: "tensorboard",
        examples: &[],
    },
    Peer {
        script: "report.py",
        modules: &[],
        reads: "report.html",
        examples: &[],
    },
    Peer {
        script: "check_run.py",
        modules: &["torch", "tokenizers", "transformers"],
        reads: "model",
        examples: &["generate"],
    },
    Peer {
        script: "llama_cpp.mjs",
        modules: &["node-llama-cpp"],
        reads: "model",
        examples: &["export", "generate"],
    },
];

impl Peer {
    fn is_python(&self) -> bool {
        Path::new(self.script)
            .extension()
            .is_some_and(|end| end == "py")
    }
}

/// Runs each script whose libraries and files are there, and names the others. `PYTHON` in the
/// environment picks that interpreter, `PEERS_NODE` the folder with Node's modules.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [flag, run] = arguments else {
        bail!("interop needs --run DIR, a finished run's folder")
    };
    let folder = Path::new(run);
    if flag != "--run" || !folder.is_dir() {
        bail!("interop needs --run DIR, a finished run's folder; {flag} {run} is none");
    }
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut failed = Vec::new();
    for peer in PEERS {
        let program = if peer.is_python() { &python } else { "node" };
        let missing = peer
            .modules
            .iter()
            .find(|name| !has_module(program, peer, name));
        if !folder.join(peer.reads).exists() {
            println!("skipped: {}: the run has no {}", peer.script, peer.reads);
        } else if let Some(module) = missing {
            println!("skipped: {}: {program} can't find {module}", peer.script);
        } else if let Err(error) = process::run(&mut command(program, peer, folder)) {
            eprintln!("{error:#}");
            failed.push(peer.script);
        }
    }
    if !failed.is_empty() {
        bail!("the run's files failed {}", failed.join(", "));
    }
    Ok(())
}

fn command(interpreter: &str, peer: &Peer, run: &Path) -> Command {
    let examples = repository::target_dir().join("release/examples");
    let program = |name: &&str| examples.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let mut command = Command::new(interpreter);
    command
        .arg(Path::new("xtask/interop").join(peer.script))
        .arg(run)
        .args(peer.examples.iter().map(program));
    command
}

/// Looks a module up without the seconds that importing it may take.
fn has_module(interpreter: &str, peer: &Peer, name: &str) -> bool {
    let (option, find) = if peer.is_python() {
        let find = format!(
            "from importlib.util import find_spec; raise SystemExit(not find_spec('{name}'))"
        );
        ("-c", find)
    } else {
        let from = "require('node:path').resolve(process.env.PEERS_NODE ?? 'xtask/interop') + '/'";
        let find = format!("require('node:module').createRequire({from}).resolve('{name}')");
        ("-e", find)
    };
    let status = Command::new(interpreter)
        .args([option, &find])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_script_is_listed_and_there() {
        let folder = repository::root().join("xtask/interop");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|end| end == "py" || end == "mjs")
            })
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let mut listed: Vec<&str> = PEERS.iter().map(|peer| peer.script).collect();
        found.sort();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let error = run(&["--run".to_owned(), "no/such/run".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("no/such/run is none"), "{error}");
    }
}
