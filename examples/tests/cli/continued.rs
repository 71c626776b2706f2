//! Runs that go on: after a signal, longer than planned, from the weights of another run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use sinterlm::data::Tokenizer;

use crate::harness::{
    Ended, SMOKE, content, copy_before_the_end, copy_of_finished, curve, end, figures, finished,
    json, program, resume, signal, smoke, valid_loss, wait_for_lines,
};

/// A schedule whose past does not depend on the run's length, so that it may be cut and lengthened.
const CONSTANT: [&str; 6] = [
    "--set",
    "schedule.kind=constant",
    "--set",
    "log.every_steps=1",
    "--set",
    "checkpoint.every_steps=0",
];

#[test]
fn a_run_stopped_by_sigterm_goes_on_as_if_unbroken_and_may_be_lengthened() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("stopped");
    let mut command = smoke(&run);
    command
        .args(CONSTANT)
        .args(["--set", "trainer.max_steps=100000"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_lines(&run, 3);
    signal(child.id(), "TERM");
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.status, 143, "{}", ended.err);
    let way_on = format!("--resume {}", run.display());
    let last = ended.out.lines().last().unwrap();
    assert!(
        last.starts_with("stopped after step ") && last.ends_with(&way_on),
        "{last}"
    );
    let steps = curve(&run, "train/loss").last().unwrap().0;
    assert!(
        run.join(format!("checkpoints/step-{steps:08}/manifest.json"))
            .is_file()
    );

    let until = |steps: u64| format!("trainer.max_steps={steps}");
    for more in [10, 20] {
        let harmless = ["--set", "log.every_tokens=9999999", "--threads", "1"];
        let mut command = resume(&run);
        end(command.args(["--set", &until(steps + more)]).args(harmless)).done();
    }
    let unbroken = folder.path().join("unbroken");
    end(smoke(&unbroken)
        .args(CONSTANT)
        .args(["--set", &until(steps + 20)]))
    .done();
    assert_eq!(valid_loss(&run), valid_loss(&unbroken));
    assert_eq!(curve(&run, "train/loss"), curve(&unbroken, "train/loss"));
    let weights = |run: &Path| fs::read(run.join("model/model.safetensors")).unwrap();
    assert_eq!(weights(&run), weights(&unbroken));
}

#[test]
fn a_run_directory_in_use_is_refused_and_ctrl_c_ends_the_run_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("busy");
    let mut command = smoke(&run);
    command
        .args(CONSTANT)
        .args(["--set", "trainer.max_steps=100000"])
        .args(["--threads", "2", "--device", "flex"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&run, 1);
    let holder = format!("in use by process {}", child.id());
    end(&mut resume(&run)).refused(
        2,
        &[&run.display().to_string(), &holder, "wait until it ends"],
    );
    signal(child.id(), "INT");
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.status, 130, "{}", ended.out);
    // The steps to come are the same ones only with as many threads.
    let way_on = " --threads 2 --device flex --resume ";
    assert!(ended.out.contains(way_on), "{}", ended.out);
}

#[test]
fn resuming_a_finished_run_says_so_and_changes_nothing() {
    let (_folder, run) = copy_of_finished();
    let before = content(&run);
    let ended = end(&mut resume(&run)).done();
    assert!(ended.out.contains("this run is finished"), "{}", ended.out);
    assert!(ended.out.contains("summary.json"), "{}", ended.out);
    assert_eq!(content(&run), before);
}

#[test]
fn a_resumed_run_takes_no_other_config_and_no_other_past() {
    let (_folder, run) = copy_of_finished();
    let before = content(&run);
    end(resume(&run).args(["--config", SMOKE])).refused(2, &["--config", "--resume"]);
    let changes = [
        "optimizer.beta2=0.9",
        "model.dropout=0.5",
        "trainer.max_steps=90",
    ];
    let changed = end(resume(&run).args(changes.iter().flat_map(|change| ["--set", change])));
    changed.refused(2, &["--set would change the 60 steps", "start a new run"]);
    changed.refused(2, &changes);
    changed.refused(2, &["the run has 0.95", "learning rates"]);
    let seed = end(resume(&run).args(["--seed", "9"]));
    seed.refused(2, &["--seed", "leave them out"]);
    assert_eq!(content(&run), before);
    let nothing = run.join("model");
    end(&mut resume(&nothing)).refused(2, &["model: holds no run", "give --resume"]);
}

