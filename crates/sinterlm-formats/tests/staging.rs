//! Staged folders: whole at their final path or not there at all, even when the process is killed.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use sinterlm_formats::{FormatError, StagedDir, remove_stale_staging, write_file_atomic};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn fill(staged: &StagedDir) {
    fs::create_dir(staged.path().join("inner")).unwrap();
    fs::write(staged.path().join("inner/weights"), "w").unwrap();
}

#[test]
fn a_committed_folder_stands_whole_at_its_final_path() {
    let dir = tempfile::tempdir().unwrap();
    let final_path = dir.path().join("checkpoints/step-1");
    let staged = StagedDir::create(&final_path).unwrap();
    fill(&staged);
    assert!(!final_path.exists());
    staged.commit().unwrap();
    assert_eq!(
        fs::read_to_string(final_path.join("inner/weights")).unwrap(),
        "w"
    );
    assert_eq!(names(&dir.path().join("checkpoints")), ["step-1"]);
}

#[test]
fn a_dropped_folder_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let staged = StagedDir::create(dir.path().join("step-1")).unwrap();
    fill(&staged);
    drop(staged);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_taken_final_path_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let final_path = dir.path().join("step-1");
    let staged = StagedDir::create(&final_path).unwrap();
    fs::create_dir(&final_path).unwrap();
    let error = staged.commit().unwrap_err();
    assert!(matches!(error, FormatError::AlreadyExists { .. }));
    assert!(
        error
            .to_string()
            .ends_with("already exists; remove it or choose another path")
    );
    assert!(StagedDir::create(&final_path).is_err());
    assert_eq!(names(dir.path()), ["step-1"]);
}

#[test]
fn a_sweep_spares_the_staging_of_the_living() {
    let dir = tempfile::tempdir().unwrap();
    let staged = StagedDir::create(dir.path().join("step-1")).unwrap();
    write_file_atomic(dir.path().join("file"), |_| {
        assert_eq!(remove_stale_staging(dir.path()).unwrap(), 0);
        Ok(())
    })
    .unwrap();
    staged.commit().unwrap();
    assert_eq!(names(dir.path()), ["file", "step-1"]);
    assert_eq!(remove_stale_staging(dir.path().join("absent")).unwrap(), 0);
}

/// Run as a child process by the test below; on its own it has nothing to do.
#[test]
fn child_that_stages_and_waits() {
    let Some(dir) = env::var_os("SINTERLM_STAGING_CHILD") else {
        return;
    };
    let dir = Path::new(&dir);
    let staged = StagedDir::create(dir.join("step-1")).unwrap();
    fill(&staged);
    let _ = write_file_atomic(dir.join("file"), |_| {
        eprintln!("\nready");
        thread::sleep(Duration::from_mins(1));
        Ok(())
    });
}

#[test]
fn a_killed_process_leaves_nothing_at_the_final_path_and_is_swept_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_stages_and_waits", "--nocapture"])
        .env("SINTERLM_STAGING_CHILD", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line == "ready"),
        "the child did not start"
    );
    assert_eq!(remove_stale_staging(dir.path()).unwrap(), 0);
    child.kill().unwrap();
    child.wait().unwrap();

    let left = names(dir.path());
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left.iter()
            .all(|name| name.starts_with(&format!(".staging-{}-", child.id())))
    );
    assert_eq!(remove_stale_staging(dir.path()).unwrap(), 2);
    assert!(names(dir.path()).is_empty());
}
