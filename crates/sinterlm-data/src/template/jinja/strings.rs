//! The methods of Python's strings. Splitting and padding are in `pieces`.

use super::arguments::{Args, want_int, want_text};
use super::braces;
use super::characters::{is_cased, is_printable, is_space, title};
use super::fault::Fault;
use super::machine::Machine;
use super::pieces;
use super::value::Value;

pub(super) const METHODS: [&str; 44] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// Methods that need no string but their own, and those that give none.
const SAFE_ON_MARKUP: [&str; 27] = [
    "capitalize",
    "count",
    "endswith",
    "find",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "lower",
    "lstrip",
    "rfind",
    "rindex",
    "rstrip",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
];

/// Calls a method of an escaped string.
pub(super) fn call_markup(
    machine: &mut Machine,
    text: &str,
    name: &str,
    args: Args,
) -> Result<Value, Fault> {
    if !SAFE_ON_MARKUP.contains(&name) {
        return Err(Fault::new(format!(
            "'{name}' of an escaped string is not supported"
        )));
    }
    Ok(match call(machine, text, name, args)? {
        Value::Str(text) => Value::Markup(text),
        other => other,
    })
}

/// Calls a method.
#[inline(never)]
pub(super) fn call(
    machine: &mut Machine,
    text: &str,
    name: &str,
    args: Args,
) -> Result<Value, Fault> {
    machine.budget.spend(text.len())?;
    match name {
        "format" => return braces::format(machine, text, args).map(Value::str),
        "format_map" => {
            let mut args = args.unnamed(name, 1, 1)?;
            return braces::format_map(machine, text, args.remove(0)).map(Value::str);
        }
        "split" | "rsplit" => {
            let args = args.bind(name, &["sep", "maxsplit"], 0)?;
            return pieces::split(text, args, name == "rsplit");
        }
        "splitlines" => {
            let args = args.bind(name, &["keepends"], 0)?;
            return pieces::split_lines(text, args.int_flag(0)?);
        }
        "expandtabs" => {
            let args = args.bind(name, &["tabsize"], 0)?;
            return pieces::expand_tabs(text, args.int(0, 8)?, &mut machine.budget);
        }
        _ => {}
    }
    if let Some(answer) = is_of_kind(text, name)? {
        args.unnamed(name, 0, 0)?;
        return Ok(Value::Bool(answer));
    }
    if let Some(changed) = with_case(text, name)? {
        args.unnamed(name, 0, 0)?;
        return Ok(Value::str(changed));
    }
    with_arguments(machine, text, name, args)
}

fn with_arguments(
    machine: &mut Machine,
    text: &str,
    name: &str,
    args: Args,
) -> Result<Value, Fault> {
    let most = match name {
        "count" | "find" | "rfind" | "index" | "rindex" | "startswith" | "endswith" | "replace" => {
            3
        }
        "center" | "ljust" | "rjust" => 2,
        _ => 1,
    };
    let least = match name {
        "strip" | "lstrip" | "rstrip" => 0,
        "replace" => 2,
        _ => 1,
    };
    let args = args.unnamed(name, least, most)?;
    Ok(match name {
        "strip" | "lstrip" | "rstrip" => Value::str(stripped(text, name, args.first())?),
        "startswith" | "endswith" => starts_or_ends(text, name, &args)?,
        "count" | "find" | "rfind" | "index" | "rindex" => search(text, name, &args)?,
        "replace" => {
            let (old, new) = (want_text(name, &args[0])?, want_text(name, &args[1])?);
            let count = args.get(2).map_or(Ok(-1), |value| want_int(name, value))?;
            replaced(machine, text, old, new, count)?
        }
        "join" => {
            let mut out = String::new();
            for (at, item) in args[0].items()?.iter().enumerate() {
                if at > 0 {
                    out.push_str(text);
                }
                out.push_str(item.as_str().ok_or_else(|| {
                    let kind = item.type_name();
                    Fault::new(format!(
                        "sequence item {at}: expected str instance, {kind} found"
                    ))
                })?);
                machine.budget.spend(text.len())?;
            }
            machine.budget.spend(out.len())?;
            Value::str(out)
        }
        "partition" | "rpartition" => {
            pieces::partition(text, want_text(name, &args[0])?, name == "rpartition")?
        }
        "removeprefix" => {
            let part = want_text(name, &args[0])?;
            Value::str(text.strip_prefix(part).unwrap_or(text))
        }
        "removesuffix" => {
            let part = want_text(name, &args[0])?;
            Value::str(text.strip_suffix(part).unwrap_or(text))
        }
        _ => pieces::padded(text, name, &args, &mut machine.budget)?,
    })
}

/// `str.replace`; a negative count replaces all.
pub(super) fn replaced(
    machine: &mut Machine,
    text: &str,
    old: &str,
    new: &str,
    count: i128,
) -> Result<Value, Fault> {
    let found = if old.is_empty() {
        text.len() + 1
    } else {
        text.matches(old).count()
    };
    let times = usize::try_from(count).map_or(found, |count| count.min(found));
    machine
        .budget
        .spend(text.len() + times.saturating_mul(new.len()))?;
    Ok(Value::str(text.replacen(old, new, times)))
}

pub(super) fn stripped<'a>(
    text: &'a str,
    name: &str,
    chars: Option<&Value>,
) -> Result<&'a str, Fault> {
    let of = match chars {
        None | Some(Value::None) => None,
        Some(value) => Some(want_text(name, value)?),
    };
    let drops = |c: char| of.map_or_else(|| is_space(c), |of| of.contains(c));
    Ok(match name {
        "lstrip" => text.trim_start_matches(drops),
        "rstrip" => text.trim_end_matches(drops),
        _ => text.trim_matches(drops),
    })
}

