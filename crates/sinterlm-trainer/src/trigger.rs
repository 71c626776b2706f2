//! When something happens within a run.

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Finished optimizer steps.
    pub steps: u64,
    /// Trained tokens.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: u64,
    /// Passes over the data; 0 for an objective that has none.
    pub epochs: f64,
    /// Share of the run's steps that are done, 0 to 1.
    pub fraction: f64,
}

/// When something happens: whichever comes first; 0 switches a condition off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trigger {
    /// After that many optimizer steps.
    pub every_steps: u64,
    /// After that many trained tokens.
    pub every_tokens: u64,
    /// After that much time, in seconds.
    pub every_seconds: u64,
    /// After that many passes over the data, or after a part of one.
    pub every_epochs: f64,
    /// After that share of the run.
    pub every_fraction: f64,
}

impl Trigger {
    /// Whether the trigger fires between two points of a run.
    pub fn fires(&self, before: Progress, now: Progress) -> bool {
        let crossed = |every: u64, before: u64, now: u64| every > 0 && before / every < now / every;
        // A tenth of a run of 1000 steps ends with step 300, whatever 0.3 / 0.1 is in binary.
        let part = |every: f64, at: f64| (at / every + 1e-9).floor();
        let passed = |every: f64, before: f64, now: f64| {
            every > 0.0 && part(every, before) < part(every, now)
        };
        crossed(self.every_steps, before.steps, now.steps)
            || crossed(self.every_tokens, before.tokens, now.tokens)
            || crossed(self.every_seconds, before.seconds, now.seconds)
            || passed(self.every_epochs, before.epochs, now.epochs)
            || passed(self.every_fraction, before.fraction, now.fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(steps: u64, tokens: u64) -> Progress {
        Progress {
            steps,
            tokens,
            ..Progress::default()
        }
    }

    #[test]
    fn a_trigger_fires_once_per_interval_even_when_tokens_jump_over_it() {
        let trigger = Trigger {
            every_tokens: 1000,
            ..Trigger::default()
        };
        assert!(!trigger.fires(at(0, 0), at(1, 900)));
        assert!(trigger.fires(at(1, 900), at(2, 1800)));
        assert!(!Trigger::default().fires(at(0, 0), at(9, 9)));
    }

    #[test]
    fn fractions_and_epochs_fire_at_the_step_that_ends_them() {
        let fired = |trigger: Trigger, steps: u64, rows_per_epoch: f64| {
            let progress = |step: u64| Progress {
                steps: step,
                epochs: step as f64 / rows_per_epoch,
                fraction: step as f64 / steps as f64,
                ..Progress::default()
            };
            let fires = |step: &u64| trigger.fires(progress(step - 1), progress(*step));
            (1..=steps).filter(fires).collect::<Vec<_>>()
        };
        let tenth = Trigger {
            every_fraction: 0.1,
            ..Trigger::default()
        };
        assert_eq!(
            fired(tenth, 1000, 1.0),
            (1..=10).map(|n| 100 * n).collect::<Vec<_>>()
        );
        assert_eq!(fired(tenth, 7, 1.0), [1, 2, 3, 4, 5, 6, 7]);
        let epochs = |every_epochs| Trigger {
            every_epochs,
            ..Trigger::default()
        };
        assert_eq!(fired(epochs(1.0), 10, 3.0), [3, 6, 9]);
        assert_eq!(fired(epochs(0.5), 6, 4.0), [2, 4, 6]);
        assert_eq!(
            fired(epochs(1.0), 5, 2.5),
            [3, 5],
            "an epoch ends within a step"
        );
    }
}
