//! The end of a run: its model, its figures, and what is said of them.

use std::io::ErrorKind;
use std::path::Path;

use sinterlm_formats::{StagedDir, write_file_atomic};
use sinterlm_run::{RunEnd, Section, Summary, peak_memory_bytes};
use sinterlm_trainer::{Outcome, StopCause};

use super::Session;
use crate::error::PipelineError;
use crate::parts::{ModelStore, Summarise};
use crate::run_config::RunConfig;
use crate::stage::{End, ModelRef, Stage};

/// Name of the sections of the last evaluation; the report shows them behind those of the data.
const RESULTS: &str = "results";

impl<C: RunConfig> Session<C> {
    /// Writes the final model and `summary.json`, and says how it went; after a signal it says how to
    /// resume instead.
    pub(super) fn finish<M>(
        &mut self,
        outcome: &Outcome,
        model: &M,
        store: &ModelStore<M>,
        summarise: Summarise<'_>,
    ) -> Result<End, PipelineError> {
        let steps = outcome.steps;
        if let StopCause::Requested(reason) = outcome.cause {
            self.end(&RunEnd::Stopped)?;
            let dir = self.dir.path().to_owned();
            self.host.say(match self.host.resume_command(&dir) {
                Some(command) => format!("stopped after step {steps}; go on with: {command}"),
                None => format!("stopped after step {steps}; resume it in {}", dir.display()),
            });
            return Ok(End::Stopped { reason, steps, dir });
        }
        self.write_model(model, store)?;

        let mut summary = Summary::new(C::KIND);
        summary.steps = Some(steps);
        summary.tokens = Some(outcome.tokens);
        summary.seconds = Some(outcome.seconds);
        summary.tokens_per_second = Some(outcome.tokens as f64 / outcome.seconds.max(1e-9));
        summary.peak_memory_bytes = peak_memory_bytes();
        if let Some(record) = &outcome.evaluation {
            let results = summarise(record, &mut summary);
            for (name, bytes) in &results.files {
                write_file_atomic(self.dir.path().join(name), |out| out.write_all(bytes))?;
            }
            if !results.sections.is_empty() {
                Section::save(self.dir.path(), RESULTS, &results.sections)?;
            }
        }
        self.judge(outcome, &mut summary);
        summary.write(self.dir.summary_path())?;
        let stage = Stage {
            dir: self.dir.path().to_owned(),
            model: ModelRef::of(&self.dir.model_dir())?,
            summary,
        };
        self.remove_prefixes()?;
        self.end(&RunEnd::Finished)?;
        self.tell_results(outcome);
        Ok(End::Done(stage))
    }

    /// Holds the figures against the gates. One whose figure was not measured is left out, and told.
    fn judge(&self, outcome: &Outcome, summary: &mut Summary) {
        let figures = outcome.evaluation.iter().flat_map(|record| &record.figures);
        for gate in self.config.tables().gates {
            let figure = figures.clone().find(|(name, _)| *name == gate.metric);
            let Some((_, value)) = figure else {
                let metric = &gate.metric;
                self.host.note(format!(
                    "the gate on {metric} is left out: it was not measured"
                ));
                continue;
            };
            summary.gates.push(gate.judge(*value));
        }
    }

    fn tell_results(&self, outcome: &Outcome) {
        let host = &self.host;
        host.say(format!(
            "{} steps, {} tokens, {:.0} s",
            outcome.steps, outcome.tokens, outcome.seconds
        ));
        for (name, value) in outcome.evaluation.iter().flat_map(|record| &record.figures) {
            host.say(format!("{name}: {value:.4}"));
        }
        for sample in &outcome.samples {
            host.say(format!("sample: {}{}", sample.prompt, sample.text));
        }
        if let Some(best) = &outcome.best_checkpoint {
            host.say(format!("best checkpoint: {}", best.display()));
        }
        host.say(format!("run directory: {}", self.dir.path().display()));
    }

    /// Writes `model/`. That of a run which was shorter stays until the new one is whole.
    fn write_model<M>(&self, model: &M, store: &ModelStore<M>) -> Result<(), PipelineError> {
        let (old, new) = (self.dir.model_dir(), self.dir.path().join("model.new"));
        let remove = |folder: &Path| match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(file_error(folder, "cannot remove it", error))
            }
            _ => Ok(()),
        };
        remove(&new)?;
        let staged = StagedDir::create(&new)?;
        store.save(staged.path(), model)?;
        let tokenizer = self.dir.tokenizer_path();
        let bytes = std::fs::read(&tokenizer)
            .map_err(|error| file_error(&tokenizer, "cannot be read", error))?;
        let name = tokenizer.file_name().unwrap_or_default();
        write_file_atomic(staged.path().join(name), |out| out.write_all(&bytes))?;
        staged.commit()?;
        remove(&old)?;
        std::fs::rename(&new, &old)
            .map_err(|error| file_error(&new, "cannot be renamed to model", error))
    }
}

fn file_error(path: &Path, action: &'static str, source: std::io::Error) -> PipelineError {
    PipelineError::File {
        path: path.to_owned(),
        action,
        source,
    }
}
