//! Running the built programs in temporary folders, and reading what they leave.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The config of the runs, relative to the repository.
pub(crate) const SMOKE: &str = "configs/smoke/pretrain_tinystories.toml";

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Ended well.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.status, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// Ended with `status` and one message, which has all `words` in it.
    #[track_caller]
    pub(crate) fn refused(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        assert_eq!(self.err.matches("error: ").count(), 1, "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in: {}", self.err);
        }
    }
}

/// A program beside this test, run from the repository's root without network and with a cache of
/// the tests' own.
pub(crate) fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.is_file(),
        "{}: not built; run cargo build --release --workspace --examples",
        path.display()
    );
    let mut command = Command::new(path);
    let home = shared().join("home");
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("HOME", home)
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .stdin(Stdio::null());
    for name in [
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "RUST_LOG",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    command
}

/// A quiet run of the smoke config into `out`, not yet started.
pub(crate) fn smoke(out: &Path) -> Command {
    let mut command = program("pretrain_tinystories");
    command
        .args(["--config", SMOKE, "--offline", "--quiet", "--out"])
        .arg(out);
    command
}

/// `--resume DIR`, not yet started.
pub(crate) fn resume(dir: &Path) -> Command {
    let mut command = program("pretrain_tinystories");
    command.args(["--offline", "--quiet", "--resume"]).arg(dir);
    command
}

pub(crate) fn end(command: &mut Command) -> Ended {
    command.output().unwrap().into()
}

/// Folder of what the tests share; that of the last time is removed.
fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// The finished smoke run, made once; look at it, change nothing.
pub(crate) fn finished() -> &'static (PathBuf, Ended) {
    static FINISHED: OnceLock<(PathBuf, Ended)> = OnceLock::new();
    FINISHED.get_or_init(|| {
        let out = shared().join("finished");
        let ended = end(&mut smoke(&out)).done();
        (out, ended)
    })
}

/// A copy of the finished run, to be damaged.
pub(crate) fn copy_of_finished() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    copy_tree(&finished().0, &run);
    (folder, run)
}

/// A copy of the finished run as it was before its last files were written.
pub(crate) fn copy_before_the_end() -> (TempDir, PathBuf) {
    let (folder, run) = copy_of_finished();
    fs::remove_file(run.join("summary.json")).unwrap();
    fs::remove_dir_all(run.join("model")).unwrap();
    (folder, run)
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every file below a folder with its bytes.
pub(crate) fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else if path.file_name().unwrap() != ".lock" {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The lines of a run's metrics.
pub(crate) fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The lines of a run's metrics without what time and memory decide.
pub(crate) fn figures(run: &Path) -> Vec<Value> {
    let mut lines = metrics(run);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.retain(|key, _| key != "train/tokens_per_second" && !key.starts_with("memory/"));
    }
    lines
}

/// Step and value of each line that has a figure.
pub(crate) fn curve(run: &Path, figure: &str) -> Vec<(u64, f64)> {
    let point = |line: &Value| Some((line["step"].as_u64()?, line[figure].as_f64()?));
    metrics(run).iter().filter_map(point).collect()
}

/// The final validation loss as it is written, to be compared digit for digit.
pub(crate) fn valid_loss(run: &Path) -> Value {
    json(&run.join("summary.json"))["valid"]["loss"].clone()
}

/// Waits until a run in another process has logged `lines` lines.
pub(crate) fn wait_for_lines(run: &Path, lines: usize) {
    let start = Instant::now();
    let logged = || {
        fs::read_to_string(run.join("metrics.jsonl"))
            .is_ok_and(|text| text.lines().count() >= lines)
    };
    while !logged() {
        assert!(
            start.elapsed() < Duration::from_mins(2),
            "the run logs nothing"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal, by name.
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status();
    assert!(status.unwrap().success());
}
