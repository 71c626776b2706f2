//! `cargo xtask interop --run DIR`: what another library makes of the files of a run.
//! The checks are Python scripts in `xtask/interop`; here is only which file goes to which.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process;

/// One script: the Python module that it needs and the file of the run that it reads.
struct Peer {
    script: &'static str,
    module: &'static str,
    file: &'static str,
}

const PEERS: &[Peer] = &[
    Peer {
        script: "tokenizer.py",
        module: "tokenizers",
        file: "tokenizer.json",
    },
    Peer {
        script: "weights.py",
        module: "safetensors",
        file: "model",
    },
];

/// Runs each script whose library and file are there, and names the others. `PYTHON` in the
/// environment picks the interpreter.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [flag, run] = arguments else {
        bail!("interop needs --run DIR, a finished run's folder")
    };
    if flag != "--run" || !Path::new(run).is_dir() {
        bail!("interop needs --run DIR, a finished run's folder; {flag} {run} is none");
    }
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut failed = 0;
    for peer in PEERS {
        let file: PathBuf = Path::new(run).join(peer.file);
        if !file.exists() {
            println!("skipped: {}: the run has no {}", peer.module, peer.file);
        } else if !has_module(&python, peer.module) {
            println!("skipped: {}: {python} can't import it", peer.module);
        } else {
            let script = Path::new("xtask/interop").join(peer.script);
            let result = process::run(Command::new(&python).arg(script).arg(&file));
            failed += usize::from(result.is_err());
        }
    }
    if failed > 0 {
        bail!("{failed} libraries could not use the run's files");
    }
    Ok(())
}

fn has_module(python: &str, module: &str) -> bool {
    let import = format!("import {module}");
    let status = Command::new(python)
        .args(["-c", &import])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
