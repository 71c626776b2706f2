//! What happens to a run from outside: killed, interrupted twice, moved to a disk that cannot be
//! written, given another clock or another text.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use sinterlm::config::KeyRng;
use sinterlm::trainer::{find_checkpoint, list_checkpoints};

use crate::damage::SmallDisk;
use crate::harness::{
    Ended, content, copy_before_the_end, copy_tree, curve, end, figures, finished, json, metrics,
    resume, signal, smoke, valid_loss, wait_for_lines,
};

/// Steps between two checkpoints of the runs that are killed.
const EVERY: u64 = 2;

/// A run that saves often, evaluates and samples.
fn busy(out: &Path) -> Command {
    let mut command = smoke(out);
    let keys = [
        "log.every_steps=1",
        &format!("checkpoint.every_steps={EVERY}"),
        "checkpoint.keep_best=true",
        "eval.every_steps=7",
        "eval.samples_every_steps=9",
    ];
    command.args(keys.into_iter().flat_map(|key| ["--set", key]));
    command
}

/// Whether a checkpoint is being written, or was when its process died.
fn is_saving(run: &Path) -> bool {
    let entries = fs::read_dir(run.join("checkpoints"));
    let mut names = entries.into_iter().flatten().flatten();
    names.any(|entry| entry.file_name().to_string_lossy().starts_with(".staging"))
}

#[test]
fn a_run_killed_again_and_again_loses_little_and_ends_as_the_unbroken_one() {
    let kills = std::env::var("SINTERLM_KILLS").map_or(10, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let unbroken = folder.path().join("unbroken");
    end(&mut busy(&unbroken)).done();
    let weights = |run: &Path| fs::read(run.join("model/model.safetensors")).unwrap();
    let mut rng = KeyRng::new(4);
    let (mut killed, mut in_saving, mut runs, mut lost) = (0, 0, 0, 0);
    let mut run = folder.path().join("run-0");
    loop {
        let mut command = if run.join("config.toml").is_file() {
            resume(&run)
        } else {
            busy(&run)
        };
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        // At a random moment, or as soon as a checkpoint is being written.
        let (chance, delay) = (rng.next_f32() < 0.5, rng.next_f32());
        let until = Duration::from_secs_f32(if chance { 1.2 * delay } else { 20.0 });
        while killed < kills && start.elapsed() < until && (chance || !is_saving(&run)) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            sleep(Duration::from_micros(300));
        }
        if !chance {
            sleep(Duration::from_secs_f32(0.01 * delay));
        }
        if killed < kills && child.try_wait().unwrap().is_none() {
            child.kill().unwrap(); // SIGKILL
            child.wait().unwrap();
            killed += 1;
            in_saving += u64::from(is_saving(&run));
            lost += check_the_dead(&run);
            continue;
        }
        Ended::from(child.wait_with_output().unwrap()).done();
        assert_eq!(figures(&run), figures(&unbroken), "{}", run.display());
        assert!(weights(&run) == weights(&unbroken), "{}", run.display());
        assert_eq!(valid_loss(&run), valid_loss(&unbroken));
        let texts = |run: &Path| fs::read_to_string(run.join("samples.md")).unwrap();
        assert_eq!(texts(&run), texts(&unbroken));
        assert!(!is_saving(&run), "an unfinished checkpoint was left");
        runs += 1;
        if killed == kills {
            break;
        }
        run = folder.path().join(format!("run-{runs}"));
    }
    println!("{killed} kills, {in_saving} of them in saving, {lost} steps lost, {runs} runs equal");
}

/// What a killed run left: every checkpoint whole, and none but the newest steps missing from
/// them. Gives their number.
fn check_the_dead(run: &Path) -> u64 {
    let (newest, broken) = find_checkpoint(&run.join("checkpoints"));
    assert!(broken.is_empty(), "{broken:?}");
    let saved = newest.map_or(0, |checkpoint| checkpoint.state.number("step"));
    if !run.join("metrics.jsonl").is_file() {
        return 0;
    }
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["step"].as_u64();
    let done = text.lines().filter_map(step).max().unwrap_or(0);
    // One checkpoint may have been in the making.
    assert!(
        done <= saved + 2 * EVERY,
        "{done} steps done, {saved} saved"
    );
    done.saturating_sub(saved)
}

