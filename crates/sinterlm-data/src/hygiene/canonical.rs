//! When texts are called equal.

use unicode_normalization::UnicodeNormalization;

/// NFKC, lower case, white space collapsed to one space, no control characters: texts of one such form
/// are called equal.
pub(super) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        if word.is_ascii() {
            let letters = word.chars().filter(|c| !c.is_control());
            folded.extend(letters.map(|c| c.to_ascii_lowercase()));
        } else {
            let letters = word.nfkc().filter(|c| !c.is_control());
            folded.extend(letters.flat_map(char::to_lowercase));
        }
    }
    folded
}

/// The folded texts of a record as one key; no folded text holds the NUL that divides two.
pub(super) fn text_key(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| folded(text)).collect();
    texts.join("\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_joins_what_a_reader_calls_equal() {
        assert_eq!(folded("  Ｆｕll\u{a0}MOON\n\n"), "full moon");
        assert_eq!(folded("Cafe\u{301}\0"), folded("CAFÉ"));
        assert_ne!(text_key(&["a", "b"]), text_key(&["a b", ""]));
    }
}
