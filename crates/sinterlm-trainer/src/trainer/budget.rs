//! The length of a run as time: a probe measures what a step and the work beside the steps take, then the
//! trainer is back where it was.

use std::time::Instant;

use burn::module::Module;

use super::Trainer;
use crate::best::Evaluations;
use crate::budget::{Beside, Budget, StepCosts};
use crate::ema::Ema;
use crate::error::TrainError;
use crate::figures::Samples;
use crate::guard::Guard;
use crate::hooks::{Hooks, Scope};
use crate::meters::Meters;
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::saver::Saver;
use crate::state::TrainState;
use crate::trainable::all_paths;
use crate::trigger::Progress;

/// Steps that are timed at least, after one that warms up.
const TIMED_STEPS: usize = 3;
/// Share of the budget that they may fill, and at which no further one is begun, however few there are.
const SHARE: f64 = 0.02;
const MOST: f64 = 0.1;
/// Seconds that they fill at most: more steps tell nothing more, and a probe that is killed leaves nothing.
const MOST_SECONDS: f64 = 60.0;

impl<M: Module + 'static, O: Objective<M>> Trainer<M, O> {
    /// Turns a time budget into the number of steps of the run: does and times real steps, an
    /// evaluation, samples and a checkpoint of `hooks`, puts everything back to step 0, and takes the
    /// largest number of steps that the rest of the budget holds. A run of that many steps is then the
    /// same to the last bit as one that was given the number.
    ///
    /// The last evaluation takes `final_share` times what one on the way does. Observers of `hooks` are
    /// told of the probe; give none. What its checkpoints write is the caller's to remove.
    ///
    /// # Errors
    /// [`TrainError::NoTime`] where the budget holds no step; what a step, an evaluation or a
    /// checkpoint can go wrong with.
    ///
    /// # Panics
    /// If the trainer is not at step 0: a run that has begun has its length.
    pub fn fit_budget(
        &mut self,
        seconds: f64,
        final_share: f64,
        hooks: &mut Hooks<'_, M>,
    ) -> Result<Budget, TrainError> {
        assert_eq!(self.meters.steps, 0, "fit_budget: the run has begun");
        let begun = Instant::now();
        let (model, start) = (self.model().clone(), self.state());
        let costs = self.probe(seconds, final_share, hooks);
        let tokens = self.meters.tokens / self.meters.steps.max(1) as f64;
        self.restart(model, &start)?;
        let costs = costs?;

        let left = seconds - begun.elapsed().as_secs_f64();
        let progress = |step: u64, max_steps: u64| Progress {
            steps: step,
            tokens: (tokens * step as f64) as u64,
            seconds: (costs.step * step as f64) as u64,
            epochs: self.objective.epochs(step).unwrap_or(0.0),
            fraction: step as f64 / max_steps.max(1) as f64,
        };
        let (max_steps, seconds) = costs.most_steps(left, &Beside::of(hooks), progress);
        if max_steps == 0 {
            return Err(TrainError::NoTime {
                budget: left.max(0.0),
                step: costs.step,
                beside: costs.final_evaluation + costs.samples + costs.checkpoint,
            });
        }
        self.config.max_steps = max_steps;
        Ok(Budget {
            max_steps,
            costs,
            seconds,
        })
    }

    /// Turns passes over the data into the number of steps of the run, the fewest that make so many.
    ///
    /// # Errors
    /// [`TrainError::NoEpochs`] where the objective knows of no end of its data.
    pub fn fit_epochs(&mut self, epochs: f64) -> Result<u64, TrainError> {
        let key = "trainer.max_epochs";
        let enough = |steps: u64| {
            let done = self
                .objective
                .epochs(steps)
                .ok_or(TrainError::NoEpochs { key })?;
            Ok::<bool, TrainError>(done >= epochs - 1e-9)
        };
        let mut above = 1;
        while !enough(above)? {
            above *= 2;
        }
        let mut below = above / 2;
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if enough(middle)? {
                above = middle;
            } else {
                below = middle;
            }
        }
        self.config.max_steps = above;
        Ok(above)
    }

    /// What a step and the work beside the steps take.
    fn probe(
        &mut self,
        budget: f64,
        final_share: f64,
        hooks: &mut Hooks<'_, M>,
    ) -> Result<StepCosts, TrainError> {
        let begun = Instant::now();
        let spent = || begun.elapsed().as_secs_f64();
        self.step()?; // also the one whose memory is new
        let mut seconds = Vec::new();
        while seconds.is_empty()
            || spent() < (SHARE * budget).min(MOST_SECONDS)
            || (seconds.len() < TIMED_STEPS && spent() < MOST * budget)
        {
            let (_, seconds_of_step) = timed(|| self.step())?;
            seconds.push(seconds_of_step);
        }
        seconds.sort_by(f64::total_cmp);
        let (_, evaluation) = timed(|| self.evaluate(hooks, Scope::During))?;
        let (_, samples) = timed(|| self.sample(hooks))?;
        let (_, checkpoint) = timed(|| {
            let mut saver = Saver::default();
            self.save(hooks, &mut saver)?;
            saver.wait()
        })?;
        Ok(StepCosts {
            step: seconds[seconds.len() / 2],
            evaluation,
            final_evaluation: evaluation * final_share,
            samples,
            checkpoint,
        })
    }

    /// Back to step 0, with the model and the state that a probe began with.
    fn restart(&mut self, model: M, start: &TrainState) -> Result<(), TrainError> {
        let mut optimizer = Optimizer::new(self.optimizer.config().clone());
        optimizer.form_groups(&all_paths(&model))?;
        self.model = Some(model);
        self.optimizer = optimizer;
        let decay = self.config.ema_decay;
        self.ema = (decay > 0.0).then(|| Ema::new(decay));
        self.guard = Guard::new(&self.config);
        self.meters = Meters::default();
        self.evaluations = Evaluations::default();
        (self.post_mortem, self.notes) = (None, Vec::new());
        self.samples = Samples::default();
        self.saved_at = None;
        self.objective.load(start)
    }
}

fn timed<R>(work: impl FnOnce() -> Result<R, TrainError>) -> Result<(R, f64), TrainError> {
    let begun = Instant::now();
    let result = work()?;
    Ok((result, begun.elapsed().as_secs_f64()))
}
