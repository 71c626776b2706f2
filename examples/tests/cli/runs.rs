//! What a whole run prints and leaves, and what its model and config are good for.

use std::fs;
use std::process::Stdio;

use crate::harness::{content, curve, end, finished, json, metrics, program, smoke};

#[test]
fn a_run_leaves_every_file_of_the_contract() {
    let (run, ended) = finished();
    let mut lines = ended.out.lines();
    assert!(
        lines.next().unwrap().starts_with("device: "),
        "{}",
        ended.out
    );
    let data = lines.next().unwrap();
    assert!(
        data.starts_with("data: 300 generated stories (seed 1)"),
        "{data}"
    );
    assert!(
        ended.out.contains("\nsample: Once upon a time"),
        "{}",
        ended.out
    );
    for file in [
        "config.toml",
        "run.json",
        "metrics.jsonl",
        "summary.json",
        "samples.md",
        "loss.png",
        "report.html",
        "tensorboard",
        "tokenizer.json",
        "checkpoints/step-00000030/manifest.json",
        "checkpoints/step-00000060/manifest.json",
        "model/config.json",
        "model/model.safetensors",
    ] {
        assert!(
            fs::metadata(run.join(file)).is_ok_and(|file| file.len() > 0),
            "{file}"
        );
    }
    let left: Vec<_> = fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let strange = |name: &&std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.ends_with(".part") || name.starts_with(".staging")
    };
    assert!(!left.iter().any(|name| strange(&name)), "{left:?}");

    let summary = json(&run.join("summary.json"));
    assert_eq!(
        (&summary["schema"], &summary["kind"]),
        (&1.into(), &"pretrain".into())
    );
    assert_eq!(
        (&summary["steps"], &summary["tokens"]),
        (&60.into(), &30720.into())
    );
    for key in ["seconds", "tokens_per_second"] {
        assert!(summary[key].as_f64().unwrap() > 0.0, "{key}");
    }
    let valid = &summary["valid"];
    let (loss, nats) = (
        valid["loss"].as_f64().unwrap(),
        valid["tokens"].as_f64().unwrap(),
    );
    let bits = loss * nats / std::f64::consts::LN_2 / valid["bytes"].as_f64().unwrap();
    assert!((bits - valid["bits_per_byte"].as_f64().unwrap()).abs() < 1e-9);
    assert!((loss.exp() - valid["perplexity"].as_f64().unwrap()).abs() < 1e-9);
    let gate = &summary["gates"][0];
    assert_eq!(gate["name"], "perplexity_per_gpt2_token");
    assert_eq!(gate["value"], valid["perplexity_per_gpt2_token"]);
    assert_eq!(
        (&gate["target"], &gate["passed"]),
        (&40.0.into(), &false.into())
    );

    let provenance = json(&run.join("run.json"));
    for key in [
        "version",
        "command_line",
        "device",
        "dtype",
        "threads",
        "seed",
        "started_utc",
        "ended_utc",
        "data",
        "tokenizer",
    ] {
        assert!(!provenance[key].is_null(), "{key}");
    }
    let logged = metrics(run);
    let steps = |line: &&serde_json::Value| line.get("train/loss").is_some();
    assert_eq!(logged.iter().filter(steps).count(), 6);
    for line in logged.iter().filter(steps) {
        for key in [
            "tokens",
            "train/lr",
            "train/grad_norm",
            "train/tokens_per_second",
        ] {
            assert!(line[key].is_number(), "{key} in {line}");
        }
    }
    assert_eq!(curve(run, "valid/loss").last().unwrap(), &(60, loss));
}

#[test]
fn the_config_of_a_run_repeats_it_bit_for_bit() {
    let (run, _) = finished();
    let folder = tempfile::tempdir().unwrap();
    let again = folder.path().join("again");
    let mut command = program("pretrain_tinystories");
    command
        .arg("--config")
        .arg(run.join("config.toml"))
        .arg("--out")
        .arg(&again);
    end(command.args(["--offline", "--quiet"])).done();
    for figure in ["train/loss", "train/grad_norm", "valid/loss"] {
        assert_eq!(curve(run, figure), curve(&again, figure), "{figure}");
    }
    let weights = |run: &std::path::Path| fs::read(run.join("model/model.safetensors")).unwrap();
    assert_eq!(weights(run), weights(&again));
}

#[test]
fn generate_continues_the_prompt_and_repeats_itself() {
    let (run, _) = finished();
    let folder = tempfile::tempdir().unwrap();
    let text = |seed: &str| {
        let mut command = program("generate");
        command
            .arg("--model")
            .arg(run)
            .args(["--prompt", "Once upon a time", "--seed", seed]);
        let quiet = [
            "--max-new-tokens",
            "30",
            "--quiet",
            "--threads",
            "1",
            "--out",
        ];
        let ended = end(command.args(quiet).arg(folder.path())).done();
        assert!(ended.out.starts_with("Once upon a time"), "{}", ended.out);
        assert_eq!(ended.err, "");
        ended.out
    };
    assert_eq!(text("4"), text("4"));
    assert_ne!(text("4"), text("5"));
    assert_eq!(
        json(&folder.path().join("summary.json"))["kind"],
        "generate"
    );
}

#[test]
fn generate_refuses_a_prompt_that_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = folder.path().join("prompt");
    fs::write(&prompt, b"Once \xff").unwrap();
    let mut command = program("generate");
    command.stdin(fs::File::open(prompt).unwrap());
    let ended = end(command.arg("--model").arg(&finished().0));
    ended.refused(2, &["stdin: byte 5 is not UTF-8", "--prompt"]);
    assert_eq!(ended.out, "");
}

#[test]
fn a_folder_that_holds_a_run_is_refused_with_both_ways_on() {
    let (run, _) = finished();
    let before = content(run);
    let ways = [
        format!("--resume {}", run.display()),
        "another --out".to_owned(),
    ];
    let ended = end(&mut smoke(run));
    ended.refused(2, &["already holds a run", &ways[0], &ways[1]]);
    assert_eq!(content(run), before);
}

#[test]
fn a_reader_that_leaves_ends_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = smoke(&folder.path().join("planned"));
    let mut child = command
        .arg("--plan")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
