//! `cargo xtask bench`: runs `cargo bench`, keeps the medians of this machine, compares with them,
//! or with other programs on the same machine in the same minutes.
//!
//! A bench tells its figures in one of two ways: criterion leaves files in the build folder; a
//! runner of its own, for whole training steps, prints a line
//! `{"bench": "train/step/b4_s256_d512/f32/flex", "median_seconds": 0.41, "tokens": 1024}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{self, cargo};
use crate::{machine, repository};

/// Rounds of ours and theirs by turns, so that a slow minute hits both.
const ROUNDS: usize = 3;

/// Bench id to median seconds and, where it is known, tokens a run.
type Figures = BTreeMap<String, Figure>;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Figure {
    median_seconds: f64,
    tokens: Option<f64>,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mode, rest) = match arguments.split_first() {
        Some((first, rest)) if first.starts_with("--") => (first.as_str(), rest),
        _ => ("", arguments),
    };
    match mode {
        "" => measure(&["--workspace"], rest).map(|_| ()),
        "--record" => record(&measure(&["--workspace"], rest)?),
        "--compare" => {
            let baseline = read_baseline()?;
            print_ratios(&measure(&["--workspace"], rest)?, &baseline, "baseline");
            Ok(())
        }
        "--peers" => peers(rest.first().map(String::as_str)),
        other => bail!("bench takes --record, --compare or --peers, not {other}"),
    }
}

/// Runs `cargo bench` and returns the figures of what it ran.
fn measure(selection: &[&str], arguments: &[String]) -> Result<Figures> {
    let begin = SystemTime::now();
    let mut figures = Figures::new();
    let mut command = cargo(&["bench"]);
    command.args(selection).arg("--").args(arguments);
    process::tee(&mut command, |line| figures.extend(printed(line)))?;
    criterion_figures(
        &repository::target_dir().join("criterion"),
        begin,
        &mut figures,
    )?;
    if figures.is_empty() {
        bail!("no bench ran; see benches/ and the filter {arguments:?}");
    }
    Ok(figures)
}

/// The figure in a line that a runner of our own, or a peer's script, prints.
fn printed(line: &str) -> Option<(String, Figure)> {
    let value: Value = serde_json::from_str(line.trim()).ok()?;
    let figure = Figure {
        median_seconds: value["median_seconds"].as_f64()?,
        tokens: value["tokens"].as_f64(),
    };
    Some((value["bench"].as_str()?.to_owned(), figure))
}

/// Collects what criterion wrote below `folder` after `begin`: `.../new/{benchmark,estimates}.json`.
fn criterion_figures(folder: &Path, begin: SystemTime, figures: &mut Figures) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("estimates.json");
        let is_new = path.ends_with("new")
            && estimates
                .metadata()
                .and_then(|file| file.modified())
                .is_ok_and(|at| at >= begin);
        if is_new {
            let (about, estimates) = (
                json_file(&path.join("benchmark.json"))?,
                json_file(&estimates)?,
            );
            let id = about["full_id"]
                .as_str()
                .context("criterion's benchmark.json has no full_id")?;
            let nanoseconds = estimates["median"]["point_estimate"]
                .as_f64()
                .context("criterion's estimates.json has no median")?;
            let tokens = about["throughput"]["Elements"].as_f64();
            let figure = Figure {
                median_seconds: nanoseconds * 1e-9,
                tokens,
            };
            figures.insert(id.to_owned(), figure);
        } else {
            criterion_figures(&path, begin, figures)?;
        }
    }
    Ok(())
}

