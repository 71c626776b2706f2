//! Filters of texts.

use std::fmt::Write;

use super::arguments::Args;
use super::characters::is_space;
use super::fault::Fault;
use super::machine::Machine;
use super::operators::escape_html;
use super::pieces::lines;
use super::print::{repr, text};
use super::strings::{self, is_letter};
use super::value::Value;

pub(super) fn filter(
    machine: &mut Machine,
    name: &str,
    value: &Value,
    args: Args,
) -> Result<Value, Fault> {
    match name {
        "urlencode" => {
            args.unnamed(name, 0, 0)?;
            return url_encode(value);
        }
        "xmlattr" => {
            let args = args.bind(name, &["autospace"], 0)?;
            return xml_attributes(value, args.flag(0, true));
        }
        "replace" => {
            let mut args = args.bind(name, &["old", "new", "count"], 2)?;
            let count = match args.take(2) {
                None | Some(Value::None) => -1,
                Some(count) => super::arguments::want_int(name, &count)?,
            };
            let (old, new) = (text(&args.required(0))?, text(&args.required(1))?);
            return strings::replaced(machine, &text(value)?, &old, &new, count);
        }
        "indent" => {
            if value.as_str().is_none() {
                // Python adds a line break to the text first.
                let kind = value.type_name();
                return Err(Fault::new(format!("indent: a str is wanted, not {kind}")));
            }
            return indent(machine, &text(value)?, args);
        }
        "truncate" => {
            if value.as_str().is_none() {
                let kind = value.type_name();
                return Err(Fault::new(format!("truncate of {kind} is not supported")));
            }
            return truncate(&text(value)?, args);
        }
        _ => {}
    }
    let own = text(value)?;
    machine.budget.spend(own.len())?;
    let is_markup = matches!(value, Value::Markup(_));
    let changed = match name {
        "trim" => {
            let mut args = args.bind(name, &["chars"], 0)?;
            strings::stripped(&own, "strip", args.take(0).as_ref())?.to_owned()
        }
        "center" => {
            let args = args.bind(name, &["width"], 0)?;
            let width = Value::Int(args.int(0, 80)?);
            let centred = super::pieces::padded(&own, "center", &[width], &mut machine.budget)?;
            text(&centred)?
        }
        "wordcount" => {
            args.unnamed(name, 0, 0)?;
            let is_word = |c: char| is_letter(c) || c.is_numeric() || c == '_';
            let words = own
                .split(|c| !is_word(c))
                .filter(|word| !word.is_empty())
                .count();
            return Ok(Value::Int(words as i128));
        }
        _ => {
            args.unnamed(name, 0, 0)?;
            match name {
                "upper" => own.to_uppercase(),
                "lower" => own.to_lowercase(),
                "capitalize" => strings::capitalized(&own),
                _ => title(&own),
            }
        }
    };
    Ok(if is_markup {
        Value::Markup(changed.into())
    } else {
        Value::str(changed)
    })
}

/// Words begin behind white space, hyphens and opening brackets.
fn title(own: &str) -> String {
    let (mut out, mut inside) = (String::with_capacity(own.len()), false);
    let mut word = String::new();
    let finish = |out: &mut String, word: &mut String| {
        out.push_str(&word.to_lowercase());
        word.clear();
    };
    for c in own.chars() {
        if is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<') {
            finish(&mut out, &mut word);
            inside = false;
            out.push(c);
        } else if inside {
            word.push(c);
        } else {
            inside = true;
            out.extend(c.to_uppercase());
        }
    }
    finish(&mut out, &mut word);
    out
}

