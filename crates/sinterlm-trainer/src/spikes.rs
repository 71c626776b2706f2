//! The alarm for a loss that jumps up: how far a step's loss lies above those of the last steps.

use std::collections::VecDeque;

/// The losses of the last steps; part of the run's state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spikes {
    /// Oldest first, in f32, which decimal text keeps exactly.
    pub(crate) window: VecDeque<f32>,
    /// Alarms so far.
    pub(crate) count: u64,
}

impl Spikes {
    /// Steps looked back at.
    const WINDOW: usize = 64;
    /// Steps from which a spread means something.
    const LEAST: usize = 32;
    /// The standard deviation of a normal distribution in its median absolute deviations.
    const DEVIATION: f64 = 1.4826;
    /// Share of the median that the deviation is at least taken for: a loss which hardly moves is no
    /// reason for alarms.
    const FLOOR: f64 = 1e-3;

    /// Adds a step's loss; its robust z-score where that is above `threshold`, and the loss before it
    /// was not. 0 as threshold switches the alarm off.
    pub(crate) fn judge(&mut self, loss: f64, threshold: f64) -> Option<f64> {
        if threshold <= 0.0 {
            return None;
        }
        let z = self.score(loss).filter(|z| *z > threshold);
        let before = self
            .window
            .back()
            .and_then(|last| self.score(f64::from(*last)));
        let begins = before.is_none_or(|before| before <= threshold);
        if self.window.len() == Self::WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(loss as f32);
        let alarm = z.filter(|_| begins);
        self.count += u64::from(alarm.is_some());
        alarm
    }

    /// `(loss − median) / (1.4826 · median absolute deviation)` (Iglewicz and Hoaglin 1993).
    fn score(&self, loss: f64) -> Option<f64> {
        if self.window.len() < Self::LEAST {
            return None;
        }
        let middle = median(self.window.iter().map(|x| f64::from(*x)).collect());
        let spread = median(
            self.window
                .iter()
                .map(|x| (f64::from(*x) - middle).abs())
                .collect(),
        );
        Some(
            (loss - middle)
                / (Self::DEVIATION * spread)
                    .max(Self::FLOOR * middle.abs())
                    .max(1e-12),
        )
    }
}

/// The upper one of two middle values.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A falling loss with noise of a few per cent.
    fn loss(step: u64) -> f64 {
        let noise = (step as f64 * 12.9898).sin() * 0.1;
        3.0 + 5.0 * (-(step as f64) / 40.0).exp() + noise
    }

    #[test]
    fn a_falling_loss_gives_no_alarm_and_a_jump_gives_one() {
        let mut spikes = Spikes::default();
        let alarms: Vec<u64> = (0..400)
            .filter(|&step| {
                // Three bad steps in a row are one spike.
                let jump = if (300..303).contains(&step) { 2.5 } else { 0.0 };
                spikes.judge(loss(step) + jump, 6.0).is_some()
            })
            .collect();
        assert_eq!(alarms, [300]);
        assert_eq!(spikes.count, 1);
    }

    #[test]
    fn few_steps_a_flat_loss_and_a_threshold_of_zero_give_none() {
        let mut young = Spikes::default();
        assert!((0..20).all(|step| {
            young
                .judge(loss(step) * f64::from(step == 19) * 9.0, 6.0)
                .is_none()
        }));
        let mut flat = Spikes::default();
        assert!((0..100).all(|step| flat.judge(2.0 + 1e-3 * f64::from(step % 2), 6.0).is_none()));
        let mut off = Spikes::default();
        assert!((0..100).all(|step| off.judge(f64::from(step), 0.0).is_none()));
    }
}
