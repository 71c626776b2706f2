//! The step `balance`: large classes are undersampled.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Seed, Stream, Validate};

use super::action::{Action, Loss};
use crate::Record;
use crate::records::content_key;

/// Settings of step `balance`. Records without a class stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceStep {
    /// What makes a class.
    pub by: BalanceBy,
    /// The most records of a class for each one of the smallest class, at least 1.
    #[schemars(range(min = 1.0))]
    pub ratio: f64,
}

/// What makes a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceBy {
    /// The label of a labelled text.
    #[default]
    Label,
    /// The task.
    Task,
}

impl Default for BalanceStep {
    fn default() -> Self {
        Self {
            by: BalanceBy::Label,
            ratio: 1.0,
        }
    }
}

impl Validate for BalanceStep {
    fn validate(&self, check: &mut Check) {
        let is_usable = self.ratio >= 1.0 && self.ratio.is_finite();
        check.require(is_usable, "ratio", || {
            format!("{} is below 1; use 1 for classes of equal size", self.ratio)
        });
    }
}

impl BalanceStep {
    pub(super) fn action(&self, seed: u64) -> Action {
        let step = self.clone();
        Action::Select(Box::new(move |records| step.losses(records, seed)))
    }

    fn losses(&self, records: &[Record], seed: u64) -> Vec<Option<Loss>> {
        let mut classes: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
        for (i, record) in records.iter().enumerate() {
            let class = match self.by {
                BalanceBy::Label => record.label(),
                BalanceBy::Task => record.task.as_deref(),
            };
            if let Some(class) = class {
                // By content, so that the choice outlives reordered files.
                let key = Seed(seed).key(Stream::Split, 0, 1, content_key(record));
                classes.entry(class).or_default().push((key, i));
            }
        }
        let smallest = classes.values().map(Vec::len).min().unwrap_or(0);
        let most = (smallest as f64 * self.ratio).ceil() as usize;
        let mut losses: Vec<Option<Loss>> = records.iter().map(|_| None).collect();
        for (class, mut members) in classes {
            members.sort_unstable();
            for (_, i) in members.into_iter().skip(most) {
                losses[i] = Some(Loss::new(format!("too many of {class}"), ""));
            }
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn records(order: impl Iterator<Item = u64>) -> Vec<Record> {
        let record = |number: u64| {
            let body = Body::Labelled {
                text: format!("text {number}"),
                label: if number.is_multiple_of(5) {
                    "spam"
                } else {
                    "ham"
                }
                .into(),
            };
            Record::new(
                body,
                Origin::Made {
                    name: "test",
                    number,
                },
            )
        };
        order.map(record).collect()
    }

    fn kept(step: &BalanceStep, records: &[Record], seed: u64) -> Vec<String> {
        let losses = step.losses(records, seed);
        let kept = records
            .iter()
            .zip(losses)
            .filter(|(_, loss)| loss.is_none());
        let mut kept: Vec<String> = kept
            .map(|(record, _)| record.texts()[0].to_owned())
            .collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn classes_shrink_to_the_ratio_whatever_the_order_of_records() {
        let step = BalanceStep::default();
        let (forward, backward) = (records(0..100), records((0..100).rev()));
        assert_eq!(kept(&step, &forward, 1).len(), 40);
        assert_eq!(kept(&step, &forward, 1), kept(&step, &backward, 1));
        assert_ne!(kept(&step, &forward, 1), kept(&step, &forward, 2));
        let step = BalanceStep {
            ratio: 1.52,
            ..step
        };
        assert_eq!(kept(&step, &forward, 1).len(), 20 + 31);
    }
}
