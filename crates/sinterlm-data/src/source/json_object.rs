//! The wanted fields of one JSON object, written as Python and its like write JSON. Where an object
//! begins and ends is found by `json_records`.

use std::borrow::Cow;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::whole_numbers::{may_be_whole, put_back, spelt_out};
use crate::{InvalidUtf8, Json, JsonMap};

/// What a text holds.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed {
    /// An object: its wanted fields and the names of the others.
    Object(JsonMap, Vec<String>),
    /// Another value, such as `an array`.
    Other(&'static str),
}

/// What is wrong with a text and where: line and byte of the line, both from 1.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) what: What,
}

#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// The text is not JSON.
    Syntax(String),
    /// An escape is half of a character.
    LoneSurrogate(String),
}

/// Reads an object; of a field given twice the last counts. `NaN`, `Infinity` and `-Infinity`, which
/// JSON does not have, are read as null, half of a character as U+FFFD where `invalid_utf8` says so.
/// What is wrong with a field that is not wanted stops nothing, as long as the object's end is found.
pub(super) fn parse(
    text: &str,
    wanted: &[String],
    invalid_utf8: InvalidUtf8,
) -> Result<Parsed, Fault> {
    // Nearly every text is JSON as it stands; only the others are gone through again.
    if let Ok(parsed) = read(text, wanted) {
        return with_whole_numbers(parsed, text, wanted);
    }
    let numbers = mended(text, false);
    let error = match read(&numbers.text, wanted) {
        Ok(parsed) => return with_whole_numbers(parsed, &numbers.text, wanted),
        Err(error) => error,
    };
    let all = mended(text, true);
    if all.lone_surrogates.is_empty() {
        return Err(syntax(&error));
    }
    match (read(&all.text, wanted), invalid_utf8) {
        (Ok(parsed), InvalidUtf8::Replace) => with_whole_numbers(parsed, &all.text, wanted),
        (Ok(_), InvalidUtf8::Error) => Err(surrogate_fault(text, &all.lone_surrogates, &error)),
        (Err(error), _) => Err(syntax(&error)),
    }
}

/// What was read of a text, with all digits of its whole numbers.
fn with_whole_numbers(parsed: Parsed, text: &str, wanted: &[String]) -> Result<Parsed, Fault> {
    let Parsed::Object(fields, _) = &parsed else {
        return Ok(parsed);
    };
    if !fields.iter().any(|(_, value)| may_be_whole(value)) {
        return Ok(parsed);
    }
    let spelt = match spelt_out(text) {
        Cow::Owned(spelt) => spelt,
        Cow::Borrowed(_) => return Ok(parsed),
    };
    let Ok(Parsed::Object(mut fields, others)) = read(&spelt, wanted) else {
        return Ok(parsed);
    };
    match put_back(&mut fields) {
        Ok(()) => Ok(Parsed::Object(fields, others)),
        Err(number) => {
            let at = text.find(&number).unwrap_or(0);
            let (line, column) = place(text, at);
            let digits = number.len();
            let what = What::Syntax(format!(
                "a whole number of {digits} digits needs more than 127 bits; write it as a string"
            ));
            Err(Fault { line, column, what })
        }
    }
}

/// Line and byte of the line of a byte, both from 1.
fn place(text: &str, at: usize) -> (u64, u64) {
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = 1 + text[..at].matches('\n').count();
    (line as u64, (at - line_start) as u64 + 1)
}

/// The fault of the surrogate that the parser stopped behind: those of other fields are no fault.
fn surrogate_fault(text: &str, surrogates: &[usize], error: &serde_json::Error) -> Fault {
    let lines = text.split_inclusive('\n').take(error.line() - 1);
    let reached = lines.map(str::len).sum::<usize>() + error.column();
    let before = surrogates.iter().rfind(|&&at| at < reached);
    let at = *before.unwrap_or(&surrogates[0]);
    let (line, column) = place(text, at);
    Fault {
        line,
        column,
        what: What::LoneSurrogate(text[at..at + 6].to_owned()),
    }
}

/// The parser's words without the place, which counts from the record's first line.
fn syntax(error: &serde_json::Error) -> Fault {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    let text = text.strip_suffix(&place).unwrap_or(&text);
    Fault {
        line: line.max(1) as u64,
        column: column.max(1) as u64,
        what: What::Syntax(text.to_owned()),
    }
}

/// JSON with null in place of `NaN`, `Infinity` and `-Infinity`, which Python reads and writes.
pub(crate) fn without_nan(text: &str) -> String {
    mended(text, false).text
}

/// A text in which what is not JSON was replaced.
struct Mended {
    text: String,
    /// Where halves of characters stand in the text as it was.
    lone_surrogates: Vec<usize>,
}

/// Puts null in place of numbers that JSON does not have, and where `surrogates` is set U+FFFD in
/// place of halves of characters. Lengths stay where they can, so that an error's column holds.
fn mended(text: &str, surrogates: bool) -> Mended {
    let (mut out, mut lone_surrogates) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    let mut in_string = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                in_string = !in_string;
                1
            }
            '\\' if in_string => match surrogate(rest) {
                Some(Surrogate::Pair) => 12,
                Some(Surrogate::Lone) if surrogates => {
                    lone_surrogates.push(text.len() - rest.len());
                    out.push_str("\\ufffd");
                    rest = &rest[6..];
                    continue;
                }
                _ => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            },
            'N' | 'I' | '-' if !in_string => {
                let found = ["-Infinity", "Infinity", "NaN"]
                    .into_iter()
                    .find(|name| rest.starts_with(name));
                if let Some(name) = found {
                    if name == "NaN" && out.ends_with(' ') {
                        out.pop();
                    }
                    out.push_str("null");
                    out.extend(std::iter::repeat_n(' ', name.len().saturating_sub(4)));
                    rest = &rest[name.len()..];
                    continue;
                }
                1
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Mended {
        text: out,
        lone_surrogates,
    }
}

