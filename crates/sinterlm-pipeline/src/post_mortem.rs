//! A step whose values are not finite: its file in the run directory, and the table of a
//! step that is computed again.

use std::path::PathBuf;

use burn::module::Module;
use sinterlm_data::Tokenizer;
use sinterlm_run::{Event, Observer, RunDir, RunError};
use sinterlm_trainer::{Objective, TrainError, Trainer};

use crate::host::Host;

/// Writes `post-mortem.json`, with the text of the rows and the command that replays the step.
#[derive(Debug)]
pub(crate) struct PostMortemFile {
    host: Host,
    run: PathBuf,
    path: PathBuf,
    tokenizer: PathBuf,
}

impl PostMortemFile {
    pub(crate) fn new(dir: &RunDir, host: &Host) -> Self {
        Self {
            host: host.clone(),
            run: dir.path().to_owned(),
            path: dir.post_mortem_path(),
            tokenizer: dir.tokenizer_path(),
        }
    }
}

impl Observer for PostMortemFile {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        let Event::NotFinite(report) = event else {
            return Ok(());
        };
        let mut report = (*report).clone();
        // The other facts are worth having without the text too.
        if let Ok(tokenizer) = Tokenizer::from_file(&self.tokenizer) {
            for row in &mut report.rows {
                row.text = Some(tokenizer.decode(&row.ids));
            }
        }
        let resume = self.host.resume_command(&self.run);
        let step = report.step;
        report.replay = resume.map(|resume| format!("{resume} --replay-step {step}"));
        let path = self.path.display();
        match &report.replay {
            Some(replay) => {
                let line = format!("post-mortem: {path}; replay with: {replay}");
                self.host.note(line);
            }
            None => self.host.note(format!("post-mortem: {path}")),
        }
        report.write(&self.path)
    }
}

/// Trains up to the step before `step` without writing anything, computes that one with every
/// activation and gradient looked at, and tells the table.
///
/// # Errors
/// Where a step before it fails.
pub(crate) fn replay<M: Module, O: Objective<M>>(
    trainer: &mut Trainer<M, O>,
    step: u64,
    host: &Host,
) -> Result<(), TrainError> {
    while trainer.steps() + 1 < step {
        trainer.step()?;
    }
    host.say(trainer.replay()?);
    Ok(())
}