fn json_file(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn baseline_path() -> PathBuf {
    Path::new("benches/baselines").join(format!("{}.json", machine::slug()))
}

/// Writes this machine's baseline; benches that did not run keep their old figures.
fn record(figures: &Figures) -> Result<()> {
    let path = baseline_path();
    let mut all = if path.exists() {
        read_baseline()?
    } else {
        Figures::new()
    };
    all.extend(figures.iter().map(|(id, figure)| (id.clone(), *figure)));
    let rows: serde_json::Map<String, Value> = all
        .iter()
        .map(|(id, figure)| {
            let mut row = json!({ "median_seconds": figure.median_seconds });
            if let Some(tokens) = figure.tokens {
                row["tokens"] = json!(tokens);
                row["tokens_per_second"] = json!((tokens / figure.median_seconds).round());
            }
            (id.clone(), row)
        })
        .collect();
    let known = |program: &str, arguments: &[&str]| process::first_line(program, arguments);
    let about = json!({
        "commit": known("git", &["describe", "--always", "--dirty"]),
        "rustc": known("rustc", &["--version"]),
        "processor": machine::cpu_model(),
        "threads": machine::cores(),
        "instructions": machine::instruction_sets().join(" "),
        "gpu": machine::nvidia(),
    });
    let text = serde_json::to_string_pretty(&json!({ "about": about, "benches": rows }))?;
    fs::create_dir_all("benches/baselines")?;
    fs::write(&path, text + "\n").with_context(|| path.display().to_string())?;
    println!("wrote {}: {} benches", path.display(), all.len());
    Ok(())
}

fn read_baseline() -> Result<Figures> {
    let path = baseline_path();
    let file =
        json_file(&path).context("no baseline of this machine; cargo xtask bench --record")?;
    let rows = file["benches"]
        .as_object()
        .context("a baseline has an object `benches`")?;
    Ok(rows
        .iter()
        .filter_map(|(id, row)| {
            let median_seconds = row["median_seconds"].as_f64()?;
            Some((
                id.clone(),
                Figure {
                    median_seconds,
                    tokens: row["tokens"].as_f64(),
                },
            ))
        })
        .collect())
}

/// One line for each bench that both have: below 1 is faster than the other.
fn print_ratios(ours: &Figures, other: &Figures, name: &str) {
    println!(
        "\n{:>12} {:>12} {:>7}  bench (seconds, {name}'s seconds, ratio)",
        "ours", name, "ratio"
    );
    for (id, our) in ours {
        match other.get(id) {
            Some(their) => {
                let (our, their) = (our.median_seconds, their.median_seconds);
                println!("{our:>12.6} {their:>12.6} {:>7.3}  {id}", our / their);
            }
            None => println!("{:>12.6} {:>12} {:>7}  {id}", our.median_seconds, "-", "-"),
        }
    }
}

/// Runs the bench and the script of the same name by turns, and prints the ratios of the medians
/// over all rounds. `PYTHON` in the environment picks the interpreter.
fn peers(only: Option<&str>) -> Result<()> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut scripts: Vec<PathBuf> = fs::read_dir("benches/peers")
        .context("benches/peers holds the scripts")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some("py".as_ref()))
        .collect();
    scripts.sort();
    for script in scripts {
        let name = script
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(measure(&["--workspace", "--bench", &name], &[])?);
            let mut figures = Figures::new();
            process::tee(Command::new(&python).arg(&script), |line| {
                figures.extend(printed(line));
            })?;
            theirs.push(figures);
        }
        print_ratios(&medians(&ours), &medians(&theirs), &name);
    }
    Ok(())
}

/// The median over rounds of each bench.
fn medians(rounds: &[Figures]) -> Figures {
    let mut all: BTreeMap<&String, Vec<Figure>> = BTreeMap::new();
    for (id, figure) in rounds.iter().flatten() {
        all.entry(id).or_default().push(*figure);
    }
    let median = |mut figures: Vec<Figure>| {
        figures.sort_by(|a, b| a.median_seconds.total_cmp(&b.median_seconds));
        figures[figures.len() / 2]
    };
    all.into_iter()
        .map(|(id, figures)| (id.clone(), median(figures)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_figures_are_read_and_other_lines_ignored() {
        let line = r#"{"bench": "train/step", "median_seconds": 0.5, "tokens": 1024}"#;
        let figure = Figure {
            median_seconds: 0.5,
            tokens: Some(1024.0),
        };
        assert_eq!(printed(line), Some(("train/step".to_owned(), figure)));
        assert_eq!(printed("running 3 tests"), None);
        assert_eq!(printed(r#"{"bench": "no figure"}"#), None);
    }

    #[test]
    fn figures_of_criterion_are_found_by_their_id() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("losses/ce/new");
        fs::create_dir_all(&new).unwrap();
        fs::write(
            new.join("benchmark.json"),
            r#"{"full_id": "losses/ce", "throughput": {"Elements": 8}}"#,
        )
        .unwrap();
        fs::write(
            new.join("estimates.json"),
            r#"{"median": {"point_estimate": 2000000.0}}"#,
        )
        .unwrap();
        let mut figures = Figures::new();
        criterion_figures(folder.path(), SystemTime::UNIX_EPOCH, &mut figures).unwrap();
        assert_eq!(
            figures["losses/ce"],
            Figure {
                median_seconds: 0.002,
                tokens: Some(8.0)
            }
        );
    }

    #[test]
    fn the_median_is_taken_over_rounds() {
        let round = |seconds| {
            Figures::from([(
                "x".to_owned(),
                Figure {
                    median_seconds: seconds,
                    tokens: None,
                },
            )])
        };
        let figures = medians(&[round(3.0), round(1.0), round(2.0)]);
        assert_eq!(figures["x"].median_seconds.to_bits(), 2.0_f64.to_bits());
    }
}
