//! The step `personal_data`: e-mail addresses, phone numbers and the like are replaced.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::action::{Action, Edit, Reason};
use super::personal_kinds::PersonalKind;
use crate::{DataError, Record};

/// Settings of step `personal_data`. Patterns find shapes, not names or addresses of people: the step
/// takes what machines can abuse, and is no proof that a set holds nothing personal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PersonalDataStep {
    /// Kinds that are replaced.
    pub kinds: Vec<PersonalKind>,
    /// What stands in place of a kind, by its name: `{ email = "someone@example.org" }`. Where absent:
    /// `[EMAIL]`, `[PHONE]`, `[CARD]`, `[IP]`, `[KEY]`.
    pub replacements: BTreeMap<String, String>,
    /// Further patterns, which win over the built-in kinds.
    pub patterns: Vec<OwnPattern>,
}

/// A pattern of one's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnPattern {
    /// Its name in reports, `customer number`.
    pub name: String,
    /// A regular expression in the syntax of crate `regex`, which has no look-around.
    pub pattern: String,
    /// What stands in place of a match, letter by letter.
    pub replacement: String,
}

impl Default for PersonalDataStep {
    fn default() -> Self {
        Self {
            kinds: PersonalKind::ALL.to_vec(),
            replacements: BTreeMap::new(),
            patterns: Vec::new(),
        }
    }
}

impl Validate for PersonalDataStep {
    fn validate(&self, check: &mut Check) {
        check.require(
            !self.kinds.is_empty() || !self.patterns.is_empty(),
            "kinds",
            || "is empty, and there are no patterns; list kinds or take the step out".into(),
        );
        for name in self.replacements.keys() {
            if kind_of(name).is_none() {
                let known = PersonalKind::ALL.map(key_of).join(", ");
                check.fault(
                    "replacements",
                    format!("`{name}` is no kind; use one of {known}"),
                );
            }
        }
        for (i, own) in self.patterns.iter().enumerate() {
            if let Err(fault) = own.compile() {
                check.fault(&format!("patterns.{i}.pattern"), fault);
            }
        }
    }
}

impl PersonalDataStep {
    pub(super) fn action(&self) -> Result<Action, DataError> {
        let recognisers = Recognisers::new(&self.kinds, self.patterns.iter(), &self.replacements)?;
        Ok(Action::Edit(Box::new(move |record| {
            edit(&recognisers, record)
        })))
    }
}

fn edit(recognisers: &Recognisers, record: &Record) -> Option<Edit> {
    let mut reasons: Vec<Reason> = Vec::new();
    let texts = record.texts().into_iter().map(|text| {
        let places = recognisers.find(text);
        reasons.extend(places.iter().map(|place| place.by.name.clone()));
        let replaced = |place: &Place<'_>| place.by.replacement.clone();
        (!places.is_empty()).then(|| rewritten(text, &places, replaced))
    });
    let texts: Vec<Option<String>> = texts.collect();
    reasons.sort_unstable();
    reasons.dedup();
    (!reasons.is_empty()).then_some(Edit { texts, reasons })
}

/// Finds personal data of several kinds, no two places of which overlap.
pub(super) struct Recognisers(Vec<Recogniser>);

struct Recogniser {
    name: Cow<'static, str>,
    shape: Shape,
    replacement: String,
}

enum Shape {
    Own(Regex),
    Known(PersonalKind),
}

struct Place<'r> {
    at: Range<usize>,
    by: &'r Recogniser,
}

impl Recognisers {
    fn new<'p>(
        kinds: &[PersonalKind],
        own: impl Iterator<Item = &'p OwnPattern>,
        replacements: &BTreeMap<String, String>,
    ) -> Result<Self, DataError> {
        let own = own.map(|own| {
            let regex = own.compile().map_err(|fault| DataError::HygieneStep {
                step: "personal_data",
                fault: format!("pattern `{}` {fault}", own.name),
            });
            Ok(Recogniser {
                name: own.name.clone().into(),
                shape: Shape::Own(regex?),
                replacement: own.replacement.clone(),
            })
        });
        let mut all = own.collect::<Result<Vec<_>, DataError>>()?;
        let known = PersonalKind::ALL.into_iter();
        let known = known.filter(|kind| kinds.contains(kind));
        all.extend(known.map(|kind| {
            let replacement = replacements.get(key_of(kind)).cloned();
            Recogniser {
                name: kind.name().into(),
                shape: Shape::Known(kind),
                replacement: replacement.unwrap_or_else(|| kind.replacement().to_owned()),
            }
        }));
        Ok(Self(all))
    }

    /// All known kinds, and patterns of one's own.
    pub(super) fn with_own<'p>(
        own: impl Iterator<Item = &'p OwnPattern>,
    ) -> Result<Self, DataError> {
        Self::new(&PersonalKind::ALL, own, &BTreeMap::new())
    }

    /// All known kinds.
    pub(super) fn known() -> Self {
        Self::with_own(std::iter::empty()).expect("only patterns of one's own can fail to compile")
    }

    /// The text with the kind in place of personal data, behind its first letter.
    pub(super) fn mask(&self, text: &str) -> String {
        rewritten(text, &self.find(text), |place| {
            let first = text[place.at.clone()].chars().next();
            let first = first.map_or(String::new(), String::from);
            format!("{first}‹{}›", place.by.name)
        })
    }

    /// The places found, in order. Where two overlap, the recogniser that comes first wins.
    fn find(&self, text: &str) -> Vec<Place<'_>> {
        let mut places: Vec<Place<'_>> = Vec::new();
        for by in &self.0 {
            let found = match &by.shape {
                Shape::Own(regex) => regex.find_iter(text).map(|found| found.range()).collect(),
                Shape::Known(kind) => kind.find(text),
            };
            let known = places.len();
            for at in found.into_iter().filter(|at| !at.is_empty()) {
                // `places[..known]` is in order: the first one that ends behind the start decides.
                let next = places[..known].partition_point(|place| place.at.end <= at.start);
                if places[..known]
                    .get(next)
                    .is_none_or(|place| place.at.start >= at.end)
                {
                    places.push(Place { at, by });
                }
            }
            places.sort_by_key(|place| place.at.start);
        }
        places
    }
}

