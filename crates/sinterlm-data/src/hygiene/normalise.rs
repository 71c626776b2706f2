//! The step `normalise`: one form of Unicode, line ends, control characters and white space.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use unicode_normalization::{UnicodeNormalization, is_nfc, is_nfkc};

use super::action::{Action, Edit, Reason};
use crate::Record;

/// Settings of step `normalise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormaliseStep {
    /// Unicode form of the texts.
    pub unicode: UnicodeForm,
    /// Whether CRLF and a lone CR become LF.
    pub line_ends: bool,
    /// Whether control characters other than tab and LF are removed, and byte order marks, too.
    pub control_characters: bool,
    /// Whether white space at the ends of the text and of its lines is removed.
    pub trim: bool,
    /// Whether several spaces become one and three or more line breaks become two. Off by default, as
    /// it takes the indentation from code.
    pub repeated_space: bool,
}

/// A Unicode normalisation form (Unicode Standard Annex 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnicodeForm {
    /// Texts stay as they are.
    Keep,
    /// Letters and marks are composed; nothing that a reader sees changes.
    Nfc,
    /// Also folds full-width letters, ligatures and the like; superscripts lose their place.
    Nfkc,
}

/// One part of the step; texts that it leaves alone are not copied.
type Change = fn(&str) -> Cow<'_, str>;

impl Default for NormaliseStep {
    fn default() -> Self {
        Self {
            unicode: UnicodeForm::Nfc,
            line_ends: true,
            control_characters: true,
            trim: true,
            repeated_space: false,
        }
    }
}

impl Validate for NormaliseStep {
    fn validate(&self, check: &mut Check) {
        let off = Self {
            unicode: UnicodeForm::Keep,
            line_ends: false,
            control_characters: false,
            trim: false,
            repeated_space: false,
        };
        check.require(*self != off, "", || {
            "every part of normalise is switched off; switch one on or take the step out".into()
        });
    }
}

impl NormaliseStep {
    pub(super) fn action(&self) -> Action {
        let step = self.clone();
        Action::Edit(Box::new(move |record| step.edit(record)))
    }

    fn edit(&self, record: &Record) -> Option<Edit> {
        let mut reasons: Vec<Reason> = Vec::new();
        let texts = record.texts().into_iter();
        let texts: Vec<_> = texts.map(|text| self.text(text, &mut reasons)).collect();
        texts.iter().any(Option::is_some).then(|| {
            reasons.sort_unstable();
            reasons.dedup();
            Edit { texts, reasons }
        })
    }

    /// The new text, if it is another one.
    fn text(&self, text: &str, reasons: &mut Vec<Reason>) -> Option<String> {
        let parts: [(bool, &'static str, Change); 6] = [
            (self.line_ends, "line ends", line_ends),
            (self.control_characters, "control characters", controls),
            (self.unicode == UnicodeForm::Nfc, "Unicode form", nfc),
            (self.unicode == UnicodeForm::Nfkc, "Unicode form", nfkc),
            (self.repeated_space, "repeated white space", repeated),
            (self.trim, "white space at ends", trimmed),
        ];
        let mut current = Cow::Borrowed(text);
        for (_, reason, change) in parts.into_iter().filter(|(is_on, ..)| *is_on) {
            let new = change(&current);
            if *new != *current {
                reasons.push(reason.into());
                current = Cow::Owned(new.into_owned());
            }
        }
        match current {
            Cow::Owned(new) => Some(new),
            Cow::Borrowed(_) => None,
        }
    }
}

fn line_ends(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

fn controls(text: &str) -> Cow<'_, str> {
    // CR is a matter of line ends, which may be switched off.
    let goes = |c: char| (c.is_control() && !matches!(c, '\n' | '\t' | '\r')) || c == '\u{feff}';
    if text.contains(goes) {
        Cow::Owned(text.replace(goes, ""))
    } else {
        Cow::Borrowed(text)
    }
}

fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

fn nfkc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfkc(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfkc().collect())
    }
}

fn repeated(text: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    let (mut spaces, mut breaks) = (0, 0);
    for c in text.chars() {
        let is_break = c == '\n';
        let is_space = c.is_whitespace() && !is_break;
        spaces = if is_space { spaces + 1 } else { 0 };
        breaks = match c {
            '\n' => breaks + 1,
            _ if is_space => breaks,
            _ => 0,
        };
        if spaces == 2 && !out.ends_with(' ') {
            // The first one may have been a tab, which stays where it stands alone.
            out.pop();
            out.push(' ');
        }
        if spaces < 2 && breaks < 3 {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn trimmed(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let has_ragged_line = text.split('\n').any(|line| line.trim_end() != line);
    if has_ragged_line {
        let lines: Vec<&str> = text.split('\n').map(str::trim_end).collect();
        Cow::Owned(lines.join("\n"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(step: &NormaliseStep, text: &str) -> (Option<String>, Vec<Reason>) {
        let mut reasons = Vec::new();
        (step.text(text, &mut reasons), reasons)
    }

    #[test]
    fn each_part_does_its_own_and_says_so() {
        let step = NormaliseStep {
            repeated_space: true,
            ..NormaliseStep::default()
        };
        let text = "\u{feff}a\r\nCafe\u{301}\0 \t  x \n\n\n\ny ";
        let (new, reasons) = changed(&step, text);
        assert_eq!(new.as_deref(), Some("a\nCafé x\n\ny"));
        assert_eq!(reasons.len(), 5, "{reasons:?}");
        assert_eq!(changed(&step, "a\nCafé x\n\ny"), (None, vec![]));
    }

    #[test]
    fn indentation_survives_by_default() {
        let step = NormaliseStep::default();
        let code = "def f():\n    return 1";
        assert_eq!(changed(&step, code).0, None);
        assert_eq!(changed(&step, "x \n  y\n\n").0.as_deref(), Some("x\n  y"));
    }

    #[test]
    fn nfkc_folds_what_nfc_keeps() {
        let (kept, _) = changed(&NormaliseStep::default(), "ﬁne");
        assert_eq!(kept, None);
        let step = NormaliseStep {
            unicode: UnicodeForm::Nfkc,
            ..NormaliseStep::default()
        };
        assert_eq!(changed(&step, "ﬁne").0.as_deref(), Some("fine"));
    }
}
