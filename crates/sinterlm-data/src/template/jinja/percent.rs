//! Python's `text % values`.

use super::fault::Fault;
use super::machine::Budget;
use super::print::{self, escape};
use super::spec;
use super::value::Value;

/// Widths and precisions that are asked for at most.
const MAX_WIDTH: i128 = 1 << 20;

#[derive(Default)]
struct Flags {
    is_left: bool,
    plus: bool,
    space: bool,
    is_alternate: bool,
    zero: bool,
}

/// The values that a format takes, one after the other or by their names.
struct Values<'a> {
    all: &'a Value,
    at: usize,
}

impl Values<'_> {
    fn next(&mut self) -> Result<Value, Fault> {
        let value = match self.all {
            Value::Tuple(list) => list.items.get(self.at).cloned(),
            other => (self.at == 0).then(|| other.clone()),
        };
        self.at += 1;
        value.ok_or_else(|| Fault::new("not enough arguments for format string"))
    }

    fn is_mapping(&self) -> bool {
        matches!(
            self.all,
            Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_)
        )
    }
}

/// The text with the values in place of what begins with `%`.
pub(super) fn format(text: &str, values: &Value, budget: &mut Budget) -> Result<String, Fault> {
    let mut values = Values { all: values, at: 0 };
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let piece = directive(&mut rest, &mut values)?;
        budget.spend(piece.len())?;
        out.push_str(&piece);
    }
    out.push_str(rest);
    budget.spend(out.len())?;
    let count = match values.all {
        Value::Tuple(list) => list.items.len(),
        _ => 1,
    };
    if values.at < count && !values.is_mapping() {
        return Err(Fault::new(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

fn directive(rest: &mut &str, values: &mut Values<'_>) -> Result<String, Fault> {
    if let Some(after) = rest.strip_prefix('%') {
        *rest = after;
        return Ok("%".to_owned());
    }
    let mut named = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let end = closing(inner).ok_or_else(|| Fault::new("incomplete format key"))?;
        let Value::Dict(dict) = values.all else {
            return Err(Fault::new("format requires a mapping"));
        };
        let key = &inner[..end];
        let value = dict.get_str(key).cloned();
        named = Some(value.ok_or_else(|| Fault::new(format!("key error: '{key}'")))?);
        *rest = &inner[end + 1..];
    }
    let mut flags = Flags::default();
    loop {
        match rest.chars().next() {
            Some('-') => flags.is_left = true,
            Some('+') => flags.plus = true,
            Some(' ') => flags.space = true,
            Some('#') => flags.is_alternate = true,
            Some('0') => flags.zero = true,
            _ => break,
        }
        *rest = &rest[1..];
    }
    let mut width = size(rest, values)?.unwrap_or(0);
    if width < 0 {
        (flags.is_left, width) = (true, -width);
    }
    let mut precision = None;
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        precision = Some(size(rest, values)?.unwrap_or(0).max(0) as usize);
    }
    *rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
    let kind = rest
        .chars()
        .next()
        .ok_or_else(|| Fault::new("incomplete format"))?;
    *rest = &rest[kind.len_utf8()..];
    if kind == '%' {
        return Err(Fault::new(
            "unsupported format character '%' behind a flag or width",
        ));
    }
    let value = match named {
        Some(value) => {
            values.at = values.at.max(1);
            value
        }
        None => values.next()?,
    };
    let (sign, text) = converted(kind, &value, &flags, precision)?;
    let missing = (width as usize).saturating_sub(sign.chars().count() + text.chars().count());
    let is_number = !matches!(kind, 's' | 'r' | 'a' | 'c');
    Ok(if flags.is_left {
        sign + &text + &" ".repeat(missing)
    } else if flags.zero && is_number {
        sign + &"0".repeat(missing) + &text
    } else {
        " ".repeat(missing) + &sign + &text
    })
}

/// Where the parenthesis that is open closes.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// A number that is written or, for `*`, given among the values.
fn size(rest: &mut &str, values: &mut Values<'_>) -> Result<Option<i128>, Fault> {
    let too_large = || Fault::new("a width above 2**20 is not supported");
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let value = values.next()?;
        let value = value.as_int().ok_or_else(|| Fault::new("* wants int"))?;
        if value.abs() > MAX_WIDTH {
            return Err(too_large());
        }
        return Ok(Some(value));
    }
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return Ok(None);
    }
    let value: i128 = rest[..len].parse().map_err(|_| too_large())?;
    if value > MAX_WIDTH {
        return Err(too_large());
    }
    *rest = &rest[len..];
    Ok(Some(value))
}

/// A value's sign and text.
fn converted(
    kind: char,
    value: &Value,
    flags: &Flags,
    precision: Option<usize>,
) -> Result<(String, String), Fault> {
    let sign = |is_negative: bool| {
        match (is_negative, flags.plus, flags.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
        .to_owned()
    };
    let kind_of = value.type_name();
    match kind {
        's' | 'r' | 'a' => {
            let text = match kind {
                's' => print::text(value)?,
                'r' => print::repr(value)?,
                _ => ascii(&print::repr(value)?),
            };
            let cut = match precision {
                Some(len) => text.chars().take(len).collect(),
                None => text,
            };
            Ok((String::new(), cut))
        }
        'c' => {
            let c = match (value, value.as_int()) {
                (Value::Str(text), _) => Some(text).filter(|t| t.chars().count() == 1).cloned(),
                (_, Some(code)) => {
                    let c = u32::try_from(code).ok().and_then(char::from_u32);
                    c.map(|c| c.to_string().into())
                }
                _ => None,
            };
            let c = c.ok_or_else(|| Fault::new("%c requires int or char"))?;
            Ok((String::new(), c.to_string()))
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let number = match (value, value.as_int()) {
                (_, Some(number)) => number,
                (Value::Float(number), _)
                    if matches!(kind, 'd' | 'i' | 'u') && number.abs() < 1e38 =>
                {
                    *number as i128
                }
                _ => {
                    return Err(Fault::new(format!(
                        "%{kind} format: a number is required, not {kind_of}"
                    )));
                }
            };
            let size = number.unsigned_abs();
            let (mark, digits) = match kind {
                'x' => ("0x", format!("{size:x}")),
                'X' => ("0X", format!("{size:X}")),
                'o' => ("0o", format!("{size:o}")),
                _ => ("", size.to_string()),
            };
            let zeros = "0".repeat(precision.unwrap_or(0).saturating_sub(digits.len()));
            let mark = if flags.is_alternate { mark } else { "" };
            Ok((sign(number < 0) + mark, zeros + &digits))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = value.as_number();
            let number =
                number.ok_or_else(|| Fault::new(format!("must be real number, not {kind_of}")))?;
            let (size, precision) = (number.abs(), precision.unwrap_or(6));
            let digits = match kind {
                'e' | 'E' => spec::exponent(size, precision, flags.is_alternate),
                'f' | 'F' => spec::fixed(size, precision, flags.is_alternate),
                _ => spec::general(size, precision, flags.is_alternate),
            };
            let digits = if kind.is_uppercase() {
                digits.to_uppercase()
            } else {
                digits
            };
            Ok((sign(number.is_sign_negative() && !number.is_nan()), digits))
        }
        _ => Err(Fault::new(format!("unsupported format character '{kind}'"))),
    }
}

/// A text with all that is not ASCII as escapes.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            escape(&mut out, c);
        }
    }
    out
}
