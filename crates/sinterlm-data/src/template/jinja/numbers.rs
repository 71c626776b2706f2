//! Filters that make numbers, and how Python reads them.

use super::arguments::{Args, want_int};
use super::characters::is_space;
use super::fault::Fault;
use super::operators::too_long;
use super::value::Value;

pub(super) fn filter(name: &str, value: Value, args: Args) -> Result<Value, Fault> {
    match name {
        "int" => {
            let mut args = args.bind(name, &["default", "base"], 0)?;
            let (base, default) = (args.int(1, 10)?, args.take(0).unwrap_or(Value::Int(0)));
            whole(&value, default, base)
        }
        "float" => {
            let mut args = args.bind(name, &["default"], 0)?;
            let default = args.take(0).unwrap_or(Value::Float(0.0));
            if let Value::Undefined(says) = &value {
                return Err(Fault::new(&**says));
            }
            Ok(to_float(&value).map_or(default, Value::Float))
        }
        "round" => {
            let args = args.bind(name, &["precision", "method"], 0)?;
            let (precision, method) = (args.int(0, 0)?, args.text(1, "common")?);
            round(&value, precision, &method)
        }
        _ => {
            let args = args.bind(name, &["binary"], 0)?;
            file_size(&value, args.flag(0, false))
        }
    }
}

fn whole(value: &Value, default: Value, base: i128) -> Result<Value, Fault> {
    if let Value::Undefined(says) = value {
        return Err(Fault::new(&**says));
    }
    if let Some(text) = value.as_str() {
        if let Some(number) = parse_int(text, base)? {
            return Ok(Value::Int(number));
        }
    } else if let Some(number) = value.as_int() {
        return Ok(Value::Int(number));
    }
    let Some(number) = to_float(value) else {
        return Ok(default);
    };
    if number.is_finite() && number.abs() < 1e38 {
        return Ok(Value::Int(number as i128));
    }
    if number.is_finite() {
        return Err(too_long());
    }
    if matches!(value, Value::Float(_)) && number.is_infinite() {
        return Err(Fault::new("cannot convert float infinity to integer"));
    }
    Ok(default)
}

/// Python's `int(text, base)`, none where the text is no number.
fn parse_int(text: &str, base: i128) -> Result<Option<i128>, Fault> {
    if base != 0 && !(2..=36).contains(&base) {
        return Ok(None);
    }
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let mut radix = base as u32;
    let mut digits = digits;
    let lower = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    for (mark, own) in [("0b", 2), ("0o", 8), ("0x", 16)] {
        if lower == mark && (radix == own || radix == 0) {
            radix = own;
            digits = &digits[2..];
            digits = digits.strip_prefix('_').unwrap_or(digits);
            break;
        }
    }
    if radix == 0 {
        radix = 10;
        if digits.starts_with('0') && digits.bytes().any(|b| !matches!(b, b'0' | b'_')) {
            return Ok(None);
        }
    }
    if digits.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
        return Err(Fault::new("numerals outside of ASCII are not supported"));
    }
    let Some(plain) = without_underscores(digits) else {
        return Ok(None);
    };
    if plain.is_empty() || !plain.chars().all(|c| c.is_digit(radix)) {
        return Ok(None);
    }
    let number = i128::from_str_radix(&plain, radix);
    let number = number.map_err(|_| too_long())?;
    Ok(Some(if negative { -number } else { number }))
}

/// Digits without underscores, which stand alone and between digits.
fn without_underscores(digits: &str) -> Option<String> {
    let ok = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    ok.then(|| digits.replace('_', ""))
}

