//! `run.json`: what ran, on what, when, and from which sources.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{RunError, fields::Fields, json_file::write_json, utc_now};

/// The record of where a run's results come from.
///
/// [`collect`](Self::collect) fills in `version`, `rustc`, `target`, `git_commit` and `git_dirty` (absent outside a
/// repository), `command_line` and `started_utc`. The program [`set`](Self::set)s the rest:
/// `device`, `dtype`, `threads`, `seed`, `burn`, `instruction_set`, and the fingerprints of `data`,
/// `tokenizer` and, where there is one, `template`. `status` is `running` until
/// [`finish`](Self::finish) records how the run ended; where the process was killed it stays
/// `running`.
#[derive(Debug, Clone)]
pub struct Provenance {
    fields: Fields,
}

impl Provenance {
    /// The facts about this process; asks `git` about the working directory.
    pub fn collect() -> Self {
        let mut fields = Fields::default();
        fields.set("schema", 1);
        fields.set("version", env!("CARGO_PKG_VERSION"));
        fields.set("rustc", env!("SINTERLM_RUSTC"));
        fields.set("target", env!("SINTERLM_TARGET"));
        if let Some(commit) = git(&["rev-parse", "HEAD"]) {
            fields.set("git_commit", commit.trim());
            // Untracked files don't count: runs and data may lie among the sources.
            let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
            fields.set("git_dirty", changes.map(|text| !text.trim().is_empty()));
        }
        let words: Vec<_> = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        fields.set("command_line", words);
        fields.set("started_utc", utc_now());
        fields.set("status", "running");
        Self { fields }
    }

    /// Like [`collect`](Self::collect), for a resumed run: the record at `path` and those before
    /// it are kept under `earlier`, oldest first. A missing or damaged record is left out.
    pub fn collect_resumed(path: impl AsRef<Path>) -> Self {
        let mut this = Self::collect();
        let text = fs::read_to_string(path).unwrap_or_default();
        if let Ok(Value::Object(mut last)) = serde_json::from_str(&text) {
            let mut earlier = match last.remove("earlier") {
                Some(Value::Array(records)) => records,
                _ => Vec::new(),
            };
            earlier.push(Value::Object(last));
            this.set("earlier", earlier);
        }
        this
    }

    /// Sets a fact; one set before is replaced.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.fields.set(key, value);
        self
    }

    /// Writes the record in one step.
    ///
    /// # Errors
    /// [`RunError::Io`] or [`RunError::DiskFull`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), RunError> {
        write_json(path.as_ref(), &self.fields)
    }

    /// Sets `status`, `error` where there is one, and `ended_utc` to the present time, and writes the
    /// record.
    ///
    /// # Errors
    /// [`RunError::Io`] or [`RunError::DiskFull`].
    pub fn finish(&mut self, path: impl AsRef<Path>, end: &RunEnd) -> Result<(), RunError> {
        let status = match end {
            RunEnd::Finished => "finished",
            RunEnd::Stopped => "stopped",
            RunEnd::Failed(_) => "failed",
        };
        self.set("status", status);
        if let RunEnd::Failed(error) = end {
            self.set("error", error.as_str());
        }
        self.set("ended_utc", utc_now()).write(path)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// All steps are done.
    Finished,
    /// It was asked to stop and can be resumed.
    Stopped,
    /// By an error, with its message.
    Failed(String),
}

/// What `git` prints; `None` if it is absent or fails, as outside a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0") // only look, never refresh the index
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::utc::test_clock::set_back;

    fn read(path: &Path) -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn the_record_tells_the_process_and_what_was_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let mut provenance = Provenance::collect();
        provenance
            .set("device", "flex")
            .set("seed", 7)
            .set("data", json!({"sha256": "ab"}));
        provenance.write(&path).unwrap();
        let begun = read(&path);
        assert_eq!(begun.get("ended_utc"), None);
        assert_eq!(begun["status"], "running");
        provenance.finish(&path, &RunEnd::Finished).unwrap();
        let record = read(&path);
        assert_eq!(record["status"], "finished");
        assert_eq!(record["version"], env!("CARGO_PKG_VERSION"));
        assert!(record["rustc"].as_str().unwrap().starts_with("rustc 1."));
        assert!(!record["target"].as_str().unwrap().is_empty());
        assert_eq!(
            record["command_line"].as_array().unwrap().len(),
            std::env::args_os().count()
        );
        assert_eq!(
            (&record["device"], &record["seed"]),
            (&json!("flex"), &json!(7))
        );
        assert_eq!(record["data"]["sha256"], "ab");
        assert!(record["ended_utc"].as_str() >= record["started_utc"].as_str());
    }

    #[test]
    fn a_failed_run_tells_why_and_never_ends_before_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let mut provenance = Provenance::collect();
        let end = RunEnd::Failed("no space left".into());
        set_back(3600, || provenance.finish(&path, &end).unwrap());
        let record = read(&path);
        assert_eq!(
            (&record["status"], &record["error"]),
            (&json!("failed"), &json!("no space left"))
        );
        assert!(record["ended_utc"].as_str() >= record["started_utc"].as_str());
    }

    #[test]
    fn resumed_runs_keep_the_records_before_them_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        for seed in 0..3 {
            Provenance::collect_resumed(&path)
                .set("seed", seed)
                .write(&path)
                .unwrap();
        }
        let record = read(&path);
        assert_eq!(record["seed"], 2);
        assert_eq!(record["earlier"][0]["seed"], 0);
        assert_eq!(record["earlier"][1]["seed"], 1);
        assert_eq!(record["earlier"][1].get("earlier"), None);
    }
}
