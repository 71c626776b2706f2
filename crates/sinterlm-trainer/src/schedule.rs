//! Learning-rate schedules as pure functions of the step, so that a resumed run needs no state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

/// The form of the decay after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// No decay.
    Constant,
    /// A straight line to the final rate.
    Linear,
    /// Half a cosine to the final rate (Loshchilov and Hutter 2017, <https://arxiv.org/abs/1608.03983>).
    #[default]
    Cosine,
    /// `√(warmup_steps / step)` (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>); never ends.
    InverseSqrt,
    /// Warm-up, constant, then a straight line over the last `decay_fraction` of the run
    /// (Hu et al. 2024, <https://arxiv.org/abs/2404.06395>).
    WarmupStableDecay,
}

/// Learning rate over the run, as a factor on each group's peak rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// `constant`, `linear`, `cosine`, `inverse_sqrt` or `warmup_stable_decay`.
    pub kind: ScheduleKind,
    /// Steps of linear rise from 0 to the peak; the first step already trains.
    pub warmup_steps: u64,
    /// The same as a share of the run, in place of `warmup_steps` where above 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_fraction: f64,
    /// Rate of the last step as a share of the peak, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub final_lr_fraction: f64,
    /// Share of the run that `warmup_stable_decay` decays over, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay_fraction: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup_steps: 100,
            warmup_fraction: 0.0,
            final_lr_fraction: 0.1,
            decay_fraction: 0.2,
        }
    }
}

impl Validate for ScheduleConfig {
    fn validate(&self, check: &mut Check) {
        let inverse = self.kind == ScheduleKind::InverseSqrt;
        let warms_up = self.warmup_steps > 0 || self.warmup_fraction > 0.0;
        check.require(!inverse || warms_up, "warmup_steps", || {
            "inverse_sqrt is scaled by the warm-up; use at least 1".to_owned()
        });
    }
}

impl ScheduleConfig {
    /// Steps of warm-up in a run of `max_steps`.
    pub fn warmup(&self, max_steps: u64) -> u64 {
        if self.warmup_fraction > 0.0 {
            (self.warmup_fraction * max_steps as f64).round() as u64
        } else {
            self.warmup_steps
        }
    }

    /// Factor of the peak rate at `step`, counted from 1, of a run of `max_steps`: in `0..=1`.
    ///
    /// Warm-up gives `step / warmup`, so that the peak is reached at its last step;
    /// the final rate is reached at step `max_steps`.
    pub fn factor(&self, step: u64, max_steps: u64) -> f64 {
        let warmup = self.warmup(max_steps) as f64;
        let (step, end) = (step as f64, max_steps as f64);
        if step < warmup {
            return step / warmup;
        }
        let last = self.final_lr_fraction;
        // 0 at the end of warm-up, 1 at the last step.
        let done = |from: f64| ((step - from) / (end - from).max(1.0)).clamp(0.0, 1.0);
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => 1.0 - (1.0 - last) * done(warmup),
            ScheduleKind::Cosine => {
                let half = 0.5 * (1.0 + (std::f64::consts::PI * done(warmup)).cos());
                last + (1.0 - last) * half
            }
            ScheduleKind::InverseSqrt => (warmup.max(1.0) / step.max(1.0)).sqrt(),
            ScheduleKind::WarmupStableDecay => {
                let decay_from = (end * (1.0 - self.decay_fraction)).max(warmup);
                1.0 - (1.0 - last) * done(decay_from)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [ScheduleKind; 5] = [
        ScheduleKind::Constant,
        ScheduleKind::Linear,
        ScheduleKind::Cosine,
        ScheduleKind::InverseSqrt,
        ScheduleKind::WarmupStableDecay,
    ];

    proptest! {
        #[test]
        fn schedules_stay_in_range_and_never_rise_after_warmup(
            kind in 0usize..5, warmup in 1u64..50, extra in 1u64..200, last in 0.0f64..1.0,
        ) {
            let max_steps = warmup + extra;
            let schedule = ScheduleConfig {
                kind: KINDS[kind], warmup_steps: warmup, final_lr_fraction: last, decay_fraction: 0.3,
                ..ScheduleConfig::default()
            };
            let factors: Vec<f64> = (1..=max_steps).map(|s| schedule.factor(s, max_steps)).collect();
            prop_assert!(factors.iter().all(|f| (0.0..=1.0).contains(f) && *f > 0.0 || last == 0.0));
            let peak = warmup as usize - 1;
            prop_assert!((factors[peak] - 1.0).abs() < 1e-12, "peak at the end of warm-up");
            prop_assert!(factors[..=peak].is_sorted());
            prop_assert!(factors[peak..].is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn a_warm_up_may_be_a_share_of_the_run() {
        let (by_steps, by_share) = (
            ScheduleConfig {
                warmup_steps: 50,
                ..Default::default()
            },
            ScheduleConfig {
                warmup_fraction: 0.05,
                ..Default::default()
            },
        );
        for step in 1..=1000 {
            let factors = [&by_steps, &by_share].map(|s| s.factor(step, 1000).to_bits());
            assert_eq!(factors[0], factors[1], "step {step}");
        }
        assert_eq!(by_share.warmup(3), 0);
    }

    #[test]
    fn decaying_schedules_end_at_the_final_rate() {
        for kind in [
            ScheduleKind::Linear,
            ScheduleKind::Cosine,
            ScheduleKind::WarmupStableDecay,
        ] {
            let schedule = ScheduleConfig {
                kind,
                final_lr_fraction: 0.05,
                ..Default::default()
            };
            assert!(
                (schedule.factor(1000, 1000) - 0.05).abs() < 1e-12,
                "{kind:?}"
            );
        }
    }
}
