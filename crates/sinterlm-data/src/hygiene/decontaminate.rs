//! The step `decontaminate`: records that an evaluation set has, too, go.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::action::{Action, Loss, Ready, require_share};
use super::context::CleanContext;
use super::shingles::Words;
use crate::records::records_hash;
use crate::{DataError, Record};

/// Settings of step `decontaminate`.
///
/// A record goes if one of its texts shares at least `share` of its word n-grams with texts of the
/// evaluation records; PaLM's rule with PaLM's values (Chowdhery et al. 2022, section 8,
/// <https://arxiv.org/abs/2204.02311>). A text of fewer than `ngram` words is compared as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecontaminateStep {
    /// Words of an n-gram. PaLM: 8, GPT-3: 13.
    #[schemars(range(min = 1))]
    pub ngram: usize,
    /// Share of a text's n-grams from which on it counts as known, above 0 and up to 1. PaLM: 0.7.
    pub share: f64,
    /// Texts of fewer words are never compared: `yes` is the answer to many questions.
    #[schemars(range(min = 1))]
    pub min_words: usize,
}

impl Default for DecontaminateStep {
    fn default() -> Self {
        Self {
            ngram: 8,
            share: 0.7,
            min_words: 4,
        }
    }
}

impl Validate for DecontaminateStep {
    fn validate(&self, check: &mut Check) {
        require_share(check, "share", Some(self.share));
        check.require(self.share != 0.0, "share", || {
            "0 would drop every record; use 0.7, or 0.01 for any n-gram at all".into()
        });
        check.require(self.ngram > 0, "ngram", || "0 is no length; use 8".into());
        check.require(self.min_words > 0, "min_words", || {
            "0 is no length; use 4".into()
        });
    }
}

impl DecontaminateStep {
    pub(super) fn ready(&self, context: &CleanContext<'_>) -> Result<Ready, DataError> {
        if context.evaluation.is_empty() {
            return Err(DataError::HygieneStep {
                step: "decontaminate",
                fault:
                    "no evaluation records are given; name an evaluation set or take the step out"
                        .into(),
            });
        }
        let step = self.clone();
        let texts = context.evaluation.iter().flat_map(Record::texts);
        let known: HashSet<u64> = texts.flat_map(|text| step.ngrams(text)).collect();
        Ok(Ready {
            inputs: Some(records_hash(context.evaluation)),
            action: Action::filter(move |record| {
                let texts = record.texts();
                let shares = texts.into_iter().map(|text| step.share_known(text, &known));
                let share = shares.fold(0.0, f64::max);
                let detail = || format!("{:.0} % of a text's n-grams", 100.0 * share);
                (share >= step.share).then(|| Loss::new("in an evaluation set", detail()))
            }),
        })
    }

    fn ngrams(&self, text: &str) -> Vec<u64> {
        let words = Words::of(&[text]);
        if words.hashes().len() < self.min_words {
            return Vec::new();
        }
        words.ngrams(self.ngram).collect()
    }

    fn share_known(&self, text: &str, known: &HashSet<u64>) -> f64 {
        let ngrams = self.ngrams(text);
        let shared = ngrams.iter().filter(|ngram| known.contains(ngram)).count();
        shared as f64 / ngrams.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn record(instruction: &str, output: &str) -> Record {
        let body = Body::Instruction {
            instruction: instruction.into(),
            input: String::new(),
            output: output.into(),
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
    fn a_known_prompt_counts_whatever_the_answer_is() {
        let question = "Which of the planets of our sun is the one with the most moons?";
        let evaluation = [
            record(question, "yes"),
            record("Name a red fruit.", "apple"),
        ];
        let context = CleanContext {
            evaluation: &evaluation,
            ..CleanContext::default()
        };
        let Action::Select(select) = DecontaminateStep::default().ready(&context).unwrap().action
        else {
            panic!("decontaminate is no edit")
        };
        let records = [
            record(
                &question.to_uppercase(),
                "Saturn, with more than a hundred.",
            ),
            record("name a RED fruit", "cherry"),
            record("Is it raining?", "yes"),
            record(
                "Name a red fruit that grows on trees in cold lands.",
                "apple",
            ),
            record(
                "Which of the planets of our sun is the nearest to it? Tell me all of it.",
                "Mercury",
            ),
        ];
        let gone: Vec<bool> = select(&records).iter().map(Option::is_some).collect();
        assert_eq!(gone, [true, true, false, false, false]);
    }

    #[test]
    fn without_evaluation_records_there_is_nothing_to_compare_with() {
        let error = DecontaminateStep::default()
            .ready(&CleanContext::default())
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("no evaluation records"),
            "{error}"
        );
    }
}