#[test]
fn a_second_ctrl_c_ends_the_run_within_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = smoke(&run);
    command.args(["--set", "trainer.grad_accum_steps=4000"]); // a step of many seconds
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !run.join("tokenizer.json").is_file() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(200));
    signal(child.id(), "INT");
    sleep(Duration::from_millis(100));
    assert!(
        child.try_wait().unwrap().is_none(),
        "the step in hand is finished"
    );
    let second = Instant::now();
    signal(child.id(), "INT");
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.status, 130);
    assert!(second.elapsed() < Duration::from_secs(2));
    assert!(!ended.out.contains("stopped after"), "{}", ended.out);
    // The lock died with the process.
    let again = end(resume(&run).arg("--plan")).done();
    assert!(again.out.contains("starting at step 0"), "{}", again.out);
}

#[test]
fn a_disk_that_cannot_be_written_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        eprintln!("skipped: a read-only disk needs root and mount");
        return;
    };
    disk.enlarge();
    let run = folder.path().join("run");
    copy_tree(&finished().0, &run);
    fs::remove_file(run.join("summary.json")).unwrap();
    disk.make_read_only();
    end(&mut resume(&run)).refused(2, &[run.to_str().unwrap(), "Read-only file system"]);
    let new = folder.path().join("new");
    end(&mut smoke(&new)).refused(2, &[new.to_str().unwrap(), "another --out"]);
}

/// The library that gives a program another clock, of the package `libfaketime`.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// A program whose wall clock is off by what `file` says at each moment.
fn with_clock<'a>(command: &'a mut Command, library: &str, file: &Path) -> &'a mut Command {
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
}

/// The wall times of the events in a run's files for TensorBoard, in the order of files and events.
fn event_times(run: &Path) -> Vec<f64> {
    let mut times = Vec::new();
    for bytes in content(&run.join("tensorboard")).values() {
        let mut rest = &bytes[..];
        while let Some((length, record)) = rest.split_first_chunk::<8>() {
            // Length, its checksum, the event, its checksum; field 1 of an event is a double.
            assert_eq!(record[4], 9);
            times.push(f64::from_le_bytes(record[5..13].try_into().unwrap()));
            rest = &record[8 + u64::from_le_bytes(*length) as usize..];
        }
    }
    times
}

