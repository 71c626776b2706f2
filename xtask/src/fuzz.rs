//! `cargo xtask fuzz`: runs the built programs on damaged files, odd paths and odd options; none may
//! panic, crash, hang or end with a status outside the contract.

mod cases;
mod damage;
mod random;
mod seeds;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo};
use cases::Case;
use random::Random;

const PROGRAMS: [&str; 4] = ["pretrain_tinystories", "generate", "chat", "export"];
/// Longest that a case may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest that a case that may well be endless is watched.
const HUNGRY_LIMIT: Duration = Duration::from_secs(4);
/// Address space of a program, in KiB: what a damaged file claims must not be taken on trust.
const MEMORY_KIB: u64 = 8 * 1024 * 1024;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    time: Duration,
    seed: u64,
    only: Option<u64>,
    keep: Option<PathBuf>,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let plan = plan(arguments)?;
    process::run(&mut cargo(&[
        "build",
        "--release",
        "--workspace",
        "--examples",
    ]))?;
    for_a_while(&plan)
}

/// The short form of `ci`, which has built the programs.
pub(crate) fn short() -> Result<()> {
    for_a_while(&plan(&["--minutes", "0.5"].map(str::to_owned))?)
}

fn plan(arguments: &[String]) -> Result<Plan> {
    let mut plan = Plan {
        time: Duration::from_mins(10),
        seed: 1,
        only: None,
        keep: None,
    };
    for pair in arguments.chunks(2) {
        let [option, value] = pair else {
            bail!("{}: give a value", pair[0]);
        };
        let wrong = || format!("{option} {value}: give a number");
        match option.as_str() {
            "--minutes" => {
                let minutes: f64 = value.parse().with_context(wrong)?;
                plan.time = Duration::try_from_secs_f64(60.0 * minutes).with_context(wrong)?;
            }
            "--seed" => plan.seed = value.parse().with_context(wrong)?,
            "--case" => plan.only = Some(value.parse().with_context(wrong)?),
            "--keep" => plan.keep = Some(std::path::absolute(value)?),
            _ => bail!("fuzz takes --minutes N, --seed N, --case N and --keep DIR, not {option}"),
        }
    }
    Ok(plan)
}

/// Runs cases until the time is over. The folders of those that failed stay.
fn for_a_while(plan: &Plan) -> Result<()> {
    let name = format!("sinterlm-fuzz-{}", std::process::id());
    let folder = plan
        .keep
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(name));
    let seeds = folder.join("seeds");
    if seeds.exists() {
        bail!(
            "{}: an earlier fuzz lies there; give another folder or remove it",
            folder.display()
        );
    }
    seeds::make(&seeds).context("the files to damage")?;
    let options = PROGRAMS.map(|name| {
        let help = process::capture(Command::new(seeds::program(name)).arg("--help"));
        help.map(|help| (name, cases::options_of(&help)))
    });
    let options = options.into_iter().collect::<Result<Vec<_>>>()?;

    let started = Instant::now();
    let (mut log, mut statuses, mut failed) = (String::new(), BTreeMap::new(), Vec::new());
    for number in plan.only.map_or(1..=u64::MAX, |only| only..=only) {
        if started.elapsed() > plan.time {
            break;
        }
        let own = folder.join(format!("case-{number}"));
        fs::create_dir_all(&own)?;
        let mut random = Random::of(plan.seed, number);
        let case = cases::make(&own, &seeds, &options, &mut random)?;
        let ended = watch(&case, &own, &folder)?;
        *statuses.entry(ended.status.clone()).or_insert(0_u64) += 1;
        let (words, last) = (&case.words, ended.err.lines().last().unwrap_or_default());
        writeln!(
            log,
            "{number}\t{}\t{:.1}\t{words:?}\t{last}",
            ended.status, ended.seconds
        )?;
        if ended.is_fault {
            println!(
                "case {number}, {words:?}: {}\n  {}",
                ended.status,
                line(&case, &own)
            );
            println!("  {last}");
            failed.push(number);
        } else if plan.only.is_none() {
            fs::remove_dir_all(&own).with_context(|| own.display().to_string())?;
        }
        if plan.only.is_some() {
            println!("{}\n{}", line(&case, &own), ended.err);
        }
    }
    println!("seed {}: {statuses:?}", plan.seed);
    if failed.is_empty() {
        if plan.keep.is_none() {
            fs::remove_dir_all(&folder)?;
        }
    } else {
        fs::write(folder.join("cases.tsv"), log)?;
        let seed = plan.seed;
        bail!(
            "{} cases failed and lie in {}; `cargo xtask fuzz --seed {seed} --case N` repeats one",
            failed.len(),
            folder.display()
        );
    }
    if plan.keep.is_some() {
        fs::write(folder.join("cases.tsv"), log)?;
    }
    Ok(())
}

