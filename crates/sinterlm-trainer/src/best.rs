//! Which of a run's evaluations is the best one, and what follows from them: retention of its
//! checkpoint, early stopping, and the alarm for overfitting. Part of the run's state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::TrainState;

/// Which way a metric gets better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Smaller is better: losses, perplexity.
    #[default]
    Min,
    /// Larger is better: accuracies, rewards.
    Max,
}

impl Goal {
    /// Whether `value` is better than `other`.
    pub fn prefers(self, value: f64, other: f64) -> bool {
        match self {
            Self::Min => value < other,
            Self::Max => value > other,
        }
    }
}

/// The metric by which evaluations are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Its name among the figures of an evaluation, `valid/loss`.
    pub metric: String,
    /// Which way it gets better.
    pub goal: Goal,
    /// The run ends once an evaluation reaches this value.
    pub stop_at: Option<f64>,
    /// Evaluations in a row that got worse while the training loss fell, after which a run is said to
    /// overfit; 0 = never said.
    pub overfit_patience: u64,
}

impl Default for Best {
    fn default() -> Self {
        Self {
            metric: "valid/loss".to_owned(),
            goal: Goal::Min,
            stop_at: None,
            overfit_patience: 0,
        }
    }
}

impl Best {
    /// Whether `value` is what the run was to reach.
    pub(crate) fn is_reached(&self, value: f64) -> bool {
        self.stop_at
            .is_some_and(|wanted| value.is_finite() && !self.goal.prefers(wanted, value))
    }
}

/// What evaluations have shown so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evaluations {
    /// The metric that they were compared by, and which way it gets better.
    metric: String,
    goal: Goal,
    /// The best value, its step, and evaluations since.
    pub(crate) best: Option<f64>,
    pub(crate) best_step: u64,
    pub(crate) since_best: u64,
    /// The last evaluation's value, and the mean training loss of the steps before it.
    last: Option<f64>,
    last_train: Option<f64>,
    /// Evaluations in a row that got worse while the training loss fell.
    apart: u64,
    /// Tokens since the last evaluation, and their summed loss.
    tokens: f64,
    nats: f64,
}

impl Default for Evaluations {
    fn default() -> Self {
        Self::by(&Best::default())
    }
}

impl Evaluations {
    /// None yet, to be compared by a metric.
    fn by(best: &Best) -> Self {
        Self {
            metric: best.metric.clone(),
            goal: best.goal,
            best: None,
            best_step: 0,
            since_best: 0,
            last: None,
            last_train: None,
            apart: 0,
            tokens: 0.0,
            nats: 0.0,
        }
    }

    /// Begins anew where the metric or its goal is another one: the best of one is not that of the other.
    pub(crate) fn follow(&mut self, best: &Best) {
        if (&self.metric, self.goal) != (&best.metric, best.goal) {
            *self = Self::by(best);
        }
    }

    /// Counts a step's training loss.
    pub(crate) fn trained(&mut self, tokens: f64, loss: f64) {
        self.tokens += tokens;
        self.nats += loss * tokens;
    }

    /// Judges an evaluation after `step`; a line for people where the run overfits.
    pub(crate) fn judge(&mut self, best: &Best, value: f64, step: u64) -> Option<String> {
        let is_better = |than: f64| best.goal.prefers(value, than);
        if value.is_finite() && self.best.is_none_or(is_better) {
            (self.best, self.best_step, self.since_best) = (Some(value), step, 0);
        } else {
            self.since_best += 1;
        }
        let train = (self.tokens > 0.0).then(|| self.nats / self.tokens);
        (self.tokens, self.nats) = (0.0, 0.0);
        let fell = train
            .zip(self.last_train)
            .is_some_and(|(now, before)| now < before);
        let worse = self.last.is_some_and(|last| best.goal.prefers(last, value));
        self.apart = if fell && worse { self.apart + 1 } else { 0 };
        (self.last, self.last_train) = (Some(value), train);
        if best.overfit_patience == 0 || self.apart != best.overfit_patience {
            return None;
        }
        let (metric, apart) = (&best.metric, self.apart);
        Some(format!(
            "step {step}: {metric} got worse in {apart} evaluations in a row while the training loss fell: the run overfits; stop it (trainer.early_stopping_patience), train on more text, or raise model.dropout"
        ))
    }

    pub(crate) fn save(&self, state: &mut TrainState) {
        let mut put = |key: &str, value: Option<f64>| {
            if let Some(value) = value {
                state.put_float(key, value);
            }
        };
        put("best_value", self.best);
        put("last_value", self.last);
        put("last_train_loss", self.last_train);
        put("evaluated_tokens", Some(self.tokens));
        put("evaluated_nats", Some(self.nats));
        let scalars = [
            ("best_metric", self.metric.as_str().into()),
            ("best_goal", serde_json::json!(self.goal)),
            ("best_step", self.best_step.into()),
            ("since_best", self.since_best.into()),
            ("worse_evaluations", self.apart.into()),
        ];
        let named = scalars.map(|(key, value)| (key.to_owned(), value));
        state.scalars.extend(named);
    }