#[test]
fn a_resumed_run_may_cut_the_rows_of_its_steps_up_in_another_way() {
    let (_folder, run) = copy_before_the_end();
    fs::remove_dir_all(run.join("checkpoints/step-00000060")).unwrap();
    let pieces = ["trainer.micro_batch_size=4", "trainer.grad_accum_steps=2"];
    let ended = end(resume(&run).args(pieces.iter().flat_map(|piece| ["--set", piece]))).done();
    for piece in pieces {
        assert!(ended.out.contains(piece), "{}", ended.out);
    }
    let close = |figure: &str| {
        let [ours, theirs] = [&run, &finished().0].map(|run| curve(run, figure));
        for (a, b) in ours.iter().zip(&theirs) {
            assert!(
                a.0 == b.0 && (a.1 - b.1).abs() < 0.01,
                "{figure}: {a:?} and {b:?}"
            );
        }
        assert_eq!(ours.len(), theirs.len(), "{figure}");
    };
    close("train/loss");
    close("valid/loss");
    assert_ne!(
        valid_loss(&run),
        valid_loss(&finished().0),
        "the pieces were the same"
    );
}

#[test]
fn continued_training_starts_at_the_loss_and_with_the_tokenizer_of_its_weights() {
    let (first, _) = finished();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("continued");
    // Another text, of which another tokenizer would be trained.
    let text = folder.path().join("text.txt");
    let stories: Vec<_> = (0..400)
        .map(|i| format!("The dog ran home with {i} bones."))
        .collect();
    fs::write(&text, stories.join("<|endoftext|>")).unwrap();
    let mut command = smoke(&run);
    command.arg("--model").arg(first).arg("--train").arg(&text);
    command.args([
        "--set",
        "trainer.max_steps=12",
        "--set",
        "log.every_steps=1",
    ]);
    let ended = end(command.args(["--set", "checkpoint.every_steps=0"])).done();
    let weights = format!("weights: {}", first.join("model").display());
    assert!(ended.out.contains(&weights), "{}", ended.out);
    let tokenizer = |run: &Path| fs::read(run.join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer(&run), tokenizer(first));

    // The same text: the loss goes on where it was.
    let same = folder.path().join("same");
    let mut command = smoke(&same);
    command
        .arg("--model")
        .arg(first)
        .args(["--set", "trainer.max_steps=1"]);
    end(command.args([
        "--set",
        "schedule.warmup_steps=1",
        "--set",
        "log.every_steps=1",
    ]))
    .done();
    let (before, after) = (
        curve(first, "train/loss")[5].1,
        curve(&same, "train/loss")[0].1,
    );
    assert!(
        (before - after).abs() < 0.3,
        "{before} and then {after}, ln(512) is 6.24"
    );

    // Without a checkpoint it starts again from its weights, not from drawn ones.
    let curve_before = curve(&run, "train/loss");
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    fs::remove_file(run.join("summary.json")).unwrap();
    let ended = end(&mut resume(&run)).done();
    assert!(ended.out.contains("starting at step 0") && ended.out.contains(&weights));
    assert_eq!(curve(&run, "train/loss"), curve_before);
}

