//! Methods of strings that cut them into pieces or fill them up.

use super::arguments::{Bound, want_int, want_text};
use super::characters::{is_line_end, is_space};
use super::fault::Fault;
use super::machine::Budget;
use super::value::Value;

/// `split` and `rsplit`
pub(super) fn split(text: &str, mut args: Bound, from_right: bool) -> Result<Value, Fault> {
    let limit = usize::try_from(args.int(1, -1)?).unwrap_or(usize::MAX);
    let separator = args.take(0).filter(|value| !matches!(value, Value::None));
    let mut parts: Vec<&str> = match &separator {
        None if from_right => words_from_right(text, limit),
        None => words(text, limit),
        Some(separator) => {
            let separator = want_text("split", separator)?;
            if separator.is_empty() {
                return Err(Fault::new("empty separator"));
            }
            let pieces = limit.saturating_add(1);
            if from_right {
                text.rsplitn(pieces, separator).collect()
            } else {
                text.splitn(pieces, separator).collect()
            }
        }
    };
    if from_right {
        parts.reverse();
    }
    Value::list(parts.into_iter().map(Value::str).collect())
}

/// Words, and behind `limit` of them the rest.
fn words(text: &str, limit: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
    while !rest.is_empty() {
        if parts.len() == limit {
            // White space behind the rest stays.
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

/// Words from the last to the first, and before `limit` of them the rest.
fn words_from_right(text: &str, limit: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text.trim_end_matches(is_space));
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let begin = rest.char_indices().rfind(|(_, c)| is_space(*c));
        let begin = begin.map_or(0, |(at, c)| at + c.len_utf8());
        parts.push(&rest[begin..]);
        rest = rest[..begin].trim_end_matches(is_space);
    }
    parts
}

/// The lines of a text, each with what ended it.
pub(super) fn lines(text: &str) -> Vec<(&str, &str)> {
    let (mut found, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let end = rest.find(is_line_end).unwrap_or(rest.len());
        let mark = if rest[end..].starts_with("\r\n") {
            2
        } else {
            rest[end..].chars().next().map_or(0, char::len_utf8)
        };
        found.push((&rest[..end], &rest[end..end + mark]));
        rest = &rest[end + mark..];
    }
    found
}

pub(super) fn split_lines(text: &str, keep_ends: bool) -> Result<Value, Fault> {
    let whole = |(line, end): (&str, &str)| {
        if keep_ends {
            Value::str([line, end].concat())
        } else {
            Value::str(line)
        }
    };
    Value::list(lines(text).into_iter().map(whole).collect())
}

pub(super) fn partition(text: &str, separator: &str, from_right: bool) -> Result<Value, Fault> {
    if separator.is_empty() {
        return Err(Fault::new("empty separator"));
    }
    let cut = if from_right {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    let parts = match cut {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Value::tuple(parts.into_iter().map(Value::str).collect())
}

pub(super) fn expand_tabs(text: &str, size: i128, budget: &mut Budget) -> Result<Value, Fault> {
    let size = usize::try_from(size).unwrap_or(0);
    budget.spend(text.matches('\t').count().saturating_mul(size))?;
    let (mut out, mut column) = (String::with_capacity(text.len()), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let fill = if size == 0 { 0 } else { size - column % size };
                out.push_str(&" ".repeat(fill));
                column += fill;
            }
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') {
                    0
                } else {
                    column + 1
                };
            }
        }
    }
    Ok(Value::str(out))
}

/// `center`, `ljust`, `rjust` and `zfill`
pub(super) fn padded(
    text: &str,
    name: &str,
    args: &[Value],
    budget: &mut Budget,
) -> Result<Value, Fault> {
    let width = usize::try_from(want_int(name, &args[0])?).unwrap_or(0);
    let fill = match args.get(1) {
        None => ' ',
        Some(value) => {
            let mut characters = want_text(name, value)?.chars();
            match (characters.next(), characters.next()) {
                (Some(one), None) => one,
                _ => {
                    return Err(Fault::new(
                        "the fill character must be exactly one character long",
                    ));
                }
            }
        }
    };
    let missing = width.saturating_sub(text.chars().count());
    budget.spend(missing)?;
    if name == "zfill" {
        let sign = usize::from(text.starts_with(['+', '-']));
        let zeros = "0".repeat(missing);
        return Ok(Value::str([&text[..sign], &zeros, &text[sign..]].concat()));
    }
    let before = match name {
        "ljust" => 0,
        "rjust" => missing,
        // Where both sides cannot be equal, Python looks at the width.
        _ => missing / 2 + (missing & width & 1),
    };
    let run = |len: usize| std::iter::repeat_n(fill, len).collect::<String>();
    Ok(Value::str(
        [&run(before), text, &run(missing - before)].concat(),
    ))
}
