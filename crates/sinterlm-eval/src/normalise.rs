//! Forms of answers in which they compare as equal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::ngrams::words;

/// What is done to a reference and to an answer before they are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalisation {
    /// Lower case, Unicode NFC, runs of white space as one space and none at the ends, without one
    /// pair of quotes around the whole and without one full stop at the end, inside or outside of
    /// the quotes.
    ///
    /// Quotes are `"…"`, `'…'`, `` `…` ``, `“…”`, `‘…’`, `„…“`, `«…»` and `「…」`; they stay where the
    /// text between them holds one of the two signs. Full stops are `.` and `。`. What would leave
    /// nothing is not taken away: the answer `.` stays.
    #[default]
    Plain,
    /// The one of SQuAD's evaluation script: lower case, without ASCII punctuation and the
    /// articles a, an, the, runs of white space as one space and none at the ends. It makes
    /// answers equal that differ in a sign alone, such as `-3` and `3`: for texts, not for sums.
    Squad,
}

const QUOTES: [(char, char); 8] = [
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('“', '”'),
    ('‘', '’'),
    ('„', '“'),
    ('«', '»'),
    ('「', '」'),
];

impl Normalisation {
    /// The form of a text that is compared.
    ///
    /// ```
    /// use sinterlm_eval::Normalisation;
    /// assert_eq!(Normalisation::Plain.apply(" “The  Cat.” "), "the cat");
    /// assert_eq!(Normalisation::Squad.apply("The cat's"), "cats");
    /// ```
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::Plain => plain(text),
            Self::Squad => squad(text),
        }
    }
}

fn plain(text: &str) -> String {
    // NFC comes last: a capital's lower case may be letters that compose.
    let text: String = text.to_lowercase().nfc().collect();
    let text = words(&text).collect::<Vec<_>>().join(" ");
    let outer = without_stop(&text);
    let inner = without_quotes(outer);
    let stopped = outer.len() < text.len();
    if stopped { inner } else { without_stop(inner) }.to_owned()
}

fn without_stop(text: &str) -> &str {
    match text.strip_suffix(['.', '。']).map(str::trim_end) {
        Some(rest) if !rest.is_empty() => rest,
        _ => text,
    }
}

fn without_quotes(text: &str) -> &str {
    let inner = QUOTES.iter().find_map(|&(open, close)| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        (!inner.contains([open, close])).then_some(inner.trim())
    });
    inner.filter(|inner| !inner.is_empty()).unwrap_or(text)
}

fn squad(text: &str) -> String {
    let text = text
        .to_lowercase()
        .replace(|c: char| c.is_ascii_punctuation(), "");
    let mut kept = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(first) = rest.chars().next() {
        let in_word = first.is_alphanumeric();
        let end = rest
            .find(|c: char| c.is_alphanumeric() != in_word)
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        kept.push_str(if matches!(run, "a" | "an" | "the") {
            " "
        } else {
            run
        });
        rest = after;
    }
    words(&kept).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stop_and_one_pair_of_quotes_are_taken_away() {
        for (text, form) in [
            ("\"Yes.\"", "yes"),
            ("\"Yes\".", "yes"),
            ("\"yes.\".", "yes."),
            ("3.5.", "3.5"),
            ("wait...", "wait.."),
            ("'a' or 'b'", "'a' or 'b'"),
            ("「はい。」", "はい"),
        ] {
            assert_eq!(Normalisation::Plain.apply(text), form, "{text}");
        }
    }

    #[test]
    fn an_answer_of_signs_alone_stays() {
        for text in [".", "\"\"", "\"", "''", ""] {
            assert_eq!(Normalisation::Plain.apply(text), text);
        }
        assert_eq!(Normalisation::Plain.apply("\".\""), ".");
    }

    #[test]
    fn composed_and_decomposed_letters_are_equal() {
        assert_eq!(
            Normalisation::Plain.apply("CAFE\u{301}"),
            Normalisation::Plain.apply("Café")
        );
    }
}
