//! What a person sees of a run: the plan before it, and its files to watch and to look back on.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::harness::{
    content, copy_before_the_end, copy_tree, curve, end, finished, json, program, resume, signal,
    smoke, wait_for_lines,
};

fn event_files(run: &Path) -> usize {
    fs::read_dir(run.join("tensorboard")).unwrap().count()
}

fn report(run: &Path) -> String {
    fs::read_to_string(run.join("report.html")).unwrap()
}

#[test]
fn a_finished_run_has_event_files_and_a_report_with_all_its_parts() {
    let (run, _) = finished();
    assert_eq!(event_files(run), 1);
    let page = report(run);
    for part in [
        ">finished</span>",
        "aria-label=\"Loss\"",
        "aria-label=\"Memory\"",
        "badge bad\">failed",
        "<b>Once upon a time</b>",
        "kind = &quot;stories&quot;",
        "instruction_set",
    ] {
        assert!(page.contains(part), "no {part}");
    }
}

#[test]
fn a_run_gone_on_with_has_a_report_at_each_end_and_events_for_each_process() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("stopped");
    let mut command = smoke(&run);
    command.args([
        "--set",
        "trainer.max_steps=400",
        "--set",
        "schedule.kind=constant",
    ]);
    let child = command
        .args(["--set", "log.every_steps=1", "--set", "eval.every_steps=0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&run, 2);
    signal(child.id(), "TERM");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
    assert!(report(&run).contains("not finished, last logged step "));
    end(&mut resume(&run)).done();
    assert!(report(&run).contains(">finished</span>"));
    assert_eq!(event_files(&run), 2);
    // For looking at the result with other programs.
    if let Some(keep) = std::env::var_os("SINTERLM_KEEP_RUN") {
        copy_tree(&run, Path::new(&keep));
    }
}

#[test]
fn config_and_provenance_alone_repeat_a_run_elsewhere() {
    let (run, _) = finished();
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.toml", "run.json"] {
        fs::copy(run.join(name), folder.path().join(name)).unwrap();
    }
    let facts = json(&folder.path().join("run.json"));
    for key in [
        "version",
        "rustc",
        "target",
        "burn",
        "instruction_set",
        "command_line",
        "device",
        "dtype",
        "threads",
        "seed",
        "data",
        "tokenizer",
        "started_utc",
        "ended_utc",
    ] {
        assert!(!facts[key].is_null(), "{key}");
    }
    // Present where the sources are a git repository, as they are where this is developed.
    assert_eq!(facts["git_commit"].is_null(), facts["git_dirty"].is_null());

    let cache = format!("data.cache_dir={}", folder.path().join("cache").display());
    let mut command = program("pretrain_tinystories");
    command
        .current_dir(folder.path())
        .args([
            "--config",
            "config.toml",
            "--out",
            "again",
            "--offline",
            "--quiet",
        ])
        .args(["--device", facts["device"].as_str().unwrap()])
        .args(["--threads", &facts["threads"].to_string()])
        .args(["--set", &cache]);
    end(&mut command).done();
    let again = folder.path().join("again");
    assert_eq!(curve(run, "train/loss"), curve(&again, "train/loss"));
    let weights = |run: &Path| fs::read(run.join("model/model.safetensors")).unwrap();
    assert!(weights(run) == weights(&again), "other weights");
    let repeated = json(&again.join("run.json"));
    for key in [
        "data",
        "tokenizer",
        "dtype",
        "seed",
        "threads",
        "instruction_set",
    ] {
        assert_eq!(facts[key], repeated[key], "{key}");
    }
}

#[test]
fn what_a_run_is_told_not_to_write_it_does_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let keys = [
        "trainer.max_steps=12",
        "log.tensorboard=false",
        "log.plot=false",
        "log.report=false",
    ];
    let mut command = smoke(&run);
    end(command.args(keys.into_iter().flat_map(|key| ["--set", key]))).done();
    for name in ["tensorboard", "loss.png", "report.html"] {
        assert!(!run.join(name).exists(), "{name}");
    }
    assert_eq!(json(&run.join("run.json"))["status"], "finished");
    assert!(!curve(&run, "train/loss").is_empty());
}

/// Megabytes behind some words of a plan.
fn mib(plan: &str, words: &str) -> f64 {
    let rest = plan
        .split(words)
        .nth(1)
        .unwrap_or_else(|| panic!("no {words} in {plan}"));
    let number = rest.trim_start().split(' ').next().unwrap();
    number.parse().unwrap()
}

#[test]
fn the_peak_that_a_plan_foretells_is_that_of_the_run_whoever_prepared_the_text() {
    // Large enough to weigh more than the program.
    let sizes = [
        "model.d_model=256",
        "model.n_layers=3",
        "trainer.max_steps=5",
        "trainer.micro_batch_size=24",
        "schedule.warmup_steps=1",
        "checkpoint.every_steps=0",
        "sample.max_new_tokens=4",
    ];
    let (folder, own) = (tempfile::tempdir().unwrap(), finished());
    assert_eq!(own.1.status, 0, "it has prepared the text that others find");
    for cache in [None, Some(folder.path().join("cache"))] {
        let command = |name: &str| {
            let mut command = smoke(&folder.path().join(name));
            command.args(sizes.into_iter().flat_map(|key| ["--set", key]));
            if let Some(cache) = &cache {
                let _ = fs::remove_dir_all(cache);
                command.env("XDG_CACHE_HOME", cache);
            }
            command
        };
        let which = if cache.is_some() { "new" } else { "known" };
        let plan = end(command(which).arg("--plan")).done().out;
        end(&mut command(which)).done();
        let summary = json(&folder.path().join(which).join("summary.json"));
        let Some(measured) = summary["peak_memory_bytes"].as_f64() else {
            return; // only Linux tells
        };
        let ratio = mib(&plan, "peak about") * f64::from(1 << 20) / measured;
        eprintln!("{which} text: {ratio:.2} of {measured}");
        assert!((0.87..1.15).contains(&ratio), "{which}: {ratio}\n{plan}");
    }
}

#[test]
fn a_plan_tells_sizes_time_and_rows_and_changes_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("planned");
    let ended = end(smoke(&out).arg("--plan")).done();
    for part in [
        "plan: 60 steps of 1 x 8 rows of 64 tokens: 30720 tokens, ",
        "plan: 136960 parameters are trained, 0 are frozen",
        "plan: memory in MiB: weights 0.5, moments ",
        ", gradients ",
        ", activations ",
        ", a chunk of logits 1.0",
        "plan: largest single buffer 1.0 MiB",
        "plan: peak about ",
        " MiB: program and data ",
        " MiB while a checkpoint is written beside training",
        "plan: probe: 3 steps of ",
        " for 60 steps (",
        "plan: first rows, trained tokens in [[ ]]",
        "plan: row 0: ",
        "plan: row 1: ",
    ] {
        assert!(ended.out.contains(part), "no {part} in:\n{}", ended.out);
    }
    assert!(!out.exists());

    let (_folder, run) = copy_before_the_end();
    fs::remove_dir_all(run.join("checkpoints/step-00000060")).unwrap();
    let before = content(&run);
    let ended = end(resume(&run).arg("--plan")).done();
    let rest = "plan: 30 steps of 1 x 8 rows of 64 tokens: 15360 tokens, ";
    assert!(ended.out.contains(rest), "{}", ended.out);
    assert!(content(&run) == before, "a plan changed the run");
}
