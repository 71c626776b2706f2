//! Exact match of answers with references, for all of them and by task.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::{Interval, Normalisation};

/// A reference and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The task that it belongs to, if the set names tasks.
    pub task: Option<&'a str>,
    /// The right answer.
    pub reference: &'a str,
    /// The answer given.
    pub text: &'a str,
}

/// Exact match over all answers and by task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExactMatch {
    /// Over all answers, each counting once; its majority answer is each task's own.
    #[serde(flatten)]
    pub all: MatchFigures,
    /// By task, of the answers that have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, MatchFigures>,
    /// What answers and references went through before they were compared.
    pub normalisation: Normalisation,
}

/// Exact match of a set of answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchFigures {
    /// Share of answers that equal their reference after normalisation.
    pub exact_match: f64,
    /// Lower end of Wilson's 95 % interval.
    pub exact_match_low: f64,
    /// Upper end.
    pub exact_match_high: f64,
    /// What giving each task's most frequent reference as the answer to all of it scores. Taken
    /// from the references that are scored themselves, so no constant answer does better.
    pub majority: f64,
    /// Answers.
    pub count: u64,
}

/// Answers of one task.
#[derive(Default)]
struct Counts {
    hits: u64,
    count: u64,
    references: HashMap<String, u64>,
}

impl ExactMatch {
    /// Compares each answer with its reference; `None` of no answers.
    ///
    /// ```
    /// use sinterlm_eval::{Answer, ExactMatch, Normalisation};
    /// let answer = |reference, text| Answer { task: Some("case"), reference, text };
    /// let answers = [answer("CAT", "cat."), answer("dog", "a dog")];
    /// let figures = ExactMatch::of(&answers, Normalisation::Plain).unwrap();
    /// assert_eq!(figures.tasks["case"].exact_match, 0.5);
    /// ```
    pub fn of(answers: &[Answer<'_>], normalisation: Normalisation) -> Option<Self> {
        let mut tasks: BTreeMap<Option<&str>, Counts> = BTreeMap::new();
        for answer in answers {
            let counts = tasks.entry(answer.task).or_default();
            let reference = normalisation.apply(answer.reference);
            counts.count += 1;
            counts.hits += u64::from(normalisation.apply(answer.text) == reference);
            *counts.references.entry(reference).or_default() += 1;
        }
        let sum = |part: fn(&Counts) -> u64| tasks.values().map(part).sum();
        let all = MatchFigures::of(
            sum(|task| task.hits),
            sum(Counts::majority),
            sum(|task| task.count),
        )?;
        let named = tasks.iter().filter_map(|(name, counts)| {
            let figures = MatchFigures::of(counts.hits, counts.majority(), counts.count)?;
            Some(((*name)?.to_owned(), figures))
        });
        Some(Self {
            all,
            tasks: named.collect(),
            normalisation,
        })
    }
}

impl Counts {
    /// How often the most frequent reference occurs.
    fn majority(&self) -> u64 {
        self.references.values().copied().max().unwrap_or(0)
    }
}

impl MatchFigures {
    fn of(hits: u64, majority: u64, count: u64) -> Option<Self> {
        let share = Interval::wilson(hits, count)?;
        Some(Self {
            exact_match: share.value,
            exact_match_low: share.low,
            exact_match_high: share.high,
            majority: majority as f64 / count as f64,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(task: Option<&'a str>, reference: &'a str, text: &'a str) -> Answer<'a> {
        Answer {
            task,
            reference,
            text,
        }
    }

    #[test]
    fn the_majority_answer_is_each_tasks_own() {
        let answers = [
            answer(Some("yes or no"), "yes", "no"),
            answer(Some("yes or no"), "Yes.", "yes"),
            answer(Some("yes or no"), "no", "no"),
            answer(Some("sum"), "4", "4"),
            answer(None, "x", ""),
        ];
        let figures = ExactMatch::of(&answers, Normalisation::Plain).unwrap();
        assert!((figures.all.majority - 4.0 / 5.0).abs() < 1e-12);
        assert!((figures.all.exact_match - 3.0 / 5.0).abs() < 1e-12);
        assert!((figures.tasks["yes or no"].majority - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(figures.tasks.len(), 2);
    }

    #[test]
    fn figures_are_written_under_the_summarys_names() {
        let figures = ExactMatch::of(&[answer(None, "a", "a")], Normalisation::Squad).unwrap();
        let json = serde_json::to_value(&figures).unwrap();
        for name in ["exact_match", "exact_match_low", "exact_match_high"] {
            assert!(json[name].is_f64(), "{json}");
        }
        assert_eq!(
            (&json["count"], &json["normalisation"]),
            (&1.into(), &"squad".into())
        );
        assert!(json.get("tasks").is_none());
        assert_eq!(serde_json::from_value::<ExactMatch>(json).unwrap(), figures);
    }

    #[test]
    fn no_answers_have_no_figures() {
        assert_eq!(ExactMatch::of(&[], Normalisation::Plain), None);
    }
}