/// Python's `float(value)`, none where it raises.
fn to_float(value: &Value) -> Option<f64> {
    let Some(text) = value.as_str() else {
        return value.as_number();
    };
    let text = text.trim_matches(is_space);
    let bytes = text.as_bytes();
    let between = |at: usize| {
        let digit = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at))
                .is_some_and(u8::is_ascii_digit)
        };
        digit(at.checked_sub(1)) && digit(at.checked_add(1))
    };
    if text.match_indices('_').any(|(at, _)| !between(at)) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn round(value: &Value, precision: i128, method: &str) -> Result<Value, Fault> {
    if !matches!(method, "common" | "ceil" | "floor") {
        return Err(Fault::new("method must be common, ceil or floor"));
    }
    if let Value::Undefined(says) = value {
        return Err(Fault::new(&**says));
    }
    if value.as_number().is_none() {
        let kind = value.type_name();
        return Err(Fault::new(format!(
            "type {kind} doesn't define __round__ method"
        )));
    }
    if method == "common" {
        return match (value.as_int(), value) {
            (Some(number), _) if precision >= 0 => Ok(Value::Int(number)),
            (Some(number), _) => round_whole(number, precision, false).map(Value::Int),
            (None, Value::Float(number)) => round_float(*number, precision).map(Value::Float),
            _ => Err(Fault::new("only numbers can be rounded")),
        };
    }
    if !(0..=15).contains(&precision) {
        return Err(Fault::new(format!(
            "round: method '{method}' with precision {precision} is not supported"
        )));
    }
    let power = 10_f64.powi(precision as i32);
    let scaled = value.as_number().unwrap_or_default() * power;
    let whole = if method == "ceil" {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    if !whole.is_finite() || whole.abs() > 9e15 {
        return Err(Fault::new("round: the number is too large"));
    }
    // Python divides whole numbers here, which have no negative zero.
    Ok(Value::Float((whole + 0.0) / power))
}

/// Rounds to a power of ten, halves to even; `has_more` tells of a fraction behind the number.
fn round_whole(number: i128, precision: i128, has_more: bool) -> Result<i128, Fault> {
    let digits = u32::try_from(-precision).unwrap_or(u32::MAX);
    let Some(unit) = 10_i128.checked_pow(digits) else {
        return Ok(0);
    };
    let (low, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
    let up = match (rest * 2).cmp(&unit) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => has_more || low % 2 != 0,
        std::cmp::Ordering::Less => false,
    };
    let rounded = (low + i128::from(up)).checked_mul(unit);
    rounded.ok_or_else(|| Fault::new("round: the number is too large"))
}

/// Python's `round(float, precision)`: the exact value is rounded, halves to even.
pub(super) fn round_float(number: f64, precision: i128) -> Result<f64, Fault> {
    if !number.is_finite() || precision > 330 {
        return Ok(number);
    }
    if precision >= 0 {
        let text = format!("{number:.*}", precision as usize);
        return Ok(text.parse().unwrap_or(number));
    }
    if number.abs() > 1e30 {
        return Err(Fault::new(
            "round: a negative precision of a large number is not supported",
        ));
    }
    let (sign, size) = (number.is_sign_negative(), number.abs());
    let rounded = round_whole(size.trunc() as i128, precision, size.fract() != 0.0)? as f64;
    Ok(if sign { -rounded } else { rounded })
}

#[allow(clippy::float_cmp, reason = "Python compares floats exactly")]
fn file_size(value: &Value, binary: bool) -> Result<Value, Fault> {
    let bytes = to_float(value).ok_or_else(|| {
        Fault::new(format!(
            "filesizeformat: could not convert {} to float",
            value.type_name()
        ))
    })?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok(Value::str("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::str(format!(
            "{} Bytes",
            want_int("", &Value::Int(bytes as i128))?
        )));
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut shown = String::new();
    for (at, prefix) in prefixes.iter().enumerate() {
        let unit = base.powi(at as i32 + 2);
        let prefix = if binary {
            prefix.to_uppercase() + "i"
        } else {
            (*prefix).to_owned()
        };
        shown = format!("{:.1} {prefix}B", base * bytes / unit);
        if bytes < unit {
            break;
        }
    }
    Ok(Value::str(shown))
}
