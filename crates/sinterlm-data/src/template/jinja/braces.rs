//! Python's `text.format(...)`.

use super::arguments::Args;
use super::fault::Fault;
use super::machine::Machine;
use super::percent::ascii;
use super::print::{repr, text};
use super::spec;
use super::value::Value;

/// Where fields get their values.
struct Source {
    positional: Vec<Value>,
    named: Value,
    /// The next field without a name; none once fields are numbered.
    next: Option<usize>,
    is_numbered: bool,
}

pub(super) fn format(machine: &mut Machine, format: &str, args: Args) -> Result<String, Fault> {
    let Args { positional, named } = args;
    let named = Value::dict(super::functions::dict_of(Args {
        positional: Vec::new(),
        named,
    })?);
    let mut source = Source {
        positional,
        named,
        next: Some(0),
        is_numbered: false,
    };
    expand(machine, format, &mut source, 3)
}

pub(super) fn format_map(
    machine: &mut Machine,
    format: &str,
    named: Value,
) -> Result<String, Fault> {
    let mut source = Source {
        positional: Vec::new(),
        named,
        next: Some(0),
        is_numbered: false,
    };
    expand(machine, format, &mut source, 3)
}

fn expand(
    machine: &mut Machine,
    format: &str,
    source: &mut Source,
    depth: usize,
) -> Result<String, Fault> {
    if depth == 0 {
        return Err(Fault::new("max string recursion exceeded"));
    }
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(Fault::new("single '}' encountered in format string"));
        }
        let end = field_end(rest)?;
        let piece = field(machine, &rest[..end], source, depth)?;
        machine.budget.spend(piece.len())?;
        out.push_str(&piece);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace that is open closes.
fn field_end(text: &str) -> Result<usize, Fault> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Ok(at);
        }
    }
    Err(Fault::new("expected '}' before end of string"))
}

fn field(
    machine: &mut Machine,
    field: &str,
    source: &mut Source,
    depth: usize,
) -> Result<String, Fault> {
    let mut in_brackets = false;
    let end = field.find(|c: char| {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        !in_brackets && matches!(c, '!' | ':')
    });
    let (path, tail) = field.split_at(end.unwrap_or(field.len()));
    if path.contains(['{', '}']) {
        return Err(Fault::new("unexpected '{' in field name"));
    }
    let (conversion, spec) = match tail.strip_prefix('!') {
        Some(after) => {
            let kind = after.chars().next();
            let kind = kind.ok_or_else(|| Fault::new("unmatched '{' in format spec"))?;
            let after = &after[kind.len_utf8()..];
            if !after.is_empty() && !after.starts_with(':') {
                return Err(Fault::new("expected ':' after conversion specifier"));
            }
            (Some(kind), after.strip_prefix(':').unwrap_or(after))
        }
        None => (None, tail.strip_prefix(':').unwrap_or(tail)),
    };
    let value = value_of(machine, path, source)?;
    let value = match conversion {
        None => value,
        Some('s') => Value::str(text(&value)?),
        Some('r') => Value::str(repr(&value)?),
        Some('a') => Value::str(ascii(&repr(&value)?)),
        Some(kind) => {
            return Err(Fault::new(format!("unknown conversion specifier {kind}")));
        }
    };
    let spec = expand(machine, spec, source, depth - 1)?;
    spec::format(&value, &spec, &mut machine.budget)
}

/// The value of a path like `0.name[key]`.
fn value_of(machine: &mut Machine, path: &str, source: &mut Source) -> Result<Value, Fault> {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (first, mut rest) = path.split_at(end);
    if first.is_empty() && !rest.is_empty() {
        return Err(Fault::new(
            "key error: '' (fields count themselves only without attributes)",
        ));
    }
    let is_index = first.bytes().all(|b| b.is_ascii_digit());
    let mut value = if is_index {
        let at = if first.is_empty() {
            if source.is_numbered {
                return Err(Fault::new(
                    "cannot switch from manual field specification to automatic field numbering",
                ));
            }
            let at = source.next.unwrap_or(0);
            source.next = Some(at + 1);
            at
        } else {
            if source.next.is_some_and(|next| next > 0) {
                return Err(Fault::new(
                    "cannot switch from automatic field numbering to manual field specification",
                ));
            }
            source.is_numbered = true;
            first.parse().unwrap_or(usize::MAX)
        };
        let missing = || Fault::new(format!("replacement index {at} out of range"));
        source.positional.get(at).cloned().ok_or_else(missing)?
    } else {
        let found = match &source.named {
            Value::Dict(dict) => dict.get_str(first).cloned(),
            _ => None,
        };
        found.ok_or_else(|| Fault::new(format!("key error: '{first}'")))?
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Err(Fault::new("empty attribute in format string"));
            }
            value = machine.attribute(&value, &after[..end].into())?;
            rest = &after[end..];
        } else {
            let after = &rest[1..];
            let end = after
                .find(']')
                .ok_or_else(|| Fault::new("missing ']' in format string"))?;
            let key = &after[..end];
            if key.is_empty() {
                return Err(Fault::new("empty attribute in format string"));
            }
            let is_number = key.bytes().all(|b| b.is_ascii_digit());
            let key = match key.parse() {
                Ok(at) if is_number => Value::Int(at),
                _ => Value::str(key),
            };
            value = machine.element(&value, &key)?;
            rest = &after[end + 1..];
            if !rest.is_empty() && !rest.starts_with(['.', '[']) {
                return Err(Fault::new(
                    "only '.' or '[' may follow ']' in format field specifier",
                ));
            }
        }
    }
    Ok(value)
}
