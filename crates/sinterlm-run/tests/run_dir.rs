//! Run directories: one process at a time, never overwritten, free again when the process is gone.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use sinterlm_run::{ExitStatus, RunDir, RunError};

// A child being spawned holds copies of this process's locks for a moment; so tests that lock
// take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_new_folder_gets_the_layout_and_its_config() {
    let _turn = TURN.lock();
    let runs = tempfile::tempdir().unwrap();
    let dir = RunDir::create(runs.path().join("a/b")).unwrap();
    dir.write_config("seed = 1\n").unwrap();
    assert_eq!(fs::read_to_string(dir.config_path()).unwrap(), "seed = 1\n");
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names = [
        dir.config_path(),
        dir.provenance_path(),
        dir.metrics_path(),
        dir.summary_path(),
        dir.samples_path(),
        dir.loss_plot_path(),
        dir.tokenizer_path(),
        dir.checkpoints_dir(),
        dir.model_dir(),
    ]
    .map(name);
    assert_eq!(
        names,
        [
            "config.toml",
            "run.json",
            "metrics.jsonl",
            "summary.json",
            "samples.md",
            "loss.png",
            "tokenizer.json",
            "checkpoints",
            "model"
        ]
    );
}

#[test]
fn a_folder_that_holds_a_run_is_refused_and_left_as_it_is() {
    let _turn = TURN.lock();
    let runs = tempfile::tempdir().unwrap();
    let path = runs.path().join("run");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("config.toml"), "old").unwrap();
    let error = RunDir::create(&path).unwrap_err();
    assert_eq!(error.exit_status(), ExitStatus::Unusable);
    let shown = path.display();
    assert_eq!(
        error.to_string(),
        format!(
            "{shown}: already holds a run, nothing was changed; \
             go on with it by --resume {shown} or start a new one in another --out"
        )
    );
    assert_eq!(fs::read_to_string(path.join("config.toml")).unwrap(), "old");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    assert!(RunDir::open_existing(&path).is_ok());
}

#[test]
fn a_folder_without_a_run_can_be_used_but_not_resumed() {
    let _turn = TURN.lock();
    let runs = tempfile::tempdir().unwrap();
    fs::write(runs.path().join("notes.txt"), "mine").unwrap();
    for path in [runs.path(), &runs.path().join("absent")] {
        let error = RunDir::open_existing(path).unwrap_err();
        assert!(matches!(error, RunError::NotARun { .. }));
        assert_eq!(error.exit_status().code(), 2);
    }
    assert!(RunDir::create(runs.path()).is_ok());
    let error = RunDir::create(runs.path().join("notes.txt")).unwrap_err();
    assert!(matches!(error, RunError::UnusableDir { .. }));
    assert_eq!(error.exit_status().code(), 2);
}

/// Run as a child process by the test below; on its own it has nothing to do.
#[test]
fn child_that_holds_a_run_directory() {
    let Some(path) = env::var_os("SINTERLM_LOCK_CHILD") else {
        return;
    };
    let dir = RunDir::create(Path::new(&path)).unwrap();
    dir.write_config("seed = 1\n").unwrap();
    eprintln!("\nready");
    thread::sleep(Duration::from_mins(1));
}

#[test]
fn a_lock_holds_as_long_as_its_process_lives() {
    let _turn = TURN.lock();
    let runs = tempfile::tempdir().unwrap();
    let path = runs.path().join("run");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_a_run_directory", "--nocapture"])
        .env("SINTERLM_LOCK_CHILD", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line == "ready"),
        "the child did not start"
    );

    let error = RunDir::open_existing(&path).unwrap_err();
    assert_eq!(error.exit_status().code(), 2);
    assert_eq!(
        error.to_string(),
        format!(
            "{}: in use by process {}; wait until it ends or choose another --out",
            path.display(),
            child.id()
        )
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(RunDir::open_existing(&path).is_ok());
}

#[test]
fn the_weights_of_a_run_are_its_final_model_or_its_newest_checkpoint() {
    let runs = tempfile::tempdir().unwrap();
    let run = runs.path();
    assert_eq!(RunDir::weights_in(run), None);
    let add = |name: &str| {
        fs::create_dir_all(run.join(name)).unwrap();
        fs::write(run.join(name).join("config.json"), "{}").unwrap();
        run.join(name)
    };
    add("checkpoints/broken-step-00000200");
    add("checkpoints/.staging-1-0-step-00000200");
    fs::create_dir_all(run.join("checkpoints/step-00000150")).unwrap(); // empty
    fs::create_dir_all(run.join("model")).unwrap();
    assert_eq!(RunDir::weights_in(run), None);
    add("checkpoints/step-00000090");
    let newest = add("checkpoints/step-00000100");
    assert_eq!(RunDir::weights_in(run), Some(newest));
    let last = add("model");
    assert_eq!(RunDir::weights_in(run), Some(last));
}
