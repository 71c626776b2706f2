//! Fine-tuning as users run it: what a run leaves, what kills and signals do to it, and bad input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use sinterlm::config::KeyRng;
use sinterlm::trainer::find_checkpoint;

use crate::harness::{Ended, end, figures, json, program, signal, wait_for_lines};

const PROGRAMS: [&str; 2] = ["finetune_classifier", "finetune_instructions"];

/// A quiet run of a program's smoke config, not yet started; its base model is trained first, once.
fn smoke(name: &str, out: &Path) -> Command {
    static BASE: OnceLock<()> = OnceLock::new();
    let command = |out: &Path| {
        let mut command = program(name);
        let config = format!("configs/smoke/{name}.toml");
        command.args(["--config", &config, "--offline", "--quiet", "--out"]);
        command.arg(out);
        command
    };
    BASE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut first = command(&folder.path().join("first"));
        end(first.args(["--set", "trainer.max_steps=4"])).done();
    });
    command(out)
}

/// One that logs and saves often.
fn busy(name: &str, out: &Path) -> Command {
    let mut command = smoke(name, out);
    let keys = ["log.every_steps=1", "checkpoint.every_steps=3"];
    command.args(keys.into_iter().flat_map(|key| ["--set", key]));
    command
}

fn resume(name: &str, dir: &Path) -> Command {
    let mut command = program(name);
    command.args(["--offline", "--quiet", "--resume"]).arg(dir);
    command
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("model/model.safetensors")).unwrap()
}

fn piped(mut command: Command) -> std::process::Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The unbroken run of a program, made once; look at it, change nothing.
fn unbroken(name: &'static str) -> PathBuf {
    static RUNS: [OnceLock<tempfile::TempDir>; 2] = [const { OnceLock::new() }; 2];
    let at = PROGRAMS.iter().position(|known| *known == name).unwrap();
    let folder = RUNS[at].get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        end(&mut busy(name, &folder.path().join("run"))).done();
        folder
    });
    folder.path().join("run")
}

#[test]
fn a_run_leaves_every_file_of_the_contract_and_figures_of_held_out_records() {
    for name in PROGRAMS {
        let run = unbroken(name);
        for file in [
            "config.toml",
            "run.json",
            "metrics.jsonl",
            "summary.json",
            "loss.png",
            "report.html",
            "tokenizer.json",
            "passport.json",
            "model/config.json",
            "model/model.safetensors",
            "model/tokenizer.json",
            "model/training_data.json",
            "checkpoints/step-00000040/training_data.json",
        ] {
            assert!(run.join(file).is_file(), "{name}: {file}");
        }
        assert!(!run.join("prefix").exists());
        let report = fs::read_to_string(run.join("report.html")).unwrap();
        assert!(
            report.contains("neither training nor any choice has seen"),
            "{name}"
        );
    }
    let test = &json(&unbroken(PROGRAMS[0]).join("summary.json"))["test"];
    for figure in [
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "confusion",
        "bag_of_words",
    ] {
        assert!(!test[figure].is_null(), "{figure}: {test}");
    }
    let test = &json(&unbroken(PROGRAMS[1]).join("summary.json"))["test"];
    for figure in [
        "exact_match",
        "exact_match_low",
        "exact_match_high",
        "count",
        "ended_by_eos",
        "rouge_l",
        "majority",
        "held_out",
        "before",
        "tasks",
    ] {
        assert!(!test[figure].is_null(), "{figure}: {test}");
    }
}

#[test]
fn a_run_killed_again_and_again_ends_as_the_unbroken_one() {
    let mut rng = KeyRng::new(9);
    for name in PROGRAMS {
        let unbroken = unbroken(name);
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        for kill in 0..5 {
            let command = if run.join("config.toml").is_file() {
                resume(name, &run)
            } else {
                busy(name, &run)
            };
            let mut child = piped(command);
            sleep(Duration::from_secs_f32(0.05 + 0.5 * rng.next_f32()));
            if kill == 4 || child.try_wait().unwrap().is_some() {
                Ended::from(child.wait_with_output().unwrap()).done();
                continue;
            }
            child.kill().unwrap(); // SIGKILL
            child.wait().unwrap();
            let (_, broken) = find_checkpoint(&run.join("checkpoints"));
            assert!(broken.is_empty(), "{broken:?}");
        }
        assert_eq!(figures(&run), figures(&unbroken), "{name}");
        assert!(weights(&run) == weights(&unbroken), "{name}");
        let test = |run: &Path| json(&run.join("summary.json"))["test"].clone();
        assert_eq!(test(&run), test(&unbroken));
        // Once more: it is finished.
        let again = end(&mut resume(name, &run)).done();
        assert!(again.out.contains("this run is finished"), "{}", again.out);
    }
}

