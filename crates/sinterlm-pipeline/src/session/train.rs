//! The one way from parts to a trained run, whatever the pipeline.

use burn::module::Module;
use sinterlm_trainer::{Hooks, Objective, TrainSettings, Trainer};

use super::Session;
use crate::error::PipelineError;
use crate::gates::{check_best, check_metrics};
use crate::host::Mode;
use crate::parts::Parts;
use crate::plan::Plan;
use crate::post_mortem::replay;
use crate::run_config::RunConfig;
use crate::stage::End;

impl<C: RunConfig> Session<C> {
    /// Trains the parts to the end of the run and writes its model and figures, or tells the plan or
    /// the step that the host asks for.
    ///
    /// # Errors
    /// For a gate or `eval.best` about a figure that is not measured, patterns that select no parameter,
    /// and a checkpoint of another run, before anything is written; then for what fails in training, evaluation and writing. `run.json` notes the error.
    pub fn train<M: Module + 'static, O: Objective<M>>(
        mut self,
        parts: Parts<'_, M, O>,
    ) -> Result<End, PipelineError> {
        let tables = self.config.tables();
        check_metrics(tables.gates, &parts.metrics)?;
        if parts.evaluate.is_some() {
            check_best(&tables.eval.best, &parts.metrics)?;
        }
        let settings = TrainSettings {
            trainer: tables.trainer.clone(),
            optimizer: tables.optimizer.clone(),
            schedule: tables.schedule.clone(),
            seed: tables.seed,
        };
        let has_budget = tables.trainer.budget_minutes.is_some();
        let device = self.host.device.clone().autodiff();
        let mut beside = Hooks {
            evaluate: parts.evaluate,
            sample: parts.sample,
            ..Hooks::default()
        };
        let mut trainer = Trainer::new(parts.model, parts.objective, &settings, &device)
            .map_err(PipelineError::Selection)?;
        if let Some(checkpoint) = self.checkpoint.take() {
            trainer
                .resume(checkpoint)
                .map_err(PipelineError::Checkpoint)?;
        } else {
            self.fit_epochs(&mut trainer)?;
            let rows = parts.preview.scored_rows;
            self.fit_budget(&mut trainer, &mut beside, &parts.store, rows)?;
        }
        match self.host.mode {
            Mode::Run => {}
            Mode::Replay(step) => {
                replay(&mut trainer, step, &self.host)?;
                return Ok(End::Shown);
            }
            Mode::Plan => {
                let tables = self.config.tables();
                let plan = Plan::new(&tables, &parts.preview, &self.host, has_budget);
                plan.tell(trainer, &parts.tokenizer)?;
                return Ok(End::Shown);
            }
        }
        // From here on a signal is heeded between steps; before, nothing would be lost.
        self.unbegun = None;
        let stop = self.host.stop.clone();
        let _held = stop.hold();
        self.begin(&parts.tokenizer, &parts.files, &parts.sections)?;
        let mut hooks = self.hooks(&parts.store)?;
        (hooks.evaluate, hooks.sample) = (beside.evaluate, beside.sample);
        let outcome = trainer.run(&mut hooks).map_err(PipelineError::from);
        drop(hooks);
        let ended = outcome.and_then(|outcome| {
            let model = trainer.export();
            self.finish(&outcome, &model, &parts.store, parts.summarise)
        });
        ended.inspect_err(|error| self.failed(error))
    }
}
