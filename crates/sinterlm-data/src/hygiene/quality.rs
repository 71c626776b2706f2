//! The step `quality`: simple shares by which text that is hardly prose is told from prose.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::action::{Action, Loss, require_share};
use super::shingles::Words;
use crate::Record;

/// Settings of step `quality`, after the rules of Gopher (Rae et al. 2021, table A1,
/// <https://arxiv.org/abs/2112.11446>). A record's texts count as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QualityStep {
    /// Smallest share of letters (of any script) among the characters that are no white space. Gopher
    /// asks for a letter in 0.8 of the words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_letters: Option<f64>,
    /// Largest share of punctuation and symbols among the characters that are no white space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_punctuation: Option<f64>,
    /// Largest share of lines that repeat an earlier one; blank lines do not count. Gopher: 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_repeated_lines: Option<f64>,
    /// Largest share of word n-grams that repeat an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_repeated_ngrams: Option<f64>,
    /// Words of an n-gram.
    #[schemars(range(min = 1))]
    pub ngram: usize,
}

impl Default for QualityStep {
    fn default() -> Self {
        Self {
            min_letters: None,
            max_punctuation: None,
            max_repeated_lines: None,
            max_repeated_ngrams: None,
            ngram: 5,
        }
    }
}

impl Validate for QualityStep {
    fn validate(&self, check: &mut Check) {
        let shares = [
            ("min_letters", self.min_letters),
            ("max_punctuation", self.max_punctuation),
            ("max_repeated_lines", self.max_repeated_lines),
            ("max_repeated_ngrams", self.max_repeated_ngrams),
        ];
        check.require(shares.iter().any(|(_, share)| share.is_some()), "", || {
            "sets no limit; set one, such as max_repeated_lines, or take the step out".into()
        });
        for (field, share) in shares {
            require_share(check, field, share);
        }
        check.require(self.ngram > 0, "ngram", || "0 is no length; use 5".into());
    }
}

impl QualityStep {
    pub(super) fn action(&self) -> Action {
        let step = self.clone();
        Action::filter(move |record| step.judge(record))
    }

    fn judge(&self, record: &Record) -> Option<Loss> {
        let texts = record.texts();
        let (mut all, mut letters, mut marks) = (0_u64, 0_u64, 0_u64);
        for c in texts.iter().flat_map(|text| text.chars()) {
            if c.is_whitespace() {
                continue;
            }
            all += 1;
            letters += u64::from(c.is_alphabetic());
            marks += u64::from(!c.is_alphanumeric());
        }
        let detail = |share: f64| format!("{:.1} %", 100.0 * share);
        let letters = share(letters, all);
        if self.min_letters.is_some_and(|min| letters < min) {
            return Some(Loss::new("too few letters", detail(letters)));
        }
        let marks = share(marks, all);
        if self.max_punctuation.is_some_and(|max| marks > max) {
            return Some(Loss::new("too much punctuation", detail(marks)));
        }
        if let Some(max) = self.max_repeated_lines {
            let lines = texts.iter().flat_map(|text| text.lines().map(str::trim));
            let repeated = repeated(lines.filter(|line| !line.is_empty()));
            if repeated > max {
                return Some(Loss::new("repeated lines", detail(repeated)));
            }
        }
        if let Some(max) = self.max_repeated_ngrams {
            let words = Words::of(&texts);
            let repeated = repeated(words.hashes().windows(self.ngram));
            if repeated > max {
                return Some(Loss::new("repeated n-grams", detail(repeated)));
            }
        }
        None
    }
}

/// The share of items that repeat an earlier one.
fn repeated<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>) -> f64 {
    let mut seen = HashSet::new();
    let (mut again, mut all) = (0, 0);
    for item in items {
        all += 1;
        again += u64::from(!seen.insert(item));
    }
    share(again, all)
}

fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn reason(step: &QualityStep, text: &str) -> Option<String> {
        let body = Body::Labelled {
            text: text.into(),
            label: "a".into(),
        };
        let record = Record::new(
            body,
            Origin::Made {
                name: "test",
                number: 0,
            },
        );
        step.judge(&record).map(|loss| loss.reason.into_owned())
    }

    #[test]
    fn each_limit_finds_its_kind_of_text() {
        let step = QualityStep {
            min_letters: Some(0.5),
            max_punctuation: Some(0.3),
            max_repeated_lines: Some(0.3),
            max_repeated_ngrams: Some(0.3),
            ngram: 2,
        };
        assert_eq!(reason(&step, "The cat sat on the mat, again."), None);
        assert_eq!(reason(&step, "猫坐在垫子上。"), None);
        assert_eq!(
            reason(&step, "12 34 56 a").as_deref(),
            Some("too few letters")
        );
        let marks = reason(&step, "abcdef ?!?!?");
        assert_eq!(marks.as_deref(), Some("too much punctuation"));
        let lines = reason(&step, "buy now\n\nbuy now\nat once");
        assert_eq!(lines.as_deref(), Some("repeated lines"));
        let grams = reason(&step, "go on go on go on go on");
        assert_eq!(grams.as_deref(), Some("repeated n-grams"));
    }
}