fn indent(machine: &mut Machine, own: &str, args: Args) -> Result<Value, Fault> {
    let mut args = args.bind("indent", &["width", "first", "blank"], 0)?;
    let (first, blank) = (args.flag(1, false), args.flag(2, false));
    let by = match args.take(0) {
        None => " ".repeat(4),
        Some(Value::Str(text)) => text.to_string(),
        Some(width) => {
            let width = super::arguments::want_int("indent", &width)?;
            let width = usize::try_from(width).unwrap_or(0);
            machine.budget.spend(width)?;
            " ".repeat(width)
        }
    };
    // The line break that Jinja adds ends the last line, so that it counts.
    let whole = format!("{own}\n");
    let found = lines(&whole);
    machine
        .budget
        .spend(own.len() + found.len().saturating_mul(by.len()))?;
    let mut out = String::new();
    for (at, (line, _)) in found.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        let is_indented = if at == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if is_indented {
            out.push_str(&by);
        }
        out.push_str(line);
    }
    Ok(Value::str(out))
}

fn truncate(own: &str, args: Args) -> Result<Value, Fault> {
    let args = args.bind("truncate", &["length", "killwords", "end", "leeway"], 0)?;
    let (length, end, leeway) = (args.int(0, 255)?, args.text(2, "...")?, args.int(3, 5)?);
    let end_len = end.chars().count() as i128;
    if length < end_len || leeway < 0 {
        return Err(Fault::new(format!(
            "truncate: expected length >= {end_len}, got {length}"
        )));
    }
    if own.chars().count() as i128 <= length.saturating_add(leeway) {
        return Ok(Value::str(own));
    }
    let cut: String = own.chars().take((length - end_len) as usize).collect();
    let kept = if args.flag(1, false) {
        &cut
    } else {
        cut.rsplit_once(' ')
            .map_or(cut.as_str(), |(before, _)| before)
    };
    Ok(Value::str([kept, &end].concat()))
}

/// Percent encoding; in queries also of slashes, and with `+` for spaces.
fn quote_url(value: &Value, in_query: bool) -> Result<String, Fault> {
    let mut out = String::new();
    for byte in text(value)?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(byte as char);
            }
            b'/' if !in_query => out.push('/'),
            b' ' if in_query => out.push('+'),
            byte => write!(out, "%{byte:02X}").expect("a string takes all"),
        }
    }
    Ok(out)
}

fn url_encode(value: &Value) -> Result<Value, Fault> {
    if value.as_str().is_some() || !value.is_iterable() {
        return quote_url(value, false).map(Value::str);
    }
    let pairs = match value {
        Value::Dict(dict) => dict.entries().to_vec(),
        other => {
            let pair = |pair: Value| match &pair.items()?[..] {
                [key, value] => Ok((key.clone(), value.clone())),
                _ => Err(Fault::new(
                    "urlencode: pairs of a name and a value are wanted",
                )),
            };
            other
                .items()?
                .into_iter()
                .map(pair)
                .collect::<Result<_, _>>()?
        }
    };
    let mut parts = Vec::with_capacity(pairs.len());
    for (key, value) in &pairs {
        parts.push([quote_url(key, true)?, quote_url(value, true)?].join("="));
    }
    Ok(Value::str(parts.join("&")))
}

fn xml_attributes(value: &Value, autospace: bool) -> Result<Value, Fault> {
    let Value::Dict(dict) = value else {
        return Err(Fault::new("xmlattr: a dict is wanted"));
    };
    let mut parts = Vec::new();
    for (key, value) in dict.entries() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let name = super::arguments::want_text("xmlattr", key)?;
        if name.contains(|c: char| c.is_ascii() && is_space(c) || matches!(c, '/' | '>' | '=')) {
            let shown = repr(key)?;
            return Err(Fault::new(format!(
                "invalid character in attribute name: {shown}"
            )));
        }
        let value = match value {
            Value::Markup(text) => text.to_string(),
            other => escape_html(&text(other)?),
        };
        parts.push(format!("{}=\"{value}\"", escape_html(name)));
    }
    let joined = parts.join(" ");
    let space = if autospace && !joined.is_empty() {
        " "
    } else {
        ""
    };
    Ok(Value::str([space, &joined].concat()))
}
