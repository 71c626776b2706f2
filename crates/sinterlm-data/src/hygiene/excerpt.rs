//! Texts as reports show them: one short line, control characters escaped, personal data masked.

use super::personal::{OwnPattern, Recognisers};
use crate::DataError;

/// Characters shown of a text.
const SHOWN: usize = 120;
/// Characters shown in front of the first difference.
const LEAD: usize = 30;
/// Bytes that are looked at.
const LOOKED_AT: usize = 32 << 10;
/// Bytes at the cut end whose masks cannot be relied upon.
const UNSURE: usize = 1 << 10;

/// Makes excerpts. Knows all kinds of personal data and the patterns of the config's own.
pub(super) struct Excerpts {
    recognisers: Recognisers,
}

impl Excerpts {
    pub(super) fn new<'p>(own: impl Iterator<Item = &'p OwnPattern>) -> Result<Self, DataError> {
        let recognisers = Recognisers::with_own(own)?;
        Ok(Self { recognisers })
    }

    /// Knows no patterns of one's own.
    pub(super) fn plain() -> Self {
        let recognisers = Recognisers::known();
        Self { recognisers }
    }

    /// The beginnings of texts on one line.
    pub(super) fn line(&self, texts: &[&str]) -> String {
        let texts = texts.iter().filter(|text| !text.is_empty());
        let parts: Vec<String> = texts.map(|text| self.masked(text)).collect();
        cut(&parts.join(" ⏐ "), 0)
    }

    /// The first changed text before and after, near the first difference.
    pub(super) fn difference<'t>(
        &self,
        mut pairs: impl Iterator<Item = (&'t str, &'t str)>,
    ) -> (String, String) {
        let Some((old, new)) = pairs.next() else {
            return (String::new(), String::new());
        };
        let (old, new) = (self.masked(old), self.masked(new));
        let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b);
        let start = same.count().saturating_sub(LEAD);
        (cut(&old, start), cut(&new, start))
    }

    /// The text with personal data masked, as far as it is looked at.
    fn masked(&self, text: &str) -> String {
        if text.len() <= LOOKED_AT {
            return self.recognisers.mask(text);
        }
        let masked = self
            .recognisers
            .mask(&text[..text.floor_char_boundary(LOOKED_AT)]);
        let end = masked.floor_char_boundary(masked.len().saturating_sub(UNSURE));
        format!("{} …", &masked[..end])
    }
}

/// Characters of `text` from `start` on, escaped, as many as are shown.
fn cut(text: &str, start: usize) -> String {
    let mut shown = String::from(if start > 0 { "…" } else { "" });
    let mut rest = text.chars().skip(start);
    for c in rest.by_ref().take(SHOWN) {
        if is_invisible(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, and those that turn or hide text.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_escaped_and_masked() {
        let excerpts = Excerpts::plain();
        let line = excerpts.line(&["write to\njoe@example.org\u{202e}", "", &"x".repeat(500)]);
        assert!(
            line.starts_with("write to\\nj‹e-mail›\\u{202e} ⏐ xxx"),
            "{line}"
        );
        assert!(line.chars().count() < 140 && line.ends_with('…'), "{line}");
    }

    #[test]
    fn a_mask_holds_where_a_long_text_is_cut() {
        let excerpts = Excerpts::plain();
        let text = format!("{} joe@example.org", "x".repeat(LOOKED_AT - 5));
        assert!(!excerpts.masked(&text).contains("joe"));
    }

    #[test]
    fn a_difference_is_shown_where_it_is() {
        let excerpts = Excerpts::plain();
        let (old, new) = (
            format!("{}a\tb", "y".repeat(200)),
            format!("{}a b", "y".repeat(200)),
        );
        let (before, after) = excerpts.difference([(&*old, &*new)].into_iter());
        assert_eq!(before, format!("…{}a\\tb", "y".repeat(29)));
        assert_eq!(after, format!("…{}a b", "y".repeat(29)));
    }
}