    /// Reads it back, also as earlier releases wrote it, which knew the loss alone.
    pub(crate) fn load(state: &TrainState) -> Self {
        let metric = state
            .scalars
            .get("best_metric")
            .and_then(|name| name.as_str());
        let metric = metric.map_or_else(|| Best::default().metric, str::to_owned);
        let goal = state.scalars.get("best_goal").cloned();
        let goal = goal.and_then(|goal| serde_json::from_value(goal).ok());
        Self {
            metric,
            goal: goal.unwrap_or_default(),
            best: state
                .float("best_value")
                .or_else(|| state.float("best_loss")),
            best_step: state.number("best_step"),
            since_best: state.number("since_best"),
            last: state.float("last_value"),
            last_train: state.float("last_train_loss"),
            apart: state.number("worse_evaluations"),
            tokens: state.float("evaluated_tokens").unwrap_or_default(),
            nats: state.float("evaluated_nats").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(best: &Best, pairs: &[(f64, f64)]) -> (Evaluations, Vec<u64>) {
        let mut evaluations = Evaluations::by(best);
        let mut alarms = Vec::new();
        for (step, &(train, valid)) in (1..).zip(pairs) {
            evaluations.trained(10.0, train);
            if evaluations.judge(best, valid, step).is_some() {
                alarms.push(step);
            }
            // What is stored goes on like what was never stored.
            let mut state = TrainState::default();
            evaluations.save(&mut state);
            assert_eq!(Evaluations::load(&state), evaluations);
        }
        (evaluations, alarms)
    }

    #[test]
    fn validation_that_rises_while_training_falls_gives_one_alarm() {
        let best = Best {
            overfit_patience: 2,
            ..Best::default()
        };
        let overfits = [(5.0, 5.0), (4.0, 4.5), (3.0, 4.6), (2.0, 4.7), (1.0, 4.8)];
        let (evaluations, alarms) = judged(&best, &overfits);
        assert_eq!(alarms, [4]);
        assert_eq!((evaluations.best, evaluations.best_step), (Some(4.5), 2));
        assert_eq!(evaluations.since_best, 3);
        // A rising training loss is no overfitting, nor is a single worse evaluation.
        let noisy = [(5.0, 5.0), (4.0, 5.1), (4.1, 5.2), (4.0, 5.1), (3.9, 5.2)];
        assert_eq!(judged(&best, &noisy).1, [0; 0]);
        assert_eq!(
            judged(&Best::default(), &overfits).1,
            [0; 0],
            "off by default"
        );
    }

    #[test]
    fn a_metric_may_be_better_the_larger_it_is_and_has_a_value_to_reach() {
        let best = Best {
            metric: "valid/accuracy".to_owned(),
            goal: Goal::Max,
            stop_at: Some(0.9),
            ..Best::default()
        };
        let (evaluations, _) = judged(&best, &[(1.0, 0.5), (1.0, 0.8), (1.0, 0.7)]);
        assert_eq!((evaluations.best, evaluations.best_step), (Some(0.8), 2));
        assert_eq!(
            [0.89, 0.9, 0.95, f64::NAN].map(|v| best.is_reached(v)),
            [false, true, true, false]
        );
        let perplexity = Best {
            stop_at: Some(40.0),
            ..Best::default()
        };
        assert_eq!(
            [41.0, 40.0, 3.0].map(|v| perplexity.is_reached(v)),
            [false, true, true]
        );
    }

    #[test]
    fn values_of_another_metric_are_not_taken_over() {
        let (mut evaluations, _) = judged(&Best::default(), &[(1.0, 2.0)]);
        evaluations.follow(&Best::default());
        assert_eq!(evaluations.best, Some(2.0));
        let other = Best {
            metric: "valid/perplexity".to_owned(),
            ..Best::default()
        };
        evaluations.follow(&other);
        assert_eq!(evaluations, Evaluations::by(&other));
        evaluations.judge(&other, 3.0, 1);
        let rising = Best {
            goal: Goal::Max,
            ..other
        };
        evaluations.follow(&rising);
        assert_eq!(evaluations, Evaluations::by(&rising));
        // Earlier releases wrote the loss without its name.
        let mut old = TrainState::default();
        old.put_float("best_loss", 2.5);
        assert_eq!(Evaluations::load(&old).best, Some(2.5));
    }
}
