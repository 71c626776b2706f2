//! The loop around the steps: logging, evaluation, samples, checkpoints, stopping.

use std::path::PathBuf;
use std::time::Instant;

use sinterlm_model::CausalLm;
use sinterlm_run::{EvalRecord, Event, Observer, SampleText, StepRecord, StopFlag};

use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::hooks::{Hooks, Outcome, StopCause};
use crate::objective::{Next, Objective};
use crate::trainer::{StepReport, Trainer};

/// What has accumulated since the last line of metrics.
struct Interval {
    started: Instant,
    tokens: f64,
    nats: f64,
}

impl Interval {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            tokens: 0.0,
            nats: 0.0,
        }
    }

    /// Does what is no training, and leaves its time out of the interval.
    fn pause<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let paused = Instant::now();
        let result = work();
        self.started += paused.elapsed();
        result
    }
}

impl<M: CausalLm, O: Objective<M>> Trainer<M, O> {
    /// Trains until the last step, early stopping, or a signal; a checkpoint is written in each
    /// case where a folder is given.
    ///
    /// # Errors
    /// [`TrainError`]; checkpoints already written stay.
    pub fn run(&mut self, hooks: &mut Hooks<'_, M>) -> Result<Outcome, TrainError> {
        let before = self.meters.seconds;
        let started = Instant::now();
        hooks.observers.on_event(&Event::Started {
            kind: hooks.kind,
            max_steps: self.config.max_steps,
            step: self.meters.steps,
            tokens: self.tokens(),
            parameters: hooks.parameters,
        })?;
        let mut evaluation = None;
        let mut samples = Vec::new();
        let mut checkpoint = None;
        let mut cause = StopCause::Done;
        let mut interval = Interval::new();
        while self.meters.steps < self.config.max_steps {
            if let Some(reason) = hooks.stop.as_ref().and_then(StopFlag::requested) {
                cause = StopCause::Requested(reason);
                break;
            }
            let earlier = self.progress();
            let report = self.step();
            self.tell(hooks)?;
            let report = report?;
            self.meters.seconds = before + started.elapsed().as_secs_f64();
            let now = self.progress();
            self.log(hooks, &report, &mut interval, hooks.log.fires(earlier, now))?;

            let last = self.meters.steps == self.config.max_steps;
            if !last && hooks.evaluate_at.fires(earlier, now) {
                evaluation = interval.pause(|| self.evaluate(hooks, false))?;
            }
            if !last && hooks.sample_at.fires(earlier, now) {
                interval.pause(|| self.sample(hooks))?;
            }
            if hooks.checkpoint_at.fires(earlier, now) {
                checkpoint = interval.pause(|| self.save(hooks))?.or(checkpoint);
            }
            let patience = self.config.early_stopping_patience;
            if patience > 0 && self.meters.since_best >= patience {
                cause = StopCause::EarlyStopping;
                break;
            }
            if report.next == Next::Stop {
                cause = StopCause::Objective;
                break;
            }
        }
        // Before the end's evaluation: a run that is lengthened later goes on as if it had never
        // ended, and a fault in there costs no training.
        if self.saved_at != Some(self.meters.steps) {
            checkpoint = self.save(hooks)?.or(checkpoint);
        }
        let interrupted = matches!(cause, StopCause::Requested(_));
        if !interrupted {
            evaluation = self.evaluate(hooks, true)?.or(evaluation);
            samples = self.sample(hooks)?;
        }
        self.meters.seconds = before + started.elapsed().as_secs_f64();
        let reason = match cause {
            StopCause::Done => "all steps are done",
            StopCause::EarlyStopping => "the validation loss stopped falling",
            StopCause::Objective => "the objective ended the run",
            StopCause::Requested(_) => "asked to stop",
        };
        hooks.observers.on_event(&Event::Finished {
            step: self.meters.steps,
            reason,
        })?;
        let (steps, tokens, seconds) = (self.meters.steps, self.tokens(), self.meters.seconds);
        Ok(Outcome {
            cause,
            steps,
            tokens,
            seconds,
            evaluation,
            samples,
            checkpoint,
        })
    }

    /// Where the run is, as triggers count it.
    fn progress(&self) -> (u64, u64, u64) {
        (self.meters.steps, self.tokens(), self.meters.seconds as u64)
    }

    fn log(
        &self,
        hooks: &mut Hooks<'_, M>,
        report: &StepReport,
        interval: &mut Interval,
        log: bool,
    ) -> Result<(), TrainError> {
        if !report.skipped {
            interval.tokens += report.tokens;
            interval.nats += report.loss * report.tokens;
        }
        let mut extra = if log {
            self.guard_figures()
        } else {
            Vec::new()
        };
        if log && let Some(bytes) = sinterlm_run::resident_bytes() {
            extra.push(("memory/resident_bytes".to_owned(), bytes as f64));
        }
        let record = StepRecord {
            step: report.step,
            tokens: self.tokens(),
            // A logged line speaks for all tokens since the last one.
            loss: if log {
                interval.nats / interval.tokens
            } else {
                report.loss
            },
            lr: report.lr,
            grad_norm: report.grad_norm,
            tokens_per_second: interval.tokens / interval.started.elapsed().as_secs_f64().max(1e-9),
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
            *interval = Interval::new();
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        hooks: &mut Hooks<'_, M>,
        end: bool,
    ) -> Result<Option<EvalRecord>, TrainError> {
        let Some(evaluate) = &mut hooks.evaluate else {
            return Ok(None);
        };
        let mut record = evaluate(&self.export(), end)?;
        record.step = self.meters.steps;
        record.tokens = self.tokens();
        if self.meters.best_loss.is_none_or(|best| record.loss < best) {
            self.meters.best_loss = Some(record.loss);
            self.meters.since_best = 0;
        } else {
            self.meters.since_best += 1;
        }
        hooks.observers.on_event(&Event::Evaluated(&record))?;
        Ok(Some(record))
    }

    fn sample(&self, hooks: &mut Hooks<'_, M>) -> Result<Vec<SampleText>, TrainError> {
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

    fn save(&mut self, hooks: &mut Hooks<'_, M>) -> Result<Option<PathBuf>, TrainError> {
        let Some((folder, save_model)) = &mut hooks.checkpoints else {
            return Ok(None);
        };
        let mut state = self.state();
        let path = Checkpoint::write(folder, self.meters.steps, |staged| {
            save_model(staged, self.model())?;
            if let Some(on_save) = &mut hooks.on_save {
                on_save(staged, &mut state.scalars)?;
            }
            Ok(std::mem::take(&mut state))
        })?;
        Checkpoint::keep_last(folder, hooks.keep_last)?;
        self.saved_at = Some(self.meters.steps);
        hooks.observers.on_event(&Event::Checkpoint {
            step: self.meters.steps,
            path: &path,
        })?;
        Ok(Some(path))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_evaluation_within_an_interval_takes_none_of_its_time() {
        let mut interval = Interval::new();
        sleep(Duration::from_millis(20));
        interval.pause(|| sleep(Duration::from_millis(500)));
        let counted = interval.started.elapsed().as_millis();
        assert!((20..400).contains(&counted), "{counted} ms");
    }
}