/// Start and end of a range of `len` places, by two optional arguments.
pub(super) fn bounds(name: &str, args: &[Value], len: usize) -> Result<(usize, usize), Fault> {
    let place = |value: Option<&Value>, default: usize| match value {
        None | Some(Value::None) => Ok(default),
        Some(value) => {
            let at = want_int(name, value)?;
            let at = if at < 0 {
                at.saturating_add(len as i128).max(0)
            } else {
                at
            };
            Ok(usize::try_from(at).unwrap_or(usize::MAX))
        }
    };
    Ok((place(args.first(), 0)?, place(args.get(1), len)?.min(len)))
}

/// The part of a text between two places, none where they are out of order.
fn region(text: &str, start: usize, stop: usize) -> Option<&str> {
    if start > stop {
        return None;
    }
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let from = places.clone().nth(start)?;
    let to = places.nth(stop)?;
    Some(&text[from..to])
}

fn starts_or_ends(text: &str, name: &str, args: &[Value]) -> Result<Value, Fault> {
    let part = if args.len() == 1 {
        Some(text)
    } else {
        let (start, stop) = bounds(name, &args[1..], text.chars().count())?;
        region(text, start, stop)
    };
    let fits = |wanted: &Value| {
        let wanted = want_text(name, wanted)?;
        let fits = |part: &str| match name {
            "startswith" => part.starts_with(wanted),
            _ => part.ends_with(wanted),
        };
        Ok::<_, Fault>(part.is_some_and(fits))
    };
    if let Value::Tuple(list) = &args[0] {
        for wanted in &list.items {
            if fits(wanted)? {
                return Ok(Value::Bool(true));
            }
        }
        return Ok(Value::Bool(false));
    }
    fits(&args[0]).map(Value::Bool)
}

fn search(text: &str, name: &str, args: &[Value]) -> Result<Value, Fault> {
    let wanted = want_text(name, &args[0])?;
    let (start, stop) = bounds(name, &args[1..], text.chars().count())?;
    let part = region(text, start, stop);
    if name == "count" {
        let count = part.map_or(0, |part| part.matches(wanted).count());
        return Ok(Value::Int(count as i128));
    }
    let found = part.and_then(|part| {
        let at = if name.starts_with('r') {
            part.rfind(wanted)
        } else {
            part.find(wanted)
        };
        at.map(|at| start + part[..at].chars().count())
    });
    match found {
        Some(at) => Ok(Value::Int(at as i128)),
        None if name.ends_with("index") => Err(Fault::new("substring not found")),
        None => Ok(Value::Int(-1)),
    }
}

/// The answer of `isupper` and its like; none for other methods.
fn is_of_kind(text: &str, name: &str) -> Result<Option<bool>, Fault> {
    let all = |holds: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(holds);
    Ok(Some(match name {
        "isascii" => text.is_ascii(),
        "isspace" => all(&is_space),
        "isprintable" => text.chars().all(is_printable),
        "isalpha" => all(&is_letter),
        "isalnum" => all(&|c| is_letter(c) || c.is_numeric()),
        "isdigit" | "isdecimal" | "isnumeric" => {
            // Which of the world's numerals are digits is a table that Rust does not have.
            if text.chars().any(|c| !c.is_ascii() && c.is_alphanumeric()) {
                let what = format!("'{name}' of letters and digits outside of ASCII");
                return Err(Fault::new(format!("{what} is not supported")));
            }
            all(&|c| c.is_ascii_digit())
        }
        "isidentifier" => {
            let mut characters = text.chars();
            let begins = |c: char| is_letter(c) || c == '_';
            characters.next().is_some_and(begins) && characters.all(|c| begins(c) || c.is_numeric())
        }
        "islower" => text.chars().any(is_cased) && !text.chars().any(is_upper),
        "isupper" => text.chars().any(is_cased) && !text.chars().any(char::is_lowercase),
        "istitle" => is_title(text),
        _ => return Ok(None),
    }))
}

pub(super) fn is_letter(c: char) -> bool {
    let is_circled = matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}');
    c.is_alphabetic() && !c.is_numeric() && !is_circled
}

fn is_upper(c: char) -> bool {
    c.is_uppercase() || (is_cased(c) && !c.is_lowercase())
}

fn is_title(text: &str) -> bool {
    let (mut inside, mut has_word) = (false, false);
    for c in text.chars() {
        if is_upper(c) {
            if inside {
                return false;
            }
            (inside, has_word) = (true, true);
        } else if c.is_lowercase() {
            if !inside {
                return false;
            }
        } else {
            inside = false;
        }
    }
    has_word
}

/// The text of `upper` and its like; none for other methods.
fn with_case(text: &str, name: &str) -> Result<Option<String>, Fault> {
    Ok(Some(match name {
        "upper" => text.to_uppercase(),
        "lower" => text.to_lowercase(),
        "capitalize" => capitalized(text),
        "casefold" => {
            if !text.is_ascii() {
                return Err(Fault::new("'casefold' outside of ASCII is not supported"));
            }
            text.to_lowercase()
        }
        "swapcase" => {
            let swap = |c: char| -> String {
                if is_upper(c) {
                    c.to_lowercase().collect()
                } else {
                    c.to_uppercase().collect()
                }
            };
            text.chars().map(swap).collect()
        }
        "title" => {
            let (mut out, mut inside) = (String::with_capacity(text.len()), false);
            for c in text.chars() {
                if inside {
                    out.extend(c.to_lowercase());
                } else {
                    out.push_str(&title(c));
                }
                inside = is_cased(c);
            }
            out
        }
        _ => return Ok(None),
    }))
}

/// The first character in title case, the others in lower case.
pub(super) fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        None => String::new(),
        Some(first) => title(first) + &characters.as_str().to_lowercase(),
    }
}
