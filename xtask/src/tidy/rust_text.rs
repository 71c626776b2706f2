//! Rust source without its comments, strings and characters, so that rules see code alone.

/// The source with everything inside comments, string and character literals blanked; line breaks
/// stay, so that line numbers hold.
pub(super) fn code_only(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < characters.len() {
        let end = literal_end(&characters, at);
        if end == at {
            code.push(characters[at]);
            at += 1;
        } else {
            let blanked = characters[at..end].iter();
            code.extend(blanked.map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Code, as [`code_only`] gives it, with every item behind `#[cfg(test)]` blanked.
pub(super) fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        let item = item_end(after);
        kept.push_str(before);
        kept.extend(after[..item].chars().filter(|&c| c == '\n'));
        rest = &after[item..];
    }
    kept.push_str(rest);
    kept
}

/// Where the item at the start of code ends: behind its block, or its semicolon.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(c, '}' | ';') {
            return at + 1;
        }
    }
    code.len()
}

/// The end of the comment or literal that begins at `at`; `at` itself if none does.
fn literal_end(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied();
    match text[at] {
        '/' if next == Some('/') => find(text, at, |rest| rest[0] == '\n'),
        '/' if next == Some('*') => block_comment_end(text, at),
        '"' => string_end(text, at + 1),
        'r' if !follows_word(text, at) => raw_string_end(text, at + 1).unwrap_or(at),
        '\'' => character_end(text, at),
        _ => at,
    }
}

fn find(text: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..text.len())
        .find(|&i| is_end(&text[i..]))
        .unwrap_or(text.len())
}

fn follows_word(text: &[char], at: usize) -> bool {
    // `br"..."` and `cr"..."` are raw strings, too; their prefix is left as code.
    at > 0 && is_word(text[at - 1]) && !matches!(text[at - 1], 'b' | 'c')
}

fn block_comment_end(text: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < text.len() {
        match (text[i], text[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    text.len()
}

fn string_end(text: &[char], from: usize) -> usize {
    let mut i = from;
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

fn raw_string_end(text: &[char], from: usize) -> Option<usize> {
    let hashes = text[from..].iter().take_while(|&&c| c == '#').count();
    if text.get(from + hashes) != Some(&'"') {
        return None;
    }
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    Some((find(text, from + hashes + 1, closes) + 1 + hashes).min(text.len()))
}

/// `'x'` and `'\u{1F600}'` are characters, `'static` is not.
fn character_end(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), Some(_)) => (find(text, at + 3, |rest| rest[0] == '\'') + 1).min(text.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Whether a character can stand within an identifier.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        let source = concat!(
            "a // Flex\n/* Flex /* nested */ Flex */ b\n\"Flex \\\" Flex\" c r#\"Flex \" Flex\"# d\n",
            "'\"' e '\\'' f<'g> br\"Flex\" h"
        );
        let code = code_only(source);
        assert!(!code.contains("Flex"), "{code}");
        assert_eq!(code.lines().count(), source.lines().count());
        let left: String = code.split_whitespace().collect();
        assert_eq!(left, "abcdef<'g>bh");
    }

    #[test]
    fn items_of_tests_are_blanked_to_their_end() {
        let code = "a\n#[cfg(test)]\nmod tests;\nb #[cfg(test)] #[allow(x)] mod t { fn f() {} } c\n\
            #[cfg(test)] const N: [u8; 2] = [1; 2]; d #[cfg(test)] mod open {";
        let kept = without_tests(code);
        assert_eq!(kept.split_whitespace().collect::<String>(), "abcd");
        assert_eq!(kept.lines().count(), code.lines().count());
    }

    #[test]
    fn an_open_literal_ends_with_the_file() {
        for source in ["x \"open", "x r#\"open", "x /* open", "x '\\", "x '"] {
            assert!(code_only(source).starts_with('x'));
        }
    }
}
