//! What an objective reports beside its loss: KL, margins, accuracies, lengths; and their way into a
//! line of metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Tensor};
use serde_json::{Map, Value, json};
use sinterlm_run::SampleText;

use crate::state::TrainState;

/// Collects the named figures of one optimizer step.
///
/// Names follow the metrics: `rewards/margin`, `objective/kl`. Within a step and within an interval of
/// the log, sums and counts add up over micro-batches and steps, so that a figure is a mean over all
/// that it speaks of and never a mean of means; of values that are set, the last one counts. A name with
/// a sum is never a set value.
#[derive(Debug, Default)]
pub struct Figures {
    sums: Vec<(Cow<'static, str>, Tensor<1>, f64)>,
    values: Vec<(Cow<'static, str>, f64)>,
}

impl Figures {
    /// Adds a sum, shape `[1]`, on the device, and how many it is the sum of. It is read with the
    /// step's loss, so that it costs no wait of its own.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, sum: Tensor<1>, count: f64) {
        let name = name.into();
        assert_eq!(sum.dims(), [1], "Figures::add: {name} must be of shape [1]");
        let sum = sum.without_autodiff().cast(FloatDType::F32);
        self.sums.push((name, sum, count));
    }

    /// Sets a number that the host knows: a coefficient, a share of something.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        self.values.push((name.into(), value));
    }

    /// Reads the shares of the loss and all sums from the device, in one piece.
    pub(crate) fn read(self, shares: Vec<Tensor<1>>) -> (f64, Named) {
        let micro_batches = shares.len();
        let mut named = Named::default();
        let mut tensors = shares;
        let mut counted = Vec::with_capacity(self.sums.len());
        for (name, sum, count) in self.sums {
            tensors.push(sum);
            counted.push((name, count));
        }
        let read: Vec<f64> = match tensors.len() {
            0 => Vec::new(),
            1 => vec![f64::from(tensors.remove(0).into_scalar::<f32>())],
            _ => Tensor::cat(tensors, 0).into_data().iter::<f64>().collect(),
        };
        let loss = read[..micro_batches].iter().sum();
        for ((name, count), sum) in counted.into_iter().zip(&read[micro_batches..]) {
            let (total, of) = named.sums.entry(name.into_owned()).or_default();
            *total += sum;
            *of += count;
        }
        for (name, value) in self.values {
            named.values.insert(name.into_owned(), value);
        }
        (loss, named)
    }
}

/// Figures by name, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Named {
    /// Sums and counts.
    sums: BTreeMap<String, (f64, f64)>,
    values: BTreeMap<String, f64>,
}

impl Named {
    /// Adds those of a later step.
    pub(crate) fn extend(&mut self, later: &Self) {
        for (name, (sum, count)) in &later.sums {
            let (total, of) = self.sums.entry(name.clone()).or_default();
            *total += sum;
            *of += count;
        }
        let values = later
            .values
            .iter()
            .map(|(name, value)| (name.clone(), *value));
        self.values.extend(values);
    }

    /// One figure.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        match self.sums.get(name) {
            Some((sum, count)) => (*count > 0.0).then(|| sum / count),
            None => self.values.get(name).copied(),
        }
    }

    /// All figures, in the order of their names.
    pub(crate) fn all(&self) -> Vec<(String, f64)> {
        let mut names: Vec<&String> = self.sums.keys().chain(self.values.keys()).collect();
        names.sort();
        names.dedup();
        let figure = |name: &String| Some((name.clone(), self.get(name)?));
        names.into_iter().filter_map(figure).collect()
    }

    /// Writes them into a run's state under `key`; nothing where there are none.
    pub(crate) fn save(&self, key: &str, state: &mut TrainState) {
        if *self == Self::default() {
            return;
        }
        let text = |number: &f64| Value::from(format!("{number:?}"));
        let sums = self.sums.iter();
        let sums = sums.map(|(name, (sum, count))| (name.clone(), json!([text(sum), text(count)])));
        let values = self.values.iter();
        let values = values.filter(|(name, _)| !self.sums.contains_key(*name));
        let values = values.map(|(name, value)| (name.clone(), text(value)));
        let all: Map<String, Value> = sums.chain(values).collect();
        state.scalars.insert(key.to_owned(), all.into());
    }

    /// Reads them back.
    pub(crate) fn load(key: &str, state: &TrainState) -> Self {
        let mut named = Self::default();
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
        let stored = state.scalars.get(key).and_then(Value::as_object);
        for (name, value) in stored.into_iter().flatten() {
            if let Some([sum, count]) = value.as_array().map(Vec::as_slice) {
                if let (Some(sum), Some(count)) = (number(sum), number(count)) {
                    named.sums.insert(name.clone(), (sum, count));
                }
            } else if let Some(value) = number(value) {
                named.values.insert(name.clone(), value);
            }
        }
        named
    }
}

/// The figures of one optimizer step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepFigures {
    /// Number of the step, from 1.
    pub step: u64,
    /// Loss before the update, divided by the counts of the step: nats per token for a loss of tokens.
    pub loss: f64,
    /// Tokens of the step that carried loss.
    pub tokens: f64,
    /// Learning rate of the step: the schedule's factor on `peak_lr`.
    pub lr: f64,
    /// Euclidean norm of all gradients, before clipping.
    pub grad_norm: f64,
    /// Whether nothing was updated, since the loss or the gradient was not finite.
    pub skipped: bool,
    pub(crate) named: Named,
}

impl StepFigures {
    /// A figure that the objective reported in this step; none where it did not.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.named.get(name)
    }
}

/// Texts that an objective wants people to see, rollouts for example.
#[derive(Debug, Default)]
pub struct Samples(pub(crate) Vec<SampleText>);

impl Samples {
    /// Adds a prompt and what followed it. It reaches the observers after the step.
    pub fn push(&mut self, prompt: impl Into<String>, text: impl Into<String>) {
        let (prompt, text) = (prompt.into(), text.into());
        self.0.push(SampleText { prompt, text });
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn one(value: f32) -> Tensor<1> {
        Tensor::from_data([value], &Device::flex())
    }

    #[test]
    fn sums_add_up_over_micro_batches_and_steps_and_the_last_value_counts() {
        let mut interval = Named::default();
        for (sums, value) in [
            ([(6.0, 2.0), (1.0, 8.0)], 0.5),
            ([(3.0, 1.0), (2.0, 1.0)], 0.25),
        ] {
            let mut figures = Figures::default();
            for (sum, count) in sums {
                figures.add("margin", one(sum), count);
            }
            figures.set("beta", value);
            let (loss, step) = figures.read(vec![one(1.5), one(0.5)]);
            assert!((loss - 2.0).abs() < 1e-12);
            interval.extend(&step);
        }
        assert_eq!(
            interval.all(),
            [("beta".to_owned(), 0.25), ("margin".to_owned(), 1.0)]
        );
        let mut state = TrainState::default();
        interval.save("interval", &mut state);
        assert_eq!(Named::load("interval", &state), interval);
    }

    #[test]
    fn a_figure_of_nothing_is_absent_and_no_figure_leaves_no_trace() {
        let mut figures = Figures::default();
        figures.add("accuracy", one(0.0), 0.0);
        let (_, named) = figures.read(Vec::new());
        assert_eq!((named.get("accuracy"), named.all()), (None, Vec::new()));
        let mut state = TrainState::default();
        Named::default().save("interval", &mut state);
        assert_eq!(state, TrainState::default());
    }
}