/// How a program ended.
#[derive(Debug)]
struct Ended {
    status: String,
    err: String,
    seconds: f64,
    is_fault: bool,
}

/// Runs a case in its folder, without network and with a home of its own.
fn watch(case: &Case, own: &Path, home: &Path) -> Result<Ended> {
    let (stdin, stderr) = (own.join(".stdin"), own.join(".stderr"));
    fs::write(&stdin, case.stdin)?;
    let mut command = Command::new("sh");
    let limited = format!("ulimit -v {MEMORY_KIB} 2>/dev/null; exec \"$@\"");
    command
        .args(["-c", &limited, "sh"])
        .arg(seeds::program(case.program))
        .args(case.arguments());
    command
        .current_dir(own)
        .env("HOME", home)
        .env("XDG_CACHE_HOME", home.join("cache"));
    command
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .env_remove("HF_HOME");
    command
        .stdin(File::open(&stdin)?)
        .stdout(File::create(own.join(".stdout"))?);
    command.stderr(File::create(&stderr)?);
    let started = Instant::now();
    let mut child = command.spawn().context("sh")?;
    let limit = if case.is_hungry { HUNGRY_LIMIT } else { LIMIT };
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break None;
        }
        sleep(Duration::from_millis(3));
    };
    let err = String::from_utf8_lossy(&fs::read(&stderr)?).into_owned();
    Ok(Ended {
        status: status.map_or_else(|| "time-out".to_owned(), name),
        is_fault: is_fault(status, &err, case.is_hungry),
        err,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The exit status, or the signal that ended the program.
fn name(status: ExitStatus) -> String {
    let signal = || format!("signal {}", status.signal().unwrap_or_default());
    status.code().map_or_else(signal, |code| code.to_string())
}

/// Whether a program ended as none should: `status` is none where it had to be killed.
fn is_fault(status: Option<ExitStatus>, err: &str, is_hungry: bool) -> bool {
    if is_hungry && (status.is_none() || err.contains("memory allocation of")) {
        return false;
    }
    let is_known = status
        .and_then(|status| status.code())
        .is_some_and(|code| code <= 2);
    !is_known || err.contains("panicked at")
}

/// The command to paste into a shell.
fn line(case: &Case, own: &Path) -> String {
    let program = seeds::program(case.program);
    let words = std::iter::once(program.as_os_str()).chain(case.arguments().map(AsRef::as_ref));
    let words: Vec<String> = words.map(quoted).collect();
    format!(
        "cd {} && {} < .stdin",
        quoted(own.as_os_str()),
        words.join(" ")
    )
}

fn quoted(word: &OsStr) -> String {
    let bytes = word.as_encoded_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=:,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return word.to_string_lossy().into_owned();
    }
    let mut text = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").expect("a String takes all"),
        }
    }
    text + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn panics_signals_time_outs_and_foreign_statuses_are_faults() {
        let panicked = "thread 'main' panicked at src/x.rs:1:1";
        assert!(
            [0, 1, 2]
                .iter()
                .all(|&code| !is_fault(Some(exited(code)), "error: no", false))
        );
        assert!(is_fault(Some(exited(101)), panicked, false));
        assert!(
            is_fault(Some(exited(0)), panicked, true),
            "in another thread"
        );
        assert!(is_fault(Some(exited(3)), "", false));
        assert!(is_fault(Some(ExitStatus::from_raw(11)), "", true));
        assert!(is_fault(None, "", false));
        assert!(!is_fault(None, "", true), "it may have asked for that");
    }

    #[test]
    fn a_command_line_can_be_pasted() {
        let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"it's\n\xff");
        assert_eq!(quoted(odd), r"$'it\'s\x0a\xff'");
        assert_eq!(quoted(OsStr::new("a=b")), "a=b");
        assert_eq!(quoted(OsStr::new("")), "$''");
    }

    #[test]
    fn an_unknown_option_is_refused_with_those_there_are() {
        let error = plan(&["--hours", "1"].map(str::to_owned))
            .unwrap_err()
            .to_string();
        assert!(error.contains("--minutes N"), "{error}");
        assert!(plan(&["--minutes".to_owned()]).is_err());
        assert_eq!(
            plan(&["--minutes", "0.5"].map(str::to_owned))
                .unwrap()
                .time
                .as_secs(),
            30
        );
    }
}
