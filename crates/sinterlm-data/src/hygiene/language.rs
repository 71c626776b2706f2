//! The step `language`: records in other languages go. The detector is crate `whatlang`'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate, nearest};
use whatlang::{Detector, Lang};

use super::action::{Action, Loss, require_share};
use crate::{DataError, Record};

/// Settings of step `language`. Script and letter trigrams tell some seventy languages apart; a record's
/// texts count as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageStep {
    /// Languages that stay, by their three letters in ISO 639-3: `eng`, `deu`, `cmn`.
    pub keep: Vec<String>,
    /// Languages that can occur at all; with few of them short texts are told apart far better. Empty:
    /// all that the detector knows. Those of `keep` belong to it without being listed.
    pub among: Vec<String>,
    /// Texts with fewer letters stay, as nothing dependable can be said of them.
    pub min_letters: usize,
    /// Texts stay where the detector is less sure than this of another language, 0 to 1.
    pub min_confidence: f64,
}

impl Default for LanguageStep {
    fn default() -> Self {
        Self {
            keep: Vec::new(),
            among: Vec::new(),
            min_letters: 40,
            min_confidence: 0.5,
        }
    }
}

impl Validate for LanguageStep {
    fn validate(&self, check: &mut Check) {
        check.require(!self.keep.is_empty(), "keep", || {
            "is empty, so nothing could stay; list languages such as \"eng\"".into()
        });
        for (field, codes) in [("keep", &self.keep), ("among", &self.among)] {
            for (i, code) in codes.iter().enumerate() {
                if Lang::from_code(code.as_str()).is_none() {
                    check.fault(&format!("{field}.{i}"), unknown(code));
                }
            }
        }
        require_share(check, "min_confidence", Some(self.min_confidence));
    }
}

impl LanguageStep {
    pub(super) fn action(&self) -> Result<Action, DataError> {
        let languages = |codes: &[String]| -> Result<Vec<Lang>, DataError> {
            let known = codes.iter().map(|code| {
                Lang::from_code(code.as_str()).ok_or_else(|| DataError::HygieneStep {
                    step: "language",
                    fault: format!("language {}", unknown(code)),
                })
            });
            known.collect()
        };
        let keep = languages(&self.keep)?;
        let mut among = languages(&self.among)?;
        let detector = if among.is_empty() {
            Detector::new()
        } else {
            among.extend(
                keep.iter()
                    .filter(|lang| !among.contains(lang))
                    .copied()
                    .collect::<Vec<_>>(),
            );
            Detector::with_allowlist(among)
        };
        let (min_letters, min_confidence) = (self.min_letters, self.min_confidence);
        Ok(Action::filter(move |record| {
            let text = sample(record);
            if text.chars().filter(|c| c.is_alphabetic()).count() < min_letters {
                return None;
            }
            let found = detector.detect(&text)?;
            let is_foreign = !keep.contains(&found.lang()) && found.confidence() >= min_confidence;
            is_foreign.then(|| {
                let reason = format!("in another language: {}", found.lang().code());
                Loss::new(reason, format!("confidence {:.2}", found.confidence()))
            })
        }))
    }
}

/// As much of a record's texts as a detector needs.
fn sample(record: &Record) -> String {
    const ENOUGH_BYTES: usize = 4 << 10;
    let mut sample = String::new();
    for text in record.texts() {
        let room = ENOUGH_BYTES.saturating_sub(sample.len());
        sample.push_str(&text[..text.floor_char_boundary(room)]);
        sample.push('\n');
    }
    sample
}

fn unknown(code: &str) -> String {
    let codes: Vec<&str> = Lang::all().iter().map(Lang::code).collect();
    match nearest(code, &codes) {
        Some(near) => format!("`{code}` is not known by its three letters; did you mean `{near}`?"),
        None => format!("`{code}` is not known; give three letters of ISO 639-3, such as \"eng\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn reasons(step: &LanguageStep, texts: &[&str]) -> Vec<Option<String>> {
        let records: Vec<Record> = texts
            .iter()
            .map(|text| {
                let body = Body::Labelled {
                    text: (*text).into(),
                    label: "a".into(),
                };
                Record::new(
                    body,
                    Origin::Made {
                        name: "test",
                        number: 0,
                    },
                )
            })
            .collect();
        let Action::Select(select) = step.action().unwrap() else {
            panic!("language is no edit")
        };
        select(&records)
            .into_iter()
            .map(|loss| Some(loss?.reason.into_owned()))
            .collect()
    }

    #[test]
    fn other_languages_go_and_short_texts_stay() {
        let step = LanguageStep {
            keep: vec!["eng".into()],
            ..LanguageStep::default()
        };
        let found = reasons(
            &step,
            &[
                "The quick brown fox jumps over the lazy dog and runs away into the woods.",
                "Der schnelle braune Fuchs springt über den faulen Hund und läuft in den Wald.",
                "今天天气很好，我们去公园散步吧。今天天气很好，我们去公园散步吧。今天天气很好，我们去公园散步吧。",
                "Ja, gut.",
            ],
        );
        let foreign = |code: &str| Some(format!("in another language: {code}"));
        assert_eq!(found, [None, foreign("deu"), foreign("cmn"), None]);
    }

    #[test]
    fn an_unknown_code_names_its_neighbour() {
        let step = LanguageStep {
            keep: vec!["enh".into()],
            ..LanguageStep::default()
        };
        let faults = Check::of(&step);
        assert_eq!(faults[0].path, "keep.0");
        assert!(
            faults[0].message.contains("did you mean"),
            "{}",
            faults[0].message
        );
        assert!(step.action().is_err());
    }
}
