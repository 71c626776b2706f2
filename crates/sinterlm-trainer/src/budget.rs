//! How many steps a time budget holds.

use crate::hooks::Hooks;
use crate::trigger::{Progress, Trigger};

/// Seconds that a step and the work beside the steps take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCosts {
    /// One optimizer step.
    pub step: f64,
    /// One evaluation on the way.
    pub evaluation: f64,
    /// That at the end.
    pub final_evaluation: f64,
    /// The samples of one time.
    pub samples: f64,
    /// One checkpoint.
    pub checkpoint: f64,
}

/// A time budget as a number of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Steps of the run.
    pub max_steps: u64,
    /// What was measured.
    pub costs: StepCosts,
    /// Seconds that the steps and the work beside them take, without what the probe took.
    pub seconds: f64,
}

/// When the work beside the steps is done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beside {
    pub(crate) evaluate: Trigger,
    pub(crate) sample: Trigger,
    pub(crate) checkpoint: Trigger,
}

impl Beside {
    pub(crate) fn of<M>(hooks: &Hooks<'_, M>) -> Self {
        Self {
            evaluate: hooks.evaluate_at,
            sample: hooks.sample_at,
            checkpoint: hooks.checkpoint_at,
        }
    }
}

impl StepCosts {
    /// The most steps whose time, with what is done beside them, is within `seconds`, and that time;
    /// 0 steps where not even one is. `progress(step, max_steps)` is how far a run is.
    pub(crate) fn most_steps(
        &self,
        seconds: f64,
        beside: &Beside,
        progress: impl Fn(u64, u64) -> Progress,
    ) -> (u64, f64) {
        let time = |steps: u64| self.of_run(steps, beside, &progress);
        // `fits` is the number that is known to fit, `too_many` one that does not.
        let (mut fits, mut too_many) = (0, (seconds / self.step.max(1e-9)) as u64 + 1);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if time(middle) <= seconds {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        (fits, time(fits))
    }

    /// What a run of that many steps takes.
    fn of_run(&self, steps: u64, beside: &Beside, progress: &impl Fn(u64, u64) -> Progress) -> f64 {
        let mut seconds = self.final_evaluation + self.samples + self.checkpoint;
        seconds += steps as f64 * self.step;
        let progress = |step: u64| progress(step, steps);
        let work = [
            (beside.evaluate, self.evaluation),
            (beside.sample, self.samples),
            (beside.checkpoint, self.checkpoint),
        ];
        for (trigger, cost) in work {
            seconds += cost * firings(trigger, steps, &progress) as f64;
        }
        seconds
    }
}

/// How often a trigger fires within a run; the end has its own evaluation, samples and checkpoint. Each
/// firing is searched for, as the steps of a long budget are too many to walk through.
fn firings(trigger: Trigger, steps: u64, progress: &impl Fn(u64) -> Progress) -> u64 {
    let (mut count, mut before) = (0, 0);
    loop {
        let from = progress(before);
        let fires = |step: u64| trigger.fires(from, progress(step));
        // Steps grow until it has fired, then the first one with which it has is between two.
        let (mut quiet, mut fired, mut stride) = (before, before + 1, 1);
        while fired < steps && !fires(fired) {
            (quiet, stride) = (fired, 2 * stride);
            fired += stride;
        }
        let mut last = fired.min(steps);
        if last >= steps && (steps == 0 || quiet + 1 >= steps || !fires(steps - 1)) {
            return count;
        }
        last = last.min(steps - 1);
        while last - quiet > 1 {
            let middle = quiet + (last - quiet) / 2;
            if fires(middle) {
                last = middle;
            } else {
                quiet = middle;
            }
        }
        count += 1;
        before = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: u64, max_steps: u64) -> Progress {
        Progress {
            steps: step,
            fraction: step as f64 / max_steps as f64,
            ..Progress::default()
        }
    }

    #[test]
    fn firings_are_counted_as_step_by_step() {
        let tokens = |step: u64| Progress {
            tokens: 700 * step,
            epochs: step as f64 / 37.0,
            ..at(step, 500)
        };
        for (every_steps, every_tokens, every_epochs, every_fraction) in [
            (0, 0, 0.0, 0.0),
            (1, 0, 0.0, 0.0),
            (7, 0, 0.0, 0.0),
            (0, 1000, 0.3, 0.0),
            (499, 0, 0.0, 0.0),
            (500, 0, 0.0, 0.25),
            (0, 0, 1.0, 0.1),
        ] {
            let trigger = Trigger {
                every_steps,
                every_tokens,
                every_epochs,
                every_fraction,
                ..Trigger::default()
            };
            let walked = (1..500).filter(|&n| trigger.fires(tokens(n - 1), tokens(n)));
            assert_eq!(
                firings(trigger, 500, &tokens),
                walked.count() as u64,
                "{trigger:?}"
            );
        }
        assert_eq!(firings(Trigger::default(), 0, &tokens), 0);
        assert_eq!(firings(Trigger::default(), 1, &tokens), 0);
    }

    #[test]
    fn the_work_beside_the_steps_takes_its_share_of_the_budget() {
        let costs = StepCosts {
            step: 1.0,
            evaluation: 10.0,
            final_evaluation: 20.0,
            samples: 5.0,
            checkpoint: 2.0,
        };
        let none = Beside::default();
        assert_eq!(costs.most_steps(100.0, &none, at), (73, 100.0));
        let every = |every_fraction| Trigger {
            every_fraction,
            ..Trigger::default()
        };
        let some = Beside {
            evaluate: every(0.25),
            sample: every(0.5),
            checkpoint: Trigger {
                every_steps: 30,
                ..Trigger::default()
            },
        };
        // 27 at the end, three evaluations, samples once, a checkpoint at step 30.
        assert_eq!(costs.most_steps(100.0, &some, at), (36, 100.0));
        assert_eq!(costs.most_steps(28.0, &none, at), (1, 28.0));
        assert_eq!(costs.most_steps(27.9, &none, at).0, 0);
    }
}
