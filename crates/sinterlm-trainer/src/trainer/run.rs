//! The loop around the steps: logging, evaluation, samples, checkpoints, stopping.

use std::time::Instant;

use burn::module::Module;
use sinterlm_run::{EvalRecord, Event, Observer, SampleText, StepRecord, StopFlag};

use super::Trainer;
use crate::best::{Best, Evaluations};
use crate::checkpoint::{Checkpoint, copy_into};
use crate::config::TrainerConfig;
use crate::error::TrainError;
use crate::figures::StepFigures;
use crate::hooks::{Hooks, Outcome, Scope, StopCause};
use crate::meters::Meters;
use crate::objective::Objective;
use crate::saver::{Saved, Saver};
use crate::state::TrainState;
use crate::trigger::Progress;

/// Time: of the run, and of the steps since the last line of metrics.
struct Clock {
    /// Seconds of the run in the sessions before this one.
    before: f64,
    started: Instant,
    /// When the last line was written, moved on by the time that was not spent on training since.
    line: Instant,
    /// Tokens of this session since the last line.
    tokens: f64,
}

impl Clock {
    fn new(before: f64) -> Self {
        let now = Instant::now();
        Self {
            before,
            started: now,
            line: now,
            tokens: 0.0,
        }
    }

    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    /// Does other work than training, and leaves its time out of the throughput.
    fn pause<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let paused = Instant::now();
        let result = work();
        self.line += paused.elapsed();
        result
    }

    fn tokens_per_second(&self) -> f64 {
        self.tokens / self.line.elapsed().as_secs_f64().max(1e-9)
    }

    fn next_line(&mut self) {
        self.line = Instant::now();
        self.tokens = 0.0;
    }
}

