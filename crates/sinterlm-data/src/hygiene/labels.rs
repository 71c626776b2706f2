//! Labels: weights of classes, and equal texts whose labels conflict.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::canonical::text_key;
use super::excerpt::Excerpts;
use crate::Record;

/// Texts shown as examples.
const EXAMPLES: usize = 5;

/// Weight of each class, `records / (classes · records of the class)`: the weights of all labelled
/// records have mean 1. Empty without labelled records.
///
/// # Example
/// ```
/// use sinterlm_data::{Body, Origin, Record, class_weights};
///
/// let record = |label: &str| {
///     let body = Body::Labelled { text: "...".into(), label: label.into() };
///     Record::new(body, Origin::Made { name: "example", number: 0 })
/// };
/// let weights = class_weights(&[record("ham"), record("ham"), record("ham"), record("spam")]);
/// assert_eq!(weights["spam"], 2.0);
/// ```
pub fn class_weights(records: &[Record]) -> BTreeMap<String, f64> {
    let counts = label_counts(records);
    let all: u64 = counts.values().sum();
    let classes = counts.len() as f64;
    let weight = |(label, count)| (label, all as f64 / (classes * count as f64));
    counts.into_iter().map(weight).collect()
}

/// Records of each label.
pub(super) fn label_counts(records: &[Record]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for label in records.iter().filter_map(Record::label) {
        *counts.entry(label.to_owned()).or_default() += 1;
    }
    counts
}

/// Equal texts with different labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelConflicts {
    /// Distinct texts with more than one label.
    pub texts: u64,
    /// Records with one of these texts.
    pub records: u64,
    /// Some of the texts with their labels, shown like [`StepExample`](crate::StepExample)s.
    pub examples: Vec<String>,
}

/// Finds labelled texts that are equal after the folding of step `exact_duplicates`, with different
/// labels. Called before that step, which keeps the first of them.
pub fn label_conflicts(records: &[Record]) -> LabelConflicts {
    let mut texts: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, record) in records.iter().enumerate() {
        if record.label().is_some() {
            texts.entry(text_key(&record.texts())).or_default().push(i);
        }
    }
    let labels = |members: &[usize]| -> BTreeSet<&str> {
        members.iter().filter_map(|i| records[*i].label()).collect()
    };
    let mut conflicts: Vec<Vec<usize>> = texts.into_values().collect();
    conflicts.retain(|members| labels(members).len() > 1);
    conflicts.sort_unstable();
    let excerpts = Excerpts::plain();
    let examples = conflicts.iter().take(EXAMPLES).map(|members| {
        let labels: Vec<&str> = labels(members).into_iter().collect();
        let text = excerpts.line(&records[members[0]].texts());
        format!("{}: {text}", labels.join(" / "))
    });
    LabelConflicts {
        texts: conflicts.len() as u64,
        records: conflicts.iter().map(|members| members.len() as u64).sum(),
        examples: examples.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn record(text: &str, label: &str) -> Record {
        let body = Body::Labelled {
            text: text.into(),
            label: label.into(),
        };
        Record::new(
            body,
            Origin::Made {
                name: "test",
                number: 0,
            },
        )
    }

    #[test]
    fn conflicts_are_counted_by_text_and_by_record() {
        let records = [
            record("Win now!", "spam"),
            record("hello", "ham"),
            record("win  NOW!", "ham"),
            record("hello", "ham"),
            record("Win now!", "spam"),
        ];
        let found = label_conflicts(&records);
        assert_eq!((found.texts, found.records), (1, 3));
        assert_eq!(found.examples, ["ham / spam: Win now!"]);
    }

    #[test]
    fn weights_are_inverse_frequencies_of_mean_one() {
        let records = [record("a", "x"), record("b", "x"), record("c", "y")];
        let weights = class_weights(&records);
        assert!((weights["x"] - 0.75).abs() < 1e-12 && (weights["y"] - 1.5).abs() < 1e-12);
        assert!(class_weights(&[]).is_empty());
    }
}
