//! `cargo xtask soak`: the tests of endurance, too long for `ci`, which runs short forms of them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{self, cargo};
use crate::repository;

/// Kills of a soak that names no number.
const KILLS: u64 = 200;
/// Looks at the memory of a run.
const LOOKS: u32 = 60;
/// Growth of memory that is still flat: figures kept for the plot of the losses are some of it.
const SHARE: f64 = 1.03;
const BYTES: f64 = 4.0 * MIB;
const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => kills(KILLS),
        ["--kills", count] => kills(number("--kills", count)?),
        ["--minutes", count] => memory(number("--minutes", count)?),
        ["--checkpoint-cost"] => process::run(&mut cargo(&[
            "bench",
            "--workspace",
            "--bench",
            "checkpoint",
            "--",
            "checkpoint",
        ])),
        _ => bail!("soak takes --kills N, --minutes N or --checkpoint-cost, not {words:?}"),
    }
}

fn number(option: &str, text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.with_context(|| format!("{option} {text}: give a whole number above 0"))
}

fn build_examples() -> Result<()> {
    process::run(&mut cargo(&[
        "build",
        "--release",
        "--workspace",
        "--examples",
    ]))
}

/// Kills runs at random moments and while they save, and holds their ends against unbroken ones.
fn kills(count: u64) -> Result<()> {
    build_examples()?; // the test runs them
    let arguments = [
        "test",
        "--release",
        "--workspace",
        "--test",
        "cli",
        "--",
        "a_run_killed_again_and_again",
        "--nocapture",
    ];
    process::run(cargo(&arguments).env("SINTERLM_KILLS", count.to_string()))
}

/// Trains for that many minutes, with evaluation, samples and checkpoints, and refuses a resident
/// memory that grows.
fn memory(minutes: u64) -> Result<()> {
    build_examples()?;
    let out = std::env::temp_dir().join(format!("sinterlm-soak-{}", std::process::id()));
    let mut run = start(&out)?;
    let result = watch(&mut run, &out, minutes);
    let _ = run.kill(); // it has ended, unless something went wrong
    fs::remove_dir_all(&out)?;
    let curve = result?;
    for (look, bytes) in curve.iter().enumerate() {
        let minute = minutes as f64 * look as f64 / f64::from(LOOKS);
        println!("{minute:6.1} min {:8.1} MiB", bytes / MIB);
    }
    let Some((early, late)) = early_and_late(&curve) else {
        println!("skipped: this system does not tell a program its memory");
        return Ok(());
    };
    let words = format!("{:.1} MiB early, {:.1} MiB late", early / MIB, late / MIB);
    if late > early * SHARE + BYTES {
        bail!("resident memory grows: {words}");
    }
    println!("resident memory is flat: {words}");
    Ok(())
}

fn start(out: &Path) -> Result<Child> {
    let program = repository::target_dir().join("release/examples/pretrain_tinystories");
    let keys = [
        "trainer.max_steps=1000000000",
        "schedule.kind=constant",
        "eval.every_steps=200",
        "eval.samples_every_steps=500",
        "checkpoint.every_steps=100",
        "checkpoint.keep_best=true",
    ];
    let mut command = Command::new(&program);
    command.args(["--config", "configs/smoke/pretrain_tinystories.toml"]);
    command.args(["--device", "flex", "--offline", "--quiet", "--out"]);
    command.arg(out);
    command.args(keys.iter().flat_map(|key| ["--set", key]));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
        .spawn()
        .with_context(|| format!("can't start {}", program.display()))
}

/// The memory that the run reports, in bytes, at even distances of time; then ends the run.
fn watch(run: &mut Child, out: &Path, minutes: u64) -> Result<Vec<f64>> {
    let started = Instant::now();
    let mut curve = Vec::new();
    for look in 1..=LOOKS {
        let until = Duration::from_secs(60 * minutes) * look / LOOKS;
        sleep(until.saturating_sub(started.elapsed()));
        if let Some(status) = run.try_wait()? {
            bail!("the run ended by itself, with {status}");
        }
        curve.extend(last_memory(&out.join("metrics.jsonl")));
    }
    let terminate = Command::new("kill").arg(run.id().to_string()).status()?;
    let status = run.wait()?;
    if !terminate.success() || status.code() != Some(143) {
        bail!("the run was asked to end and ended with {status}");
    }
    Ok(curve)
}

/// The newest figure in a file of metrics.
fn last_memory(metrics: &Path) -> Option<f64> {
    let text = fs::read_to_string(metrics).ok()?;
    text.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["memory/resident_bytes"].as_f64()
    })
}

/// Medians of the second and of the last quarter: what warms up is over after the first.
fn early_and_late(curve: &[f64]) -> Option<(f64, f64)> {
    let quarter = curve.len() / 4;
    let median = |part: &[f64]| {
        let mut sorted = part.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    (quarter > 0).then(|| {
        (
            median(&curve[quarter..2 * quarter]),
            median(&curve[curve.len() - quarter..]),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_quarter_does_not_count_and_growth_shows() {
        let mut curve: Vec<f64> = vec![1.0, 5.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0];
        assert_eq!(early_and_late(&curve), Some((9.0, 9.0)));
        curve[7] = 12.0;
        assert_eq!(early_and_late(&curve), Some((9.0, 12.0)));
        assert_eq!(early_and_late(&curve[..3]), None);
    }

    #[test]
    fn the_newest_line_that_has_it_tells_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(
            &path,
            "{\"memory/resident_bytes\": 7.0}\n{\"step\": 2}\n{\"st",
        )
        .unwrap();
        assert_eq!(last_memory(&path), Some(7.0));
    }

    #[test]
    fn an_unknown_option_is_refused_with_those_there_are() {
        let error = run(&["--hours".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("--minutes N"), "{error}");
        let error = run(&["--kills".to_owned(), "none".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("--kills none"), "{error}");
    }
}
