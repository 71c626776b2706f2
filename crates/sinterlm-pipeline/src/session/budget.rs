//! A run's length as passes over the data or as time: how many steps it has, of time on this machine.

use std::fs;
use std::io::ErrorKind;

use burn::module::Module;
use sinterlm_config::{ConfigError, check_made};
use sinterlm_trainer::{Budget, Checkpoints, Hooks, Objective, TrainError, Trainer};

use super::{PROBE, Session};
use crate::error::PipelineError;
use crate::parts::ModelStore;
use crate::run_config::RunConfig;

impl<C: RunConfig> Session<C> {
    /// Turns `trainer.max_epochs` into `trainer.max_steps`, where a new run has such a length.
    pub(super) fn fit_epochs<M: Module + 'static, O: Objective<M>>(
        &mut self,
        trainer: &mut Trainer<M, O>,
    ) -> Result<(), PipelineError> {
        let Some(epochs) = self.config.tables().trainer.max_epochs else {
            return Ok(());
        };
        let steps = trainer
            .fit_epochs(epochs)
            .map_err(PipelineError::Selection)?;
        let trainer = self.config.trainer_mut();
        (trainer.max_steps, trainer.max_epochs) = (steps, None);
        let fault = |error: ConfigError| PipelineError::TooFewEpochs {
            epochs,
            steps,
            error,
        };
        check_made(&self.config, &format!("the config of {steps} steps")).map_err(fault)?;
        self.host.say(format!(
            "epochs: {epochs} are {steps} steps (trainer.max_steps = {steps})"
        ));
        Ok(())
    }

    /// Turns `trainer.budget_minutes` into `trainer.max_steps`, where a new run has such a budget. From
    /// here on the config in force has the steps, as if they had been given. `hooks` evaluate and
    /// write samples; `rows` are those scored on the way and at the end.
    pub(super) fn fit_budget<M: Module + 'static, O: Objective<M>>(
        &mut self,
        trainer: &mut Trainer<M, O>,
        hooks: &mut Hooks<'_, M>,
        store: &ModelStore<M>,
        rows: [u64; 2],
    ) -> Result<(), PipelineError> {
        let tables = self.config.tables();
        let Some(minutes) = tables.trainer.budget_minutes else {
            return Ok(());
        };
        let folder = self.dir.path().join(PROBE);
        let remove = || match fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(PipelineError::File {
                path: folder.clone(),
                action: "cannot be removed",
                source,
            }),
            _ => Ok(()),
        };
        remove()?; // what a probe left that was killed
        hooks.evaluate_at = tables.eval.trigger();
        hooks.best = tables.eval.best();
        hooks.sample_at = tables.eval.samples_trigger();
        hooks.checkpoints = Some(Checkpoints::new(&folder, store.saver()));
        hooks.checkpoint_at = tables.checkpoint.trigger();
        let [during, at_end] = rows;
        let share = at_end as f64 / during.max(1) as f64;
        self.host
            .note(format!("timing steps for a run of {minutes} minutes"));
        let fitted = trainer.fit_budget(60.0 * minutes, share, hooks);
        remove()?;
        let budget = fitted.map_err(|error| match error {
            TrainError::NoTime { .. } => PipelineError::DoesNotFit(error),
            other => other.into(),
        })?;
        self.provenance.set("budget_minutes", minutes);
        let trainer = self.config.trainer_mut();
        (trainer.max_steps, trainer.budget_minutes) = (budget.max_steps, None);
        // The steps may be too few for other keys.
        let fault = |error: ConfigError| PipelineError::BudgetTooShort {
            minutes,
            steps: budget.max_steps,
            error,
        };
        let made = format!("the config of {} steps", budget.max_steps);
        check_made(&self.config, &made).map_err(fault)?;
        self.tell_budget(minutes, &budget);
        Ok(())
    }

    fn tell_budget(&self, minutes: f64, budget: &Budget) {
        let Budget {
            max_steps,
            costs,
            seconds,
        } = budget;
        self.host.say(format!(
            "budget: {max_steps} steps of {:.3} s in {minutes} minutes, {seconds:.0} s with evaluations, samples and checkpoints (trainer.max_steps = {max_steps})",
            costs.step
        ));
    }
}