#[test]
fn a_clock_set_back_during_a_run_changes_nothing() {
    let exists = |path: &&str| Path::new(path).is_file();
    let Some(library) = FAKETIME.into_iter().find(exists) else {
        eprintln!("skipped: no libfaketime on this machine");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (run, clock) = (folder.path().join("run"), folder.path().join("clock"));
    fs::write(&clock, "+0").unwrap();
    let begun = Instant::now();
    let keys = [
        "trainer.max_steps=300",
        "schedule.kind=constant", // can be lengthened
        "checkpoint.every_steps=0",
        "checkpoint.every_seconds=1",
        "checkpoint.keep_last=2",
    ];
    let mut command = smoke(&run);
    command.args(keys.into_iter().flat_map(|key| ["--set", key]));
    let child = with_clock(&mut command, library, &clock)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_lines(&run, 2);
    fs::write(&clock, "-7200").unwrap();
    let logged = metrics(&run).len() as u64;
    // The lock is no matter of time.
    end(with_clock(&mut resume(&run), library, &clock)).refused(2, &["process"]);
    Ended::from(child.wait_with_output().unwrap()).done();
    let took = begun.elapsed().as_secs_f64();

    let record = json(&run.join("run.json"));
    let (started, ended) = (&record["started_utc"], &record["ended_utc"]);
    assert!(started.as_str() <= ended.as_str(), "{started} to {ended}");
    let seconds = json(&run.join("summary.json"))["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds <= took, "{seconds} of {took}");
    let rates = curve(&run, "train/tokens_per_second");
    assert!(rates.iter().all(|(_, rate)| *rate > 0.0), "{rates:?}");
    // By time it is saved on, and of the checkpoints those of the highest steps stay, although they
    // look older than those before them.
    let steps: Vec<u64> = list_checkpoints(&run.join("checkpoints"))
        .iter()
        .map(|path| json(&path.join("trainer.json"))["step"].as_u64().unwrap())
        .collect();
    assert_eq!((steps.len(), steps[1]), (2, 300), "{steps:?}");
    assert!(seconds < 3.0 || steps[0] > 10 * logged, "{steps:?}");

    let more = ["--set", "trainer.max_steps=310"];
    end(with_clock(resume(&run).args(more), library, &clock)).done();
    assert_eq!(json(&run.join("summary.json"))["steps"], 310);
    let times = event_times(&run);
    let first_run = times.iter().take_while(|time| **time >= times[0]);
    // The process that came last began in the past.
    assert!(first_run.clone().is_sorted());
    assert!(first_run.count() >= 30, "{times:?}");
}

#[test]
fn a_clock_that_was_ahead_changes_nothing() {
    let (_folder, run) = copy_before_the_end();
    fs::remove_dir_all(run.join("checkpoints/step-00000060")).unwrap();
    let before = json(&run.join("checkpoints/step-00000030/trainer.json"));
    let seconds: f64 = before["seconds"].as_str().unwrap().parse().unwrap();
    let record = run.join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(
        &record,
        text.replace("\"started_utc\": \"2", "\"started_utc\": \"9"),
    )
    .unwrap();
    let future = SystemTime::now() + Duration::from_hours(24 * 365);
    for folder in [run.clone(), run.join("checkpoints/step-00000030")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            File::open(path).unwrap().set_modified(future).unwrap();
        }
    }
    end(&mut resume(&run)).done();
    assert_eq!(valid_loss(&run), valid_loss(&finished().0));
    assert_eq!(figures(&run), figures(&finished().0));
    let total = json(&run.join("summary.json"))["seconds"].as_f64().unwrap();
    assert!(
        seconds < total && total < seconds + 600.0,
        "{seconds} and then {total}"
    );
    let rates = curve(&run, "train/tokens_per_second");
    assert!(rates.iter().all(|(_, rate)| *rate > 0.0), "{rates:?}");
}

#[test]
fn a_text_that_changed_is_refused_by_file_and_accepted_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let text = folder.path().join("text");
    fs::create_dir(&text).unwrap();
    let write = |name: &str, stories: usize| {
        let stories: Vec<_> = (0..stories)
            .map(|i| format!("The {name} ran home with {i} bones."))
            .collect();
        fs::write(text.join(name), stories.join("<|endoftext|>")).unwrap();
    };
    write("dog", 300);
    write("cat", 300);
    let until = |steps: u64| format!("trainer.max_steps={steps}");
    let mut command = smoke(&run);
    command.arg("--train").arg(&text);
    let keys = [
        "tokenizer.vocab_size=257",
        "schedule.kind=constant",
        "schedule.warmup_steps=2",
        "log.every_steps=1",
        &until(4),
    ];
    end(command.args(keys.into_iter().flat_map(|key| ["--set", key]))).done();
    let go_on = |steps| {
        let mut command = resume(&run);
        command.args(["--set", &until(steps)]);
        command
    };
    let tokenizer = fs::read(run.join("tokenizer.json")).unwrap();
    let trained_on = |record: &serde_json::Value| record["data"].as_str().unwrap().to_owned();
    let old = trained_on(&json(&run.join("run.json")));

    write("dog", 310);
    write("pig", 100);
    fs::remove_file(text.join("cat")).unwrap();
    let told = |name: &str, what: &str| format!("{}: {what}", text.join(name).display());
    end(&mut go_on(6)).refused(
        2,
        &[
            "no longer what the run began with",
            "--accept-changed-data",
            &told("cat", "is gone"),
            &told("dog", "has "),
            &told("pig", "is new"),
        ],
    );
    assert_eq!(curve(&run, "train/loss").last().unwrap().0, 4);
    end(go_on(6).arg("--accept-changed-data")).done();
    let record = json(&run.join("run.json"));
    assert_ne!(trained_on(&record), old);
    assert_eq!(trained_on(&record["earlier"][0]), old);
    assert_eq!(fs::read(run.join("tokenizer.json")).unwrap(), tokenizer);
    end(&mut go_on(8)).done(); // what was accepted is the run's text from then on

    fs::remove_dir_all(&text).unwrap();
    let gone = end(&mut go_on(10));
    gone.refused(2, &[text.to_str().unwrap(), "no such file or folder"]);
}