impl<M: Module + 'static, O: Objective<M>> Trainer<M, O> {
    /// Trains until the last step, early stopping, or a signal; a checkpoint is written in each
    /// case where a folder is given, and whole when this returns.
    ///
    /// # Errors
    /// [`TrainError`]; checkpoints already written stay. That a checkpoint in the background can't
    /// be written ends the run at its next step. [`TrainError::NoEpochs`] and
    /// [`TrainError::NoMetric`] for hooks that the objective or the evaluation cannot serve.
    pub fn run(&mut self, hooks: &mut Hooks<'_, M>) -> Result<Outcome, TrainError> {
        self.check_hooks(hooks)?;
        self.evaluations.follow(&hooks.best);
        sinterlm_kernels::release_freed_memory(); // of what prepared the run
        hooks.observers.on_event(&Event::Started {
            kind: hooks.kind,
            max_steps: self.config.max_steps,
            step: self.meters.steps,
            tokens: self.tokens(),
            parameters: self.trainable.values(),
        })?;
        let mut clock = Clock::new(self.meters.seconds);
        let mut saver = Saver::default();
        let mut evaluation = None;
        let mut samples = Vec::new();
        let cause = loop {
            if let Some(cause) = self.stop_cause(hooks) {
                break cause;
            }
            let earlier = self.progress();
            let seen = self.step();
            if self.post_mortem.is_some() {
                // It names the last checkpoint, which may still be on its way.
                finish_save(hooks, &mut saver)?;
            }
            self.tell(hooks)?;
            let seen = seen?;
            self.meters.seconds = clock.seconds();
            let now = self.progress();
            self.log(hooks, &seen, &mut clock, hooks.log.fires(earlier, now))?;
            if saver.is_over() {
                clock.pause(|| finish_save(hooks, &mut saver))?;
            }

            let last = self.meters.steps == self.config.max_steps;
            let mut is_better = false;
            if !last && hooks.evaluate_at.fires(earlier, now) {
                evaluation = clock.pause(|| self.evaluate(hooks, Scope::During))?;
                is_better = evaluation.is_some() && self.evaluations.best_step == self.meters.steps;
            }
            if !last && hooks.sample_at.fires(earlier, now) {
                clock.pause(|| self.sample(hooks))?;
            }
            let keeps_best = hooks.checkpoints.as_ref().is_some_and(|to| to.keep.best);
            if hooks.checkpoint_at.fires(earlier, now) || (is_better && keeps_best) {
                self.meters.seconds = clock.seconds();
                clock.pause(|| self.save(hooks, &mut saver))?;
            }
        };
        // Before the end's evaluation: a run that is lengthened later goes on as if it had never
        // ended, and a fault in there costs no training.
        self.meters.seconds = clock.seconds();
        if self.saved_at != Some(self.meters.steps) {
            self.save(hooks, &mut saver)?;
        }
        finish_save(hooks, &mut saver)?;
        let interrupted = matches!(cause, StopCause::Requested(_));
        if !interrupted {
            evaluation = self.evaluate(hooks, Scope::Final)?.or(evaluation);
            samples = self.sample(hooks)?;
        }
        self.meters.seconds = clock.seconds();
        let reason = match cause {
            StopCause::Done => "all steps are done",
            StopCause::EarlyStopping if hooks.best.metric == "valid/loss" => {
                "the validation loss stopped falling"
            }
            StopCause::EarlyStopping => "evaluations stopped getting better",
            StopCause::Reached => "an evaluation reached eval.stop_at",
            StopCause::Objective => "the objective ended the run",
            StopCause::Requested(_) => "asked to stop",
        };
        hooks.observers.on_event(&Event::Finished {
            step: self.meters.steps,
            reason,
        })?;
        let (steps, tokens, seconds) = (self.meters.steps, self.tokens(), self.meters.seconds);
        let to = hooks.checkpoints.as_ref();
        let saved = |step| {
            let path = Checkpoint::path(&to?.folder, step);
            path.is_dir().then_some(path)
        };
        let best = to
            .is_some_and(|to| to.keep.best)
            .then_some(self.evaluations.best_step);
        Ok(Outcome {
            cause,
            steps,
            tokens,
            seconds,
            evaluation,
            samples,
            checkpoint: self.saved_at.and_then(saved),
            best_checkpoint: best.and_then(saved),
        })
    }

    /// Why the run goes no further. Looked at before each step and made of the run's state alone
    /// but for signals, so that a run resumed at its end does no step more.
    fn stop_cause(&self, hooks: &Hooks<'_, M>) -> Option<StopCause> {
        let requested = || {
            let reason = hooks.stop.as_ref().and_then(StopFlag::requested);
            reason.map(StopCause::Requested)
        };
        ended(&self.meters, &self.evaluations, &self.config, &hooks.best).or_else(requested)
    }

    /// How far the run is, as triggers count it.
    fn progress(&self) -> Progress {
        let steps = self.meters.steps;
        Progress {
            steps,
            tokens: self.tokens(),
            seconds: self.meters.seconds as u64,
            epochs: self.objective.epochs(steps).unwrap_or(0.0),
            fraction: steps as f64 / self.config.max_steps.max(1) as f64,
        }
    }

    /// Refuses triggers that would never fire.
    fn check_hooks(&self, hooks: &Hooks<'_, M>) -> Result<(), TrainError> {
        let triggers = [
            ("eval.every_epochs", hooks.evaluate_at),
            ("eval.samples_every_epochs", hooks.sample_at),
            ("checkpoint.every_epochs", hooks.checkpoint_at),
        ];
        let by_epochs = triggers.into_iter().find(|(_, at)| at.every_epochs > 0.0);
        match by_epochs {
            Some((key, _)) if self.objective.epochs(0).is_none() => {
                Err(TrainError::NoEpochs { key })
            }
            _ => Ok(()),
        }
    }

    fn log(
        &mut self,
        hooks: &mut Hooks<'_, M>,
        seen: &StepFigures,
        clock: &mut Clock,
        log: bool,
    ) -> Result<(), TrainError> {
        let meters = &mut self.meters;
        if !seen.skipped {
            clock.tokens += seen.tokens;
            meters.interval_tokens += seen.tokens;
            meters.interval_nats += seen.loss * seen.tokens;
            meters.interval.extend(&seen.named);
            self.evaluations.trained(seen.tokens, seen.loss);
        }
        // A logged line speaks for all tokens since the last one, also where the run was broken
        // off in between.
        let loss = if log && meters.interval_tokens > 0.0 {
            meters.interval_nats / meters.interval_tokens
        } else {
            seen.loss
        };
        let mut extra = Vec::new();
        if log {
            (meters.interval_tokens, meters.interval_nats) = (0.0, 0.0);
            extra = std::mem::take(&mut meters.interval).all();
            extra.extend(self.guard_figures());
        }
        if log && let Some(bytes) = sinterlm_run::resident_bytes() {
            extra.push(("memory/resident_bytes".to_owned(), bytes as f64));
        }
        let record = StepRecord {
            step: seen.step,
            tokens: self.tokens(),
            loss,
            lr: seen.lr,
            grad_norm: seen.grad_norm,
            tokens_per_second: clock.tokens_per_second(),
            extra,
            log,
        };
        tracing::debug!(
            step = record.step,
            loss = record.loss,
            grad_norm = record.grad_norm
        );
        hooks.observers.on_event(&Event::Step(&record))?;
        if log {
            clock.next_line();
        }
        Ok(())
    }

    pub(super) fn evaluate(
        &mut self,
        hooks: &mut Hooks<'_, M>,
        scope: Scope,
    ) -> Result<Option<EvalRecord>, TrainError> {
        let Some(evaluate) = &mut hooks.evaluate else {
            return Ok(None);
        };
        let (step, tokens) = (self.meters.steps, self.tokens());
        let figures = evaluate(&self.export(), scope)?;
        let record = EvalRecord {
            step,
            tokens,
            figures,
        };
        let Some(value) = record.figure(&hooks.best.metric) else {
            return Err(TrainError::no_metric(&hooks.best.metric, &record.figures));
        };
        let alarm = self.evaluations.judge(&hooks.best, value, step);
        hooks.observers.on_event(&Event::Evaluated(&record))?;
        if let Some(text) = alarm {
            hooks.observers.on_event(&Event::Note { text: &text })?;
        }
        Ok(Some(record))
    }

    pub(super) fn sample(&self, hooks: &mut Hooks<'_, M>) -> Result<Vec<SampleText>, TrainError> {
        let Some(sample) = &mut hooks.sample else {
            return Ok(Vec::new());
        };
        let samples = sample(&self.export());
        let (step, tokens) = (self.meters.steps, self.tokens());
        let event = Event::Sampled {
            step,
            tokens,
            samples: &samples,
        };
        hooks.observers.on_event(&event)?;
        Ok(samples)
    }

    /// Copies the state and has it written, in the background where that is asked for.
    pub(super) fn save(
        &mut self,
        hooks: &mut Hooks<'_, M>,
        saver: &mut Saver,
    ) -> Result<(), TrainError> {
        // Before the state is copied, so that it is held twice and not three times.
        finish_save(hooks, saver)?;
        let Some(to) = hooks.checkpoints.clone() else {
            return Ok(());
        };
        let mut state = self.state();
        if let Some(on_save) = &mut hooks.on_save {
            on_save(&mut state.scalars)?;
        }
        let (step, best) = (self.meters.steps, self.evaluations.best_step);
        // Handles: the update copies what it would change while they are held.
        let model = self.model().valid();
        let (keep, background) = (to.keep, to.background);
        self.saved_at = Some(step);
        let write = move || {
            let path = Checkpoint::write(&to.folder, step, &state, move |staged| {
                (to.save_model)(staged, &model)?;
                to.files.iter().try_for_each(|file| copy_into(staged, file))
            })?;
            drop(state);
            let folder = path.parent().expect("a checkpoint lies in a folder");
            Checkpoint::rotate(folder, &keep, best)?;
            Ok(Saved { step, path })
        };
        if background {
            saver.start(write)
        } else {
            announce(hooks, &write()?)
        }
    }
}

