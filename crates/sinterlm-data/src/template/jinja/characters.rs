//! Python's view of single characters where Rust's differs.

/// `str.isspace`, and `\s` in regular expressions.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// Where `str.splitlines` cuts, besides `\r\n`.
pub(super) fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// `str.isprintable`: neither a separator other than the space nor a control, format, private or
/// unassigned character.
pub(super) fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // The second character of a string is escaped where it cannot be printed, and not for
        // extending the first.
        c => {
            let mut pair = String::from("a");
            pair.push(c);
            pair.escape_debug().nth(1) == Some(c)
        }
    }
}

/// The title case of a character, which begins a word.
pub(super) fn title(c: char) -> String {
    match c {
        'ß' => "Ss".to_owned(),
        'ǆ' | 'Ǆ' | 'ǅ' => "ǅ".to_owned(),
        'ǉ' | 'Ǉ' | 'ǈ' => "ǈ".to_owned(),
        'ǌ' | 'Ǌ' | 'ǋ' => "ǋ".to_owned(),
        'ǳ' | 'Ǳ' | 'ǲ' => "ǲ".to_owned(),
        // Georgian letters have capitals, which no word begins with.
        '\u{10d0}'..='\u{10ff}' => c.to_string(),
        '\u{fb00}'..='\u{fb06}' => {
            let upper: String = c.to_uppercase().collect();
            let mut letters = upper.chars();
            let first = letters.next().into_iter();
            first.chain(letters.flat_map(char::to_lowercase)).collect()
        }
        c => c.to_uppercase().collect(),
    }
}

/// Whether the case of a character can differ.
pub(super) fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ')
}
