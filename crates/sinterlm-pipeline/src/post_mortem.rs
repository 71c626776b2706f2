//! A step whose values are not finite: its file in the run directory, and the table that
//! `--replay-step` prints.

use std::io::Write;
use std::path::PathBuf;

use sinterlm::data::Tokenizer;
use sinterlm::model::CausalLm;
use sinterlm::run::{Event, ExitStatus, Observer, RunDir, RunError};
use sinterlm::trainer::{Objective, Trainer};

use crate::exit::{Failure, say};

/// Writes `post-mortem.json`, with the text of the rows and the command that replays the step.
#[derive(Debug)]
pub(crate) struct PostMortemFile {
    run: PathBuf,
    path: PathBuf,
    tokenizer: PathBuf,
}

impl PostMortemFile {
    pub(crate) fn new(dir: &RunDir) -> Self {
        Self {
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
        let program = std::env::args().next().unwrap_or_default();
        let (run, step) = (self.run.display(), report.step);
        let replay = format!("{program} --resume {run} --replay-step {step}");
        let path = self.path.display();
        let _ = writeln!(
            std::io::stderr(),
            "post-mortem: {path}; replay with: {replay}"
        );
        report.replay = Some(replay);
        report.write(&self.path)
    }
}

/// Goes on to the step before `step` without writing anything, computes that one with every
/// activation and gradient looked at, and prints the table.
///
/// # Errors
/// Where a step before it fails.
pub fn replay<M: CausalLm, O: Objective<M>>(
    trainer: &mut Trainer<M, O>,
    step: u64,
) -> Result<ExitStatus, Failure> {
    while trainer.steps() + 1 < step {
        trainer.step()?;
    }
    say(trainer.replay()?);
    Ok(ExitStatus::Done)
}