enum Surrogate {
    /// Two escapes that are one character together.
    Pair,
    /// One escape that is half of a character.
    Lone,
}

/// What the escape at a text's beginning is, where it is a surrogate's.
fn surrogate(text: &str) -> Option<Surrogate> {
    let unit = |at: usize| {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
    };
    match unit(0)? {
        0xd800..0xdc00 if unit(6).is_some_and(|low| (0xdc00..0xe000).contains(&low)) => {
            Some(Surrogate::Pair)
        }
        0xd800..0xe000 => Some(Surrogate::Lone),
        _ => None,
    }
}

fn read(text: &str, wanted: &[String]) -> Result<Parsed, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = json.deserialize_any(ObjectVisitor { wanted })?;
    json.end()?;
    Ok(parsed)
}

struct ObjectVisitor<'a> {
    wanted: &'a [String],
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Parsed;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        let (mut fields, mut others) = (JsonMap::default(), Vec::new());
        while let Some(name) = access.next_key::<String>()? {
            if self.wanted.contains(&name) {
                let value: Json = access.next_value()?;
                fields.insert(name, value);
            } else {
                // Passed over without a limit to its depth and to its numbers.
                access.next_value::<IgnoredAny>()?;
                others.push(name);
            }
        }
        Ok(Parsed::Object(fields, others))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Parsed::Other("an array"))
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Other("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parsed, E> {
        Ok(Parsed::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parsed, E> {
        Ok(Parsed::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parsed, E> {
        Ok(Parsed::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parsed, E> {
        Ok(Parsed::Other("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Parsed, E> {
        Ok(Parsed::Other("a string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, invalid_utf8: InvalidUtf8) -> Result<Parsed, Fault> {
        parse(text, &["text".to_owned()], invalid_utf8)
    }

    fn text(json: &str, invalid_utf8: InvalidUtf8) -> String {
        match parsed(json, invalid_utf8).unwrap() {
            Parsed::Object(fields, _) => fields["text"].as_str().unwrap().to_owned(),
            Parsed::Other(kind) => kind.to_owned(),
        }
    }

    #[test]
    fn what_stands_in_other_fields_stops_nothing() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        for other in [
            "NaN",
            "[Infinity, -Infinity,NaN]",
            "1e999",
            r#""\ud83d""#,
            &deep,
            r#"{"text": "inner"}"#,
        ] {
            let json = format!(r#"{{"a":{other}, "text": "NaN -Infinity", "b": {other}}}"#);
            assert_eq!(text(&json, InvalidUtf8::Error), "NaN -Infinity", "{other}");
        }
        let twice = r#"{"text": "a", "text": "b"}"#;
        assert_eq!(text(twice, InvalidUtf8::Error), "b");
    }

    #[test]
    fn long_whole_numbers_keep_their_digits_where_they_are_wanted() {
        let read = |json: &str| parsed(json, InvalidUtf8::Error);
        let number = |json: &str| match read(json) {
            Ok(Parsed::Object(fields, _)) => fields["text"].clone(),
            other => panic!("{other:?}"),
        };
        let json = r#"{"x": NaN, "text": [18446744073709551616, 2]}"#;
        let expected = [1 << 64, 2].map(Json::Int).to_vec();
        assert_eq!(number(json), Json::List(expected));
        let least = r#"{"text": -9223372036854775809}"#;
        assert_eq!(number(least), Json::Int(i128::from(i64::MIN) - 1));
        let long = "9".repeat(40);
        let others = format!(r#"{{"a": {long}, "text": 1}}"#);
        assert_eq!(number(&others), Json::Int(1));
        let fault = read(&format!("{{\"a\": 1,\n \"text\": {long}}}")).unwrap_err();
        assert_eq!((fault.line, fault.column), (2, 10));
        assert!(matches!(fault.what, What::Syntax(words) if words.contains("40 digits")));
    }

    #[test]
    fn half_a_character_is_replaced_or_named_with_its_place() {
        let json = "{\n \"text\": \"\\\\ud83d \\ud83d\\ude00 \\ud83d\\\\ \\uDE00\"}";
        let replaced = text(json, InvalidUtf8::Replace);
        assert_eq!(replaced, "\\ud83d \u{1f600} \u{fffd}\\ \u{fffd}");
        let fault = parsed(json, InvalidUtf8::Error).unwrap_err();
        let what = What::LoneSurrogate("\\ud83d".into());
        let (line, column) = (2, 32);
        assert_eq!(fault, Fault { line, column, what });
    }

    #[test]
    fn faults_keep_their_place_behind_what_was_mended() {
        for (json, column) in [
            (r#"{"a": NaN, "b": -Infinity, "text": oh}"#, 36),
            (r#"{"a": "\ud83d", "text": "\ud83d", "b" 1}"#, 39),
        ] {
            let fault = parsed(json, InvalidUtf8::Replace).unwrap_err();
            assert_eq!((fault.line, fault.column), (1, column), "{json}");
            let What::Syntax(words) = fault.what else {
                panic!("{json}");
            };
            assert!(
                words.starts_with("expected") && !words.contains("line"),
                "{words}"
            );
        }
    }
}
