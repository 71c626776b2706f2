//! How values print: Python's `str` and `repr`.

use std::fmt::Write;

use super::characters::is_printable;
use super::fault::Fault;
use super::value::{Value, View};

/// Python's `str`.
///
/// # Errors
/// For what Python prints with an address, as generators.
pub(super) fn text(value: &Value) -> Result<String, Fault> {
    let mut out = String::new();
    write_text(&mut out, value)?;
    Ok(out)
}

/// Appends Python's `str`.
pub(super) fn write_text(out: &mut String, value: &Value) -> Result<(), Fault> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Str(text) | Value::Markup(text) => {
            out.push_str(text);
            Ok(())
        }
        other => write_repr(out, other),
    }
}

/// Python's `repr`.
///
/// # Errors
/// As [`text`].
pub(super) fn repr(value: &Value) -> Result<String, Fault> {
    let mut out = String::new();
    write_repr(&mut out, value)?;
    Ok(out)
}

fn write_repr(out: &mut String, value: &Value) -> Result<(), Fault> {
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(value) => write!(out, "{value}").expect("a string takes all"),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Str(text) => quote(out, text),
        Value::Markup(text) => {
            out.push_str("Markup(");
            quote(out, text);
            out.push(')');
        }
        Value::List(list) => write_items(out, '[', &list.items, "]")?,
        Value::Tuple(list) if list.items.len() == 1 => write_items(out, '(', &list.items, ",)")?,
        Value::Tuple(list) => write_items(out, '(', &list.items, ")")?,
        Value::Dict(dict) => write_entries(out, dict.entries())?,
        Value::View(_, view) => {
            out.push_str(match view {
                View::Keys => "dict_keys(",
                View::Values => "dict_values(",
                View::Items => "dict_items(",
            });
            write_items(out, '[', &value.items()?, "])")?;
        }
        Value::Range(range) => {
            let step = if range.step == 1 {
                String::new()
            } else {
                format!(", {}", range.step)
            };
            write!(out, "range({}, {}{step})", range.start, range.stop)
                .expect("a string takes all");
        }
        Value::Namespace(space) => {
            out.push_str("<Namespace ");
            // Held for writing, so that a namespace in itself is met as a fault.
            let Ok(entries) = space.entries.try_borrow_mut() else {
                return Err(Fault::new(
                    "printing a namespace in itself is not supported",
                ));
            };
            write_entries(out, entries.entries())?;
            out.push('>');
        }
        Value::Macro(own) => match &own.node.name {
            Some(name) => {
                out.push_str("<Macro ");
                quote(out, name);
                out.push('>');
            }
            None => out.push_str("<Macro 'caller'>"),
        },
        other => {
            return Err(Fault::new(format!(
                "printing a {} is not supported: Python prints its address; use `list` or `join`",
                other.type_name()
            )));
        }
    }
    Ok(())
}

fn write_items(out: &mut String, begin: char, items: &[Value], end: &str) -> Result<(), Fault> {
    out.push(begin);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_repr(out, item)?;
    }
    out.push_str(end);
    Ok(())
}

fn write_entries(out: &mut String, entries: &[(Value, Value)]) -> Result<(), Fault> {
    out.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_repr(out, key)?;
        out.push_str(": ");
        write_repr(out, value)?;
    }
    out.push('}');
    Ok(())
}

/// A string in quotes, as Python chooses and escapes them.
pub(super) fn quote(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => escape(out, c),
        }
    }
    out.push(quote);
}

/// A character by its number.
pub(super) fn escape(out: &mut String, c: char) {
    let code = c as u32;
    let written = match code {
        0..0x100 => write!(out, "\\x{code:02x}"),
        0x100..0x1_0000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
    written.expect("a string takes all");
}

/// The shortest digits that mean the number, with an exponent where Python writes one.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific
        .split_once('e')
        .expect("written with an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a whole number");
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