fn rewritten(text: &str, places: &[Place<'_>], new: impl Fn(&Place<'_>) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for place in places {
        out.push_str(&text[end..place.at.start]);
        out.push_str(&new(place));
        end = place.at.end;
    }
    out.push_str(&text[end..]);
    out
}

impl OwnPattern {
    fn compile(&self) -> Result<Regex, String> {
        let regex = RegexBuilder::new(&self.pattern).build();
        let regex = regex.map_err(|error| {
            let fault = error.to_string();
            let last = fault.lines().last().unwrap_or_default();
            format!(
                "does not compile ({}); mend it",
                last.trim_start_matches("error: ")
            )
        })?;
        if regex.is_match("") {
            return Err(
                "matches an empty text, and so everywhere; make it ask for a letter".into(),
            );
        }
        Ok(regex)
    }
}

/// A kind's name in configs.
fn key_of(kind: PersonalKind) -> &'static str {
    match kind {
        PersonalKind::ApiKey => "api_key",
        PersonalKind::Email => "email",
        PersonalKind::Card => "card",
        PersonalKind::Ipv6 => "ipv6",
        PersonalKind::Ipv4 => "ipv4",
        PersonalKind::Phone => "phone",
    }
}

fn kind_of(name: &str) -> Option<PersonalKind> {
    PersonalKind::ALL
        .into_iter()
        .find(|kind| key_of(*kind) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Origin};

    fn replaced(step: &PersonalDataStep, text: &str) -> Option<(String, Vec<Reason>)> {
        let body = Body::Completion {
            prompt: "no change".into(),
            completion: text.into(),
        };
        let record = Record::new(
            body,
            Origin::Made {
                name: "test",
                number: 0,
            },
        );
        let Action::Edit(edit) = step.action().unwrap() else {
            panic!("personal_data is an edit")
        };
        let mut edit = edit(&record)?;
        assert_eq!(edit.texts[0], None);
        Some((edit.texts.pop()??, edit.reasons))
    }

    #[test]
    fn every_kind_is_replaced_in_one_pass() {
        let text = "joe@10.example.org 4111111111111111 10.0.0.1 +1 212 555 0123 joe@x.org";
        let (text, reasons) = replaced(&PersonalDataStep::default(), text).unwrap();
        assert_eq!(text, "[EMAIL] [CARD] [IP] [PHONE] [EMAIL]");
        assert_eq!(
            reasons,
            ["IPv4 address", "card number", "e-mail", "phone number"]
        );
        assert_eq!(replaced(&PersonalDataStep::default(), "see you at 8"), None);
    }

    #[test]
    fn own_patterns_win_and_replacements_are_taken_letter_by_letter() {
        let step = PersonalDataStep {
            kinds: vec![PersonalKind::Phone],
            replacements: [("phone".to_owned(), "$0 0800 000 000".to_owned())].into(),
            patterns: vec![OwnPattern {
                name: "customer".into(),
                pattern: r"\b0049-\d+".into(),
                replacement: "[C]".into(),
            }],
        };
        assert!(Check::of(&step).is_empty());
        let (text, _) = replaced(&step, "0049-123456789 or 030 1234567, a@b.org").unwrap();
        assert_eq!(text, "[C] or $0 0800 000 000, a@b.org");
    }

    #[test]
    fn broken_patterns_and_unknown_kinds_are_faults() {
        let own = |pattern: &str| OwnPattern {
            name: "x".into(),
            pattern: pattern.into(),
            replacement: String::new(),
        };
        let step = PersonalDataStep {
            replacements: [("mail".to_owned(), String::new())].into(),
            patterns: vec![own("(a"), own("a*")],
            ..PersonalDataStep::default()
        };
        let faults = Check::of(&step);
        let paths: Vec<&str> = faults.iter().map(|fault| &*fault.path).collect();
        assert_eq!(
            paths,
            ["replacements", "patterns.0.pattern", "patterns.1.pattern"]
        );
        assert!(step.action().is_err());
    }

    #[test]
    fn a_mask_shows_kind_and_first_letter_alone() {
        let all = Recognisers::known();
        assert_eq!(all.mask("to joe@x.org!"), "to j‹e-mail›!");
    }
}
