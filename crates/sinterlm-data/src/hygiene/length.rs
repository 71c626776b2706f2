//! The step `length`: records that are too short or too long go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::action::{Action, Loss, Ready};
use super::context::CleanContext;
use crate::{DataError, Record, Tokenizer};

/// Settings of step `length`; a record's texts count together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LengthStep {
    /// Fewest characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_chars: Option<u64>,
    /// Most characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chars: Option<u64>,
    /// Fewest words, which are what white space divides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_words: Option<u64>,
    /// Most words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_words: Option<u64>,
    /// Fewest tokens of the run's tokenizer, without those of a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u64>,
    /// Most tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

impl LengthStep {
    fn pairs(&self) -> [(&'static str, Option<u64>, Option<u64>); 3] {
        [
            ("characters", self.min_chars, self.max_chars),
            ("words", self.min_words, self.max_words),
            ("tokens", self.min_tokens, self.max_tokens),
        ]
    }

    pub(super) fn ready(&self, context: &CleanContext<'_>) -> Result<Ready, DataError> {
        let has_tokens = self.min_tokens.or(self.max_tokens).is_some();
        let tokenizer = context.tokenizer.filter(|_| has_tokens).cloned();
        if has_tokens && tokenizer.is_none() {
            return Err(DataError::HygieneStep {
                step: "length",
                fault: "limits tokens, but no tokenizer is given; give one or limit words".into(),
            });
        }
        let inputs = tokenizer.as_ref().map(|t| t.fingerprint().to_owned());
        let step = self.clone();
        let action = Action::filter(move |record| step.judge(record, tokenizer.as_ref()));
        Ok(Ready { action, inputs })
    }

    fn judge(&self, record: &Record, tokenizer: Option<&Tokenizer>) -> Option<Loss> {
        let texts = record.texts();
        for (unit, min, max) in self.pairs() {
            if min.is_none() && max.is_none() {
                continue;
            }
            let count = texts.iter().map(|text| match (unit, tokenizer) {
                ("characters", _) => text.chars().count(),
                ("words", _) => text.split_whitespace().count(),
                (_, Some(tokenizer)) => tokenizer.encode(text).len(),
                _ => 0,
            });
            let count = count.sum::<usize>() as u64;
            let detail = || format!("{count} {unit}");
            if let Some(min) = min.filter(|min| count < *min) {
                return Some(Loss::new(format!("fewer than {min} {unit}"), detail()));
            }
            if let Some(max) = max.filter(|max| count > *max) {
                return Some(Loss::new(format!("more than {max} {unit}"), detail()));
            }
        }
        None
    }
}

impl Validate for LengthStep {
    fn validate(&self, check: &mut Check) {
        check.require(*self != Self::default(), "", || {
            "sets no limit; set one, such as min_chars, or take the step out".into()
        });
        for (unit, min, max) in self.pairs() {
            if let (Some(min), Some(max)) = (min, max) {
                let field = format!("min_{}", unit.replace("characters", "chars"));
                check.require(min <= max, &field, || {
                    format!("{min} is above the most {unit}, {max}; lower it")
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn record(prompt: &str, completion: &str) -> Record {
        let body = Body::Completion {
            prompt: prompt.into(),
            completion: completion.into(),
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
    fn limits_count_all_texts_and_are_inclusive() {
        let step = LengthStep {
            min_words: Some(3),
            max_chars: Some(10),
            ..LengthStep::default()
        };
        let reason = |record: Record| step.judge(&record, None).map(|loss| loss.reason);
        assert_eq!(reason(record("ä b", "c")), None);
        assert_eq!(
            reason(record("a", "b")).as_deref(),
            Some("fewer than 3 words")
        );
        assert_eq!(reason(record("äöüß ef", "g h")), None);
        let long = reason(record("abcd ef", "g hi"));
        assert_eq!(long.as_deref(), Some("more than 10 characters"));
    }

    #[test]
    fn tokens_need_a_tokenizer() {
        let step = LengthStep {
            max_tokens: Some(2),
            ..LengthStep::default()
        };
        let error = step.ready(&CleanContext::default()).err().unwrap();
        assert!(error.to_string().contains("no tokenizer"), "{error}");
        let gpt2 = Tokenizer::gpt2();
        assert_eq!(step.judge(&record("one", " two"), Some(&gpt2)), None);
        let loss = step.judge(&record("one two", " three"), Some(&gpt2));
        assert_eq!(loss.unwrap().detail, "3 tokens");
    }
}
