//! The state of a trainer as a checkpoint holds it, and resuming from one.

use burn::module::Module;
use serde_json::{Value, json};

use super::Trainer;
use crate::best::Evaluations;
use crate::checkpoint::{Checkpoint, OLDER, fault};
use crate::error::TrainError;
use crate::meters::Meters;
use crate::objective::Objective;
use crate::state::TrainState;

impl<M: Module, O: Objective<M>> Trainer<M, O> {
    /// Everything but the model's weights.
    pub(super) fn state(&self) -> TrainState {
        let mut state = TrainState::default();
        state.put_section("optimizer", self.optimizer.save());
        if let Some(ema) = &self.ema {
            state.put_section("ema", ema.save());
        }
        let scalars = [
            ("seed", Value::from(self.seed.0)),
            ("optimizer", json!(self.optimizer.config().kind)),
            ("trained", self.trainable.fingerprint().into()),
        ];
        state
            .scalars
            .extend(scalars.map(|(key, value)| (key.to_owned(), value)));
        self.guard.save(&mut state);
        self.meters.save(&mut state);
        self.evaluations.save(&mut state);
        self.objective.save(&mut state);
        state
    }

    /// Resumes from a checkpoint whose weights the model was made of.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] where the state is of another run: another seed or optimizer, or
    /// with and without a moving average.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let Checkpoint { path, mut state } = checkpoint;
        if state.number("seed") != self.seed.0 {
            let found = format!(
                "has seed {}, the run has {}",
                state.number("seed"),
                self.seed.0
            );
            return Err(fault(&path, &found, "use the run's own config"));
        }
        let own = json!(self.optimizer.config().kind);
        if let Some(other) = state.scalars.get("optimizer").filter(|kind| **kind != own) {
            let found = format!("was written with optimizer {other}, the run has {own}");
            return Err(fault(&path, &found, "keep optimizer.kind as it was"));
        }
        let trained = Value::from(self.trainable.fingerprint());
        if state
            .scalars
            .get("trained")
            .is_some_and(|other| *other != trained)
        {
            let remedy = "keep trainer.train_only and trainer.freeze, and load a packed base in the form that it had";
            return Err(fault(
                &path,
                "was written by a run that trained other parameters",
                remedy,
            ));
        }
        let optimizer = state.take_section("optimizer");
        let ema = state.take_section("ema");
        self.guard.load(&state);
        // Skipped steps have no average yet.
        let has_updates = state.number("step") > self.guard.skipped;
        if self.ema.is_some() == ema.is_empty() && has_updates {
            let remedy = "keep trainer.ema_decay as it was";
            return Err(fault(
                &path,
                "was written with another trainer.ema_decay",
                remedy,
            ));
        }
        let plain = self.device.clone().without_autodiff();
        self.optimizer.load(optimizer, &plain).map_err(|name| {
            let found = format!("optimizer state `{name}` is not whole");
            fault(&path, &found, OLDER)
        })?;
        if let Some(own) = &mut self.ema {
            own.load(ema, &plain);
        }
        self.meters = Meters::load(&state);
        self.evaluations = Evaluations::load(&state);
        self.saved_at = Some(self.meters.steps);
        self.objective.load(&state)
    }
}
