//! Whole numbers of more than 64 bits in JSON, of which `serde_json` makes floats. Python keeps all
//! their digits, and templates print them.

use std::borrow::Cow;

use crate::{Json, JsonMap};

/// Digits of the shortest numbers that need more than 64 bits.
const MANY: usize = 19;
/// Begins a string that stands for a number.
const MARK: &str = "\u{1}whole number\u{1}";

/// Whether a value holds a float that a long whole number may have become.
pub(super) fn may_be_whole(json: &Json) -> bool {
    match json {
        Json::Float(number) => number.abs() >= i64::MAX as f64,
        Json::List(items) => items.iter().any(may_be_whole),
        Json::Map(map) => map.iter().any(|(_, value)| may_be_whole(value)),
        _ => false,
    }
}

/// Puts strings in place of long whole numbers, which [`put_back`] makes numbers of again; the text as
/// it is where there are none. It has to be JSON.
pub(super) fn spelt_out(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut done, mut at, mut in_string) = (0, 0, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 2,
            b'"' => {
                in_string = !in_string;
                at += 1;
            }
            b'-' | b'0'..=b'9' if !in_string => {
                let begin = at;
                let part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                at += bytes[begin..].iter().take_while(|byte| part(byte)).count();
                let digits = text[begin..at].trim_start_matches('-');
                if digits.len() >= MANY && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    out.push_str(&text[done..begin]);
                    out.push_str("\"\\u0001whole number\\u0001");
                    out.push_str(&text[begin..at]);
                    out.push('"');
                    done = at;
                }
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Makes numbers of the strings that stand for them.
///
/// # Errors
/// The first number of more than 127 bits.
pub(super) fn put_back(fields: &mut JsonMap) -> Result<(), String> {
    fields.values_mut().try_for_each(put_back_in)
}

fn put_back_in(json: &mut Json) -> Result<(), String> {
    match json {
        Json::Text(text) => {
            if let Some(number) = text.strip_prefix(MARK) {
                *json = Json::Int(number.parse().map_err(|_| number.to_owned())?);
            }
            Ok(())
        }
        Json::List(items) => items.iter_mut().try_for_each(put_back_in),
        Json::Map(map) => put_back(map),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_whole_numbers_outside_of_strings_are_spelt_out() {
        for text in [
            r#"{"a": "12345678901234567890", "b": 1234567890123456}"#,
            r#"{"a": 0.12345678901234567890123, "b": 12345678901234567890e3}"#,
            r#"{"a\"": "\\", "b": [1, -2.5E+30]}"#,
        ] {
            assert!(matches!(spelt_out(text), Cow::Borrowed(_)), "{text}");
        }
        let text = r#"{"é\"1":[-170141183460469231731687303715884105728,18446744073709551616]}"#;
        let spelt = spelt_out(text);
        let mut json: JsonMap = serde_json::from_str(&spelt).unwrap();
        put_back(&mut json).unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
    }
}
