//! Damaged files of our own, and a full disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Ended, copy_before_the_end, copy_of_finished, curve, end, finished, program, resume, smoke,
    valid_loss,
};

#[test]
fn a_broken_newest_checkpoint_is_passed_over_and_named() {
    let (_folder, run) = copy_before_the_end();
    let weights = run.join("checkpoints/step-00000060/model.safetensors");
    cut(&weights, 100);
    let ended = end(&mut resume(&run)).done();
    let named = format!("passing over a broken checkpoint: {}", weights.display());
    assert!(ended.err.contains(&named), "{}", ended.err);
    assert!(
        ended.out.contains("step-00000030 (step 30)"),
        "{}",
        ended.out
    );
    assert!(run.join("checkpoints/broken-step-00000060").is_dir());
    assert_eq!(valid_loss(&run), valid_loss(&finished().0));
    for figure in ["train/loss", "valid/loss"] {
        assert_eq!(
            curve(&run, figure),
            curve(&finished().0, figure),
            "{figure}"
        );
    }
}

#[test]
fn a_run_killed_behind_its_last_checkpoint_is_brought_to_its_end() {
    let (_folder, run) = copy_before_the_end();
    end(&mut resume(&run)).done();
    assert_eq!(valid_loss(&run), valid_loss(&finished().0));
    assert_eq!(
        curve(&run, "valid/loss"),
        curve(&finished().0, "valid/loss")
    );
    assert!(run.join("model/model.safetensors").is_file());
}

#[test]
fn damaged_weights_are_refused_by_name() {
    let (folder, run) = copy_of_finished();
    let out = folder.path().join("new");
    let start = |path: &Path| {
        let trained = end(smoke(&out).arg("--model").arg(path));
        assert!(!out.exists());
        let mut generate = program("generate");
        let generated = end(generate.arg("--model").arg(path).args(["--prompt", "x"]));
        [trained, generated]
    };
    let refused =
        |ended: [Ended; 2], words: &[&str]| ended.iter().for_each(|e| e.refused(2, words));

    let checkpoint = run.join("checkpoints/step-00000060");
    let weights = checkpoint.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let name = weights.display().to_string();
    refused(
        start(&checkpoint),
        &[&name, "does not match its checksum", "older checkpoint"],
    );

    let weights = run.join("model/model.safetensors");
    cut(&weights, 100);
    let name = weights.display().to_string();
    refused(
        start(&run),
        &[&name, "the file is damaged", "write it again"],
    );

    let missing = folder.path().join("missing");
    let name = missing.display().to_string();
    refused(
        start(&missing),
        &[&name, "does not exist", "point --model at"],
    );
    refused(
        start(folder.path()),
        &["holds no model", "point --model at"],
    );
}

#[test]
fn damaged_cached_tokens_are_made_again_which_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let plan = |vocab: &str| {
        let mut command = smoke(&folder.path().join("planned"));
        command.env("XDG_CACHE_HOME", &cache).arg("--plan");
        end(command.args(["--set", &format!("tokenizer.vocab_size={vocab}")]))
            .done()
            .out
    };
    let tokens = || -> Vec<PathBuf> {
        let folders = fs::read_dir(cache.join("sinterlm")).unwrap();
        folders
            .map(|entry| entry.unwrap().path().join("train.tokens"))
            .collect()
    };
    let whole = plan("300");
    let first = tokens()[0].clone();
    let bytes = fs::read(&first).unwrap();
    cut(&first, 7);
    let again = plan("300");
    assert!(
        again.contains("made again") && again.contains(first.to_str().unwrap()),
        "{again}"
    );
    assert_eq!(fs::read(&first).unwrap(), bytes);
    // Time and memory differ from plan to plan; what is trained on must not.
    let rows = |plan: &str| -> Vec<String> {
        let lines = plan
            .lines()
            .filter(|line| line.starts_with("data: ") || line.contains(": row "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(rows(&plan("300")), rows(&whole));
    assert_eq!(rows(&whole).len(), 3);

    plan("310");
    let other = tokens().into_iter().find(|path| *path != first).unwrap();
    fs::copy(other, &first).unwrap();
    let again = plan("300");
    assert!(
        again.contains("made again") && again.contains("made with tokenizer"),
        "{again}"
    );
    assert_eq!(fs::read(&first).unwrap(), bytes);
}

#[test]
fn a_full_disk_ends_the_run_and_costs_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        eprintln!("skipped: a small disk to fill needs root and mount");
        return;
    };
    let run = folder.path().join("run");
    let ended = end(&mut smoke(&run));
    ended.refused(
        1,
        &[
            run.to_str().unwrap(),
            "no space left on the disk",
            "free space",
        ],
    );
    let names = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    };
    assert_eq!(names(&run.join("checkpoints")), ["step-00000030"]);
    disk.enlarge();
    end(&mut resume(&run)).done();
    assert_eq!(valid_loss(&run), valid_loss(&finished().0));
    assert_eq!(
        curve(&run, "train/loss"),
        curve(&finished().0, "train/loss")
    );
}

/// A disk in memory with room for one checkpoint of the smoke run and not for two.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub(crate) fn mount(path: &'a Path) -> Option<Self> {
        let one = finished().0.join("checkpoints/step-00000060");
        let files = fs::read_dir(one).unwrap();
        let bytes: u64 = files
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        let size = format!("size={}", bytes + bytes / 2 + (256 << 10));
        let mut command = Command::new("mount");
        let status = command
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .output();
        status
            .is_ok_and(|output| output.status.success())
            .then_some(Self(path))
    }

    pub(crate) fn enlarge(&self) {
        self.remount("size=64m");
    }

    pub(crate) fn make_read_only(&self) {
        self.remount("ro");
    }

    fn remount(&self, option: &str) {
        let mut command = Command::new("mount");
        let option = format!("remount,{option}");
        let status = command.args(["-o", &option]).arg(self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn cut(file: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes)
        .unwrap();
}