/// Why a run in this state has no further step.
fn ended(
    meters: &Meters,
    evaluations: &Evaluations,
    config: &TrainerConfig,
    best: &Best,
) -> Option<StopCause> {
    let patience = config.early_stopping_patience;
    if meters.is_over {
        Some(StopCause::Objective)
    } else if evaluations.best.is_some_and(|value| best.is_reached(value)) {
        Some(StopCause::Reached)
    } else if patience > 0 && evaluations.since_best >= patience {
        Some(StopCause::EarlyStopping)
    } else {
        (meters.steps >= config.max_steps).then_some(StopCause::Done)
    }
}

impl TrainState {
    /// Whether a run in this state has nothing left to do under a config.
    pub fn is_over(&self, config: &TrainerConfig, best: &Best) -> bool {
        let mut evaluations = Evaluations::load(self);
        evaluations.follow(best);
        ended(&Meters::load(self), &evaluations, config, best).is_some()
    }
}

/// Waits for the checkpoint that is being written, if any, and tells the observers.
fn finish_save<M>(hooks: &mut Hooks<'_, M>, saver: &mut Saver) -> Result<(), TrainError> {
    saver
        .wait()?
        .map_or(Ok(()), |saved| announce(hooks, &saved))
}

fn announce<M>(hooks: &mut Hooks<'_, M>, saved: &Saved) -> Result<(), TrainError> {
    let (step, path) = (saved.step, saved.path.as_path());
    Ok(hooks
        .observers
        .on_event(&Event::Checkpoint { step, path })?)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_evaluation_within_an_interval_takes_none_of_its_time() {
        let mut clock = Clock::new(0.0);
        sleep(Duration::from_millis(20));
        clock.pause(|| sleep(Duration::from_millis(500)));
        let counted = clock.line.elapsed().as_millis();
        assert!((20..400).contains(&counted), "{counted} ms");
    }
}
