//! `metrics.jsonl`: one JSON object a line, by step.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{EvalRecord, Event, Observer, RunError, StepRecord, appended, fields::Fields};

/// Appends the figures of log intervals and evaluations to a file.
///
/// A step gives `{"step":..,"tokens":..,"train/loss":..,"train/lr":..,"train/grad_norm":..,
/// "train/tokens_per_second":..}` and its extra figures, an evaluation a line of its own,
/// `{"step":..,"tokens":..,"valid/loss":..}` and its further figures. A figure that is not finite
/// is `null`. Each line reaches the file in one write, so that the length of the file between two
/// events is always at the end of a line.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens `path` for appending, and makes it if it is not there.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RunError> {
        let path = path.as_ref().to_path_buf();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| RunError::io(&path, "open", e))?;
        Ok(Self { path, file })
    }

    /// The length of the metrics file at `path`, to be recorded in a checkpoint; 0 if there is none.
    pub fn len_bytes(path: impl AsRef<Path>) -> u64 {
        appended::len_bytes(path.as_ref())
    }

    /// Cuts the file at `path` back to the length that a checkpoint recorded.
    ///
    /// A file that is missing or shorter stays as it is, with a warning: a run continues without
    /// the figures that it lost.
    ///
    /// # Errors
    /// [`RunError::Io`] if the file cannot be changed.
    pub fn cut_back(path: impl AsRef<Path>, bytes: u64) -> Result<(), RunError> {
        appended::cut_back(path.as_ref(), bytes, "figures")
    }

    fn append(&mut self, fields: &Fields) -> Result<(), RunError> {
        let mut line = serde_json::to_string(fields).expect("names and numbers are always JSON");
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .map_err(|e| RunError::io(&self.path, "write", e))
    }
}

impl Observer for MetricsFile {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        match event {
            Event::Step(record) if record.log => self.append(&step_fields(record)),
            Event::Evaluated(record) => self.append(&eval_fields(record)),
            _ => Ok(()),
        }
    }
}

fn step_fields(record: &StepRecord) -> Fields {
    let mut fields = Fields::default();
    fields.set("step", record.step);
    fields.set("tokens", record.tokens);
    fields.set("train/loss", record.loss);
    fields.set("train/lr", record.lr);
    fields.set("train/grad_norm", record.grad_norm);
    fields.set("train/tokens_per_second", record.tokens_per_second);
    for (name, value) in &record.extra {
        fields.set(name, *value);
    }
    fields
}

fn eval_fields(record: &EvalRecord) -> Fields {
    let mut fields = Fields::default();
    fields.set("step", record.step);
    fields.set("tokens", record.tokens);
    for (name, value) in &record.figures {
        fields.set(name, *value);
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn step(step: u64, log: bool) -> StepRecord {
        StepRecord {
            step,
            tokens: 128 * step,
            loss: 3.5,
            lr: 1e-3,
            grad_norm: 0.25,
            tokens_per_second: 8000.0,
            extra: vec![("train/loss_scale".into(), f64::NAN)],
            log,
        }
    }

    #[test]
    fn log_steps_and_evaluations_become_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut metrics = MetricsFile::open(&path).unwrap();
        metrics.on_event(&Event::Step(&step(9, false))).unwrap();
        metrics.on_event(&Event::Step(&step(10, true))).unwrap();
        let figures = vec![
            ("valid/loss".into(), 2.5),
            ("valid/perplexity".into(), 12.25),
        ];
        let eval = EvalRecord {
            step: 10,
            tokens: 1280,
            figures,
        };
        metrics.on_event(&Event::Evaluated(&eval)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"step\":10,\"tokens\":1280,\"train/loss\":3.5,\"train/lr\":0.001,\
             \"train/grad_norm\":0.25,\"train/tokens_per_second\":8000.0,\
             \"train/loss_scale\":null}\n\
             {\"step\":10,\"tokens\":1280,\"valid/loss\":2.5,\"valid/perplexity\":12.25}\n"
        );
        for line in text.lines() {
            assert!(serde_json::from_str::<Value>(line).unwrap().is_object());
        }
    }

    #[test]
    fn a_file_cut_back_and_continued_has_no_step_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        assert_eq!(MetricsFile::len_bytes(&path), 0);
        let mut metrics = MetricsFile::open(&path).unwrap();
        metrics.on_event(&Event::Step(&step(1, true))).unwrap();
        let at_checkpoint = MetricsFile::len_bytes(&path);
        metrics.on_event(&Event::Step(&step(2, true))).unwrap();
        drop(metrics);
        let unbroken = std::fs::read(&path).unwrap();

        MetricsFile::cut_back(&path, at_checkpoint).unwrap();
        let mut metrics = MetricsFile::open(&path).unwrap();
        metrics.on_event(&Event::Step(&step(2, true))).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), unbroken);
    }

    #[test]
    fn a_shorter_file_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        MetricsFile::cut_back(&path, 100).unwrap();
        MetricsFile::cut_back(dir.path().join("absent"), 100).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
    }
}