#[test]
fn a_signal_ends_a_run_with_a_checkpoint_and_the_command_to_resume() {
    for (name, kind, status) in [(PROGRAMS[0], "INT", 130), (PROGRAMS[1], "TERM", 143)] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut command = busy(name, &run);
        command.args(["--set", "trainer.max_steps=4000"]);
        let child = piped(command);
        wait_for_lines(&run, 2);
        signal(child.id(), kind);
        let ended = Ended::from(child.wait_with_output().unwrap());
        assert_eq!(ended.status, status, "{}\n{}", ended.out, ended.err);
        assert!(
            ended.out.contains(&format!("{name} --resume ")),
            "{}",
            ended.out
        );
        let (checkpoint, broken) = find_checkpoint(&run.join("checkpoints"));
        assert!(checkpoint.is_some() && broken.is_empty());
        assert!(!run.join("summary.json").exists());
    }
}

#[test]
fn frozen_blocks_are_cached_while_a_run_lasts() {
    let folder = tempfile::tempdir().unwrap();
    for name in PROGRAMS {
        let out = folder.path().join(name);
        let mut command = busy(name, &out);
        let keys = ["trainable.parts=last_blocks", "trainer.max_steps=10"];
        command.args(keys.into_iter().flat_map(|key| ["--set", key]));
        let ended = end(&mut command).done();
        let said = "prefix: the first 1 of 2 blocks are frozen";
        assert!(ended.out.contains(said), "{}", ended.out);
        assert!(!out.join("prefix").exists());
        // A plan says what it takes, too, and writes nothing.
        let plan = folder.path().join("plan");
        let mut command = smoke(name, &plan);
        command.args(["--plan", "--set", "trainable.parts=last_blocks"]);
        let ended = end(&mut command).done();
        assert!(
            ended.out.contains(said) && ended.out.contains("plan: "),
            "{}",
            ended.out
        );
        assert!(!plan.exists());
    }
}

#[test]
fn bad_input_is_named_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let broken = write(
        "broken.jsonl",
        "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\"\n",
    );
    let one = write(
        "one.csv",
        "text,label\nhello there,ham\nhello you,ham\nbye,ham\n",
    );
    let answers = write(
        "answers.jsonl",
        "{\"instruction\": \"Say yes.\", \"output\": \"\"}\n",
    );
    let [classifier, instructions] = PROGRAMS;
    let cases: [(&str, &[&str], &[&str]); 7] = [
        (
            classifier,
            &["--train", &broken],
            &["broken.jsonl", "line 2"],
        ),
        (
            classifier,
            &["--train", &one],
            &["all training records are `ham`"],
        ),
        (
            classifier,
            &["--train", "nowhere.tsv"],
            &["nowhere.tsv", "no such file"],
        ),
        (classifier, &["--test", &one], &["without --train"]),
        (classifier, &["--set", "classes.pol=mean"], &["pool"]),
        (
            instructions,
            &["--train", &answers],
            &["answers.jsonl", "output"],
        ),
        (
            instructions,
            &["--set", "rows.template.kind=alpca"],
            &["alpaca"],
        ),
    ];
    for (name, options, words) in cases {
        let out = folder.path().join("out");
        let ended = end(smoke(name, &out).args(options));
        ended.refused(2, words);
        assert!(!out.exists(), "{options:?} left a folder");
    }
    let run = unbroken(classifier);
    let ended = end(resume(classifier, &run).args(["--test", &one]));
    ended.refused(2, &["--resume", "--test"]);
}
