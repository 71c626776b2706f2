//! The project's own commands, one file each; this one only picks. `cargo xtask help` lists them.
#![allow(
    clippy::print_stdout,
    reason = "a command-line tool prints its results"
)]

mod bench;
mod check;
mod ci;
mod docs;
mod doctor;
mod fixtures;
#[cfg(unix)] // it makes names and links that other systems don't have
mod fuzz;
mod interop;
mod machine;
mod metadata;
mod process;
mod report;
mod repository;
mod scratch;
mod smoke;
mod soak;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND, from anywhere in the repository

before a commit
  check                     fmt, tidy, clippy, unit tests
  tidy                      rules that no compiler checks: crate edges, circles between files, file sizes,
                            backends, unsafe, configs
before a change is done
  ci [--keep-going]         everything, cheapest first, and a closing line `N passed, N failed`
generated files
  docs [--check]            docs/config.md from the config types
  fixtures [--check]        golden files from their Python scripts
measuring
  bench [NAMES]             cargo bench, of all or of ids that hold one of the names
  bench --peers [NAMES]     our training steps and PyTorch's by turns, with ratios
  bench ... --record        and write benches/baselines/<machine>.json
  bench ... --compare       and print ratios to that file
  interop --run DIR         load a run's files in other libraries; says what it skips
endurance
  soak [--kills N]          kill runs 200 times, also while they save; each must end as the unbroken one
  soak --minutes N          train that long; resident memory must stay flat
  soak --checkpoint-cost    what saving and resuming cost the reference model; on a quiet machine
  fuzz [--minutes 10]       damaged files, odd paths and options: no program may panic, crash or hang
  fuzz --seed N --case N    one case again; --keep DIR keeps files and a table of all cases
bug reports
  doctor                    versions, processor, memory, GPUs, caches
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    let flag = |name: &str| -> Result<bool> {
        match rest {
            [] => Ok(false),
            [only] if only == name => Ok(true),
            _ => bail!("`{command}` takes {name} only, not {rest:?}; see cargo xtask help"),
        }
    };
    std::env::set_current_dir(repository::root())?;
    match command.as_str() {
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        "check" => check::run(),
        "tidy" => tidy::run(),
        "ci" => ci::run(flag("--keep-going")?),
        "docs" => docs::run(flag("--check")?),
        "fixtures" => fixtures::run(flag("--check")?),
        "bench" => bench::run(rest),
        "interop" => interop::run(rest),
        "soak" => soak::run(rest),
        #[cfg(unix)]
        "fuzz" => fuzz::run(rest),
        "doctor" => doctor::run(),
        other => bail!("no command `{other}`; see cargo xtask help"),
    }
}
