//! The step `words`: records that contain, or lack, words of a list go.

use std::path::PathBuf;

use aho_corasick::{AhoCorasick, MatchKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::action::{Action, Loss, Ready};
use super::canonical::folded;
use crate::digest::sha256_hex;
use crate::{DataError, Record};

/// Settings of step `words`. Case, Unicode form and white space do not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WordsStep {
    /// Words or phrases.
    pub words: Vec<String>,
    /// A text file with further ones, one a line; blank lines and lines that begin with `#` do not
    /// count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Which records go.
    pub drop_if: DropIf,
    /// Whether parts of longer words count, `ham` in `hamster`.
    pub parts: bool,
}

/// Which records a word list drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropIf {
    /// Those that contain one of the words.
    #[default]
    Contains,
    /// Those that contain none of them.
    Lacks,
}

impl Validate for WordsStep {
    fn validate(&self, check: &mut Check) {
        check.require(
            !self.words.is_empty() || self.file.is_some(),
            "words",
            || "is empty, and there is no file; list words or name a file".into(),
        );
        check.require(
            self.words.iter().all(|word| !word.trim().is_empty()),
            "words",
            || "has an empty word, which every text contains; take it out".into(),
        );
    }
}

impl WordsStep {
    pub(super) fn ready(&self) -> Result<Ready, DataError> {
        let mut words = self.words.clone();
        let mut inputs = None;
        if let Some(path) = &self.file {
            let text = std::fs::read_to_string(path).map_err(|source| DataError::SourceRead {
                path: path.clone(),
                source,
            })?;
            inputs = Some(sha256_hex(text.as_bytes()));
            let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            words.extend(lines.map(str::to_owned));
        }
        let words: Vec<String> = words.iter().map(|word| folded(word)).collect();
        let fault = |fault: String| DataError::HygieneStep {
            step: "words",
            fault,
        };
        if words.is_empty() || words.iter().any(String::is_empty) {
            return Err(fault(
                "the list has no word, or an empty one; mend it".into(),
            ));
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(&words);
        let finder = finder.map_err(|error| fault(format!("{error}; shorten the list")))?;
        let (drop_if, parts) = (self.drop_if, self.parts);
        let action = Action::filter(move |record| {
            let found = found(&finder, record, parts);
            match (drop_if, found) {
                (DropIf::Contains, Some(at)) => {
                    Some(Loss::new("contains a word of the list", &*words[at]))
                }
                (DropIf::Lacks, None) => Some(Loss::new("lacks the words of the list", "")),
                _ => None,
            }
        });
        Ok(Ready { action, inputs })
    }
}

/// The number of a word that the record contains.
fn found(finder: &AhoCorasick, record: &Record, parts: bool) -> Option<usize> {
    record.texts().into_iter().find_map(|text| {
        let text = folded(text);
        let mut matches = finder.find_overlapping_iter(&text);
        let whole = matches.find(|m| {
            let word = &text[m.start()..m.end()];
            let before = text[..m.start()].chars().next_back();
            let after = text[m.end()..].chars().next();
            let is_inside = |outer: Option<char>, inner: Option<char>| {
                outer.is_some_and(is_spaced) && inner.is_some_and(is_spaced)
            };
            parts
                || !(is_inside(before, word.chars().next())
                    || is_inside(after, word.chars().next_back()))
        });
        whole.map(|m| m.pattern().as_usize())
    })
}

/// Letters and digits of scripts that put spaces between words.
fn is_spaced(c: char) -> bool {
    c.is_alphanumeric() && !('\u{2e80}'..='\u{9fff}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn losses(step: &WordsStep, texts: &[&str]) -> Vec<bool> {
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
        let Action::Select(select) = step.ready().unwrap().action else {
            panic!("words is no edit")
        };
        select(&records).iter().map(Option::is_some).collect()
    }

    #[test]
    fn whole_words_and_phrases_are_found_whatever_their_case() {
        let step = WordsStep {
            words: vec!["ham".into(), "New York".into(), "垃圾".into()],
            ..WordsStep::default()
        };
        let texts = ["Ham!", "hamster", "new\n york", "他说垃圾话", "none"];
        assert_eq!(losses(&step, &texts), [true, false, true, true, false]);
        let parts = WordsStep {
            parts: true,
            ..step.clone()
        };
        assert!(losses(&parts, &["hamster"])[0]);
        let lacks = WordsStep {
            drop_if: DropIf::Lacks,
            ..step
        };
        assert_eq!(losses(&lacks, &["Ham!", "none"]), [false, true]);
    }

    #[test]
    fn a_file_adds_words_and_its_content_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.txt");
        std::fs::write(&path, "# rude\n\nDarn\n").unwrap();
        let step = WordsStep {
            file: Some(path.clone()),
            ..WordsStep::default()
        };
        assert_eq!(losses(&step, &["oh darn it", "# rude"]), [true, false]);
        assert!(step.ready().unwrap().inputs.is_some());
        std::fs::write(&path, "# none\n").unwrap();
        let error = step.ready().err().unwrap().to_string();
        assert!(error.contains("no word"), "{error}");
    }
}