#[test]
fn a_time_budget_becomes_steps_that_give_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let [by_time, by_steps, none] = ["time", "steps", "none"].map(|name| folder.path().join(name));
    let timed = end(smoke(&by_time).args(["--set", "trainer.budget_minutes=0.03"])).done();
    assert!(timed.out.contains("budget: "), "{}", timed.out);
    let config = fs::read_to_string(by_time.join("config.toml")).unwrap();
    assert!(!config.contains("budget_minutes"), "{config}");
    let line = config.lines().find(|line| line.starts_with("max_steps"));
    let steps = line.unwrap().replace(' ', "");
    end(smoke(&by_steps).args(["--set", &format!("trainer.{steps}")])).done();
    assert_eq!(
        config,
        fs::read_to_string(by_steps.join("config.toml")).unwrap()
    );
    assert_eq!(figures(&by_time), figures(&by_steps));
    let weights = |run: &Path| fs::read(run.join("model/model.safetensors")).unwrap();
    assert!(weights(&by_time) == weights(&by_steps));
    assert_eq!(json(&by_time.join("run.json"))["budget_minutes"], 0.03);
    assert!(!by_time.join("probe").exists());

    end(smoke(&none).args(["--set", "trainer.budget_minutes=1e-6"]))
        .refused(2, &["trainer.budget_minutes", "hold no step", "raise it"]);
    assert!(!none.exists());
    end(resume(&by_time).args(["--set", "trainer.budget_minutes=5"]))
        .refused(2, &["trainer.budget_minutes=5", "trainer.max_steps = "]);
}

#[cfg(unix)]
#[test]
fn a_signal_before_the_first_step_ends_the_program_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // So many words that no two are alike take seconds to be read and learnt.
    let text = folder.path().join("text.txt");
    let word = |n: u64| format!("{:x}\n\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    fs::write(&text, (0..500_000).map(word).collect::<String>()).unwrap();
    let run = folder.path().join("run");
    for (name, status) in [("TERM", 143), ("INT", 130)] {
        let mut command = smoke(&run);
        command.arg("--train").arg(&text);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut first).unwrap();
        assert!(first.starts_with("device: "), "{first}");
        while !run.join(".lock").is_file() {
            sleep(Duration::from_millis(5));
        }
        sleep(Duration::from_millis(50));
        signal(child.id(), name);
        assert_eq!(child.wait().unwrap().code(), Some(status), "SIG{name}");
        assert!(!run.exists(), "nothing is left of it");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_leaves_nothing_of_a_plan_and_of_a_budgets_probe() {
    let folder = tempfile::tempdir().unwrap();
    for options in [&["--plan"][..], &[]] {
        let run = folder.path().join("run");
        let mut command = smoke(&run);
        let budget = [
            "--set",
            "trainer.budget_minutes=5",
            "--set",
            "trainer.grad_accum_steps=500",
        ];
        command.args(options).args(budget).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let notes = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut notes = notes.map(|line| line.unwrap());
        assert!(notes.any(|line| line.contains("timing steps")));
        sleep(Duration::from_millis(100));
        assert!(run.join(".lock").is_file());
        signal(child.id(), "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(143));
        assert!(!run.exists(), "{options:?}");
    }
}

#[test]
fn continued_training_takes_the_tokenizer_of_a_gguf() {
    let (first, _) = finished();
    let folder = tempfile::tempdir().unwrap();
    let (file, run) = (
        folder.path().join("x.gguf"),
        folder.path().join("continued"),
    );
    let mut export = program("export");
    end(export.arg("--model").arg(first).arg("--to").arg(&file)).done();
    let text = folder.path().join("text.txt");
    fs::write(&text, "The dog ran home with his bones. ".repeat(2000)).unwrap();
    let mut command = smoke(&run);
    command.arg("--model").arg(&file).arg("--train").arg(&text);
    let steps = [
        "--set",
        "trainer.max_steps=2",
        "--set",
        "schedule.warmup_steps=1",
    ];
    let ended = end(command.args(steps)).done();
    assert!(!ended.out.contains("without a tokenizer"), "{}", ended.out);
    let read = |path: &Path| Tokenizer::from_file(path).unwrap();
    let (ours, theirs) = (read(&run.join("tokenizer.json")), read(&file));
    assert_eq!(ours.fingerprint(), theirs.fingerprint());
}
