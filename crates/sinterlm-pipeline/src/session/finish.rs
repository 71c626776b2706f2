//! The end of a run: its model, its figures, and what is said of them.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use sinterlm::data::StoreHeader;
use sinterlm::formats::{StagedDir, write_file_atomic};
use sinterlm::model::{Gpt, save_model};
use sinterlm::run::{
    EvalRecord, ExitStatus, Gate, RunEnd, RunError, Summary, ValidFigures, peak_memory_bytes,
};
use sinterlm::trainer::{Outcome, StopCause, TrainError};

use super::Session;
use crate::exit::{Failure, say};

/// Validation perplexity per GPT-2 token that a pretraining run must stay below.
const TARGET_PERPLEXITY: f64 = 40.0;

impl Session {
    /// Writes the final model and `summary.json`, and says on stdout how it went; after a signal
    /// it says how to go on instead.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn finish(
        &mut self,
        kind: &str,
        outcome: &Outcome,
        model: &Gpt,
        text: &StoreHeader,
    ) -> Result<ExitStatus, Failure> {
        let closed = self.close(kind, outcome, model, text);
        closed.inspect_err(|failure| self.failed(failure))
    }

    fn close(
        &mut self,
        kind: &str,
        outcome: &Outcome,
        model: &Gpt,
        text: &StoreHeader,
    ) -> Result<ExitStatus, Failure> {
        let dir = self.dir.path().display().to_string();
        if let StopCause::Requested(reason) = outcome.cause {
            self.end(&RunEnd::Stopped)?;
            let program = std::env::args().next().unwrap_or_default();
            say(format!(
                "stopped after step {}; go on with: {program} --resume {dir}",
                outcome.steps
            ));
            return Ok(reason.exit_status());
        }
        self.write_model(model)?;

        let mut summary = Summary::new(kind);
        summary.steps = Some(outcome.steps);
        summary.tokens = Some(outcome.tokens);
        summary.seconds = Some(outcome.seconds);
        summary.tokens_per_second = Some(outcome.tokens as f64 / outcome.seconds.max(1e-9));
        summary.peak_memory_bytes = peak_memory_bytes();
        if let Some(record) = &outcome.evaluation {
            let figures = valid_figures(record, text);
            if let Some(value) = figures.perplexity_per_gpt2_token {
                let gate = Gate::at_most("perplexity_per_gpt2_token", value, TARGET_PERPLEXITY);
                summary.gates.push(gate);
            }
            summary.valid = Some(figures);
        }
        summary.write(self.dir.summary_path())?;
        self.end(&RunEnd::Finished)?;
        say(format!(
            "{} steps, {} tokens, {:.0} s",
            outcome.steps, outcome.tokens, outcome.seconds
        ));
        for (name, value) in outcome.evaluation.iter().flat_map(|record| &record.figures) {
            say(format!("{name}: {value:.4}"));
        }
        for sample in &outcome.samples {
            say(format!("sample: {}{}", sample.prompt, sample.text));
        }
        if let Some(best) = &outcome.best_checkpoint {
            say(format!("best checkpoint: {}", best.display()));
        }
        say(format!("run directory: {dir}"));
        Ok(ExitStatus::Done)
    }

    /// Writes `model/`. That of a run which was shorter stays until the new one is whole.
    fn write_model(&self, model: &Gpt) -> Result<()> {
        let (old, new) = (self.dir.model_dir(), self.dir.path().join("model.new"));
        let remove = |folder: &Path| match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}: cannot remove it", folder.display()))
            }
            _ => Ok(()),
        };
        remove(&new)?;
        let staged = StagedDir::create(&new)?;
        save_model(staged.path(), model, self.end_of_text)?;
        copy_into(staged.path(), &[&self.dir.tokenizer_path()])?;
        staged.commit()?;
        remove(&old)?;
        std::fs::rename(&new, &old)
            .with_context(|| format!("{}: cannot be renamed to model", new.display()))
    }
}

/// The figures of the last evaluation, as `summary.json` names them.
fn valid_figures(record: &EvalRecord, text: &StoreHeader) -> ValidFigures {
    let figure = |name: &str| {
        record
            .figures
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| *v)
    };
    ValidFigures {
        loss: record.loss,
        perplexity: record.loss.exp(),
        bits_per_byte: figure("valid/bits_per_byte"),
        perplexity_per_gpt2_token: figure("valid/perplexity_per_gpt2_token"),
        tokens: text.tokens - 1, // the end-of-text before the first document is read, not scored
        bytes: Some(text.text_bytes),
    }
}

fn copy_into(folder: &Path, files: &[&Path]) -> Result<(), TrainError> {
    for file in files {
        let name = file.file_name().unwrap_or_default();
        let bytes = std::fs::read(file).map_err(|source| RunError::Io {
            path: file.to_path_buf(),
            action: "read",
            source,
        })?;
        write_file_atomic(folder.join(name), |out| out.write_all(&bytes))?;
    }
    Ok(())
}
