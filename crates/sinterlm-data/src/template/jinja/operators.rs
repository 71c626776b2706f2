//! Python's arithmetic.

use super::ast::BinaryOp;
use super::fault::Fault;
use super::machine::Budget;
use super::percent;
use super::value::Value;

/// Whole numbers up to here are exact as floats.
const EXACT: i128 = 1 << 53;

/// `left op right`.
pub(super) fn binary(
    op: BinaryOp,
    left: &Value,
    right: &Value,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    for side in [left, right] {
        // The text on the left of `%` takes a missing value as an empty text.
        let prints = op == BinaryOp::Mod && left.as_str().is_some();
        if let (Value::Undefined(says), false) = (side, prints) {
            return Err(Fault::new(&**says));
        }
    }
    if let (BinaryOp::Mod, Value::Str(text)) = (op, left) {
        return percent::format(text, right, budget).map(Value::str);
    }
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        return whole(op, a, b);
    }
    if let (Some(a), Some(b)) = (left.as_number(), right.as_number()) {
        return float(op, a, b).map(Value::Float);
    }
    match (op, left, right) {
        (BinaryOp::Add, Value::Str(a), Value::Str(b)) => {
            budget.spend(a.len() + b.len())?;
            Ok(Value::str([&**a, &**b].concat()))
        }
        (BinaryOp::Add, Value::Str(_) | Value::Markup(_), Value::Str(_) | Value::Markup(_)) => {
            let escaped = |value: &Value| match value {
                Value::Str(text) => escape_html(text),
                other => other.as_str().unwrap_or_default().to_owned(),
            };
            let text = escaped(left) + &escaped(right);
            budget.spend(text.len())?;
            Ok(Value::Markup(text.into()))
        }
        (BinaryOp::Add, Value::List(a), Value::List(b)) => {
            budget.spend(8 * (a.items.len() + b.items.len()))?;
            Value::list([&a.items[..], &b.items].concat())
        }
        (BinaryOp::Add, Value::Tuple(a), Value::Tuple(b)) => {
            budget.spend(8 * (a.items.len() + b.items.len()))?;
            Value::tuple([&a.items[..], &b.items].concat())
        }
        (BinaryOp::Mul, value, times) | (BinaryOp::Mul, times, value)
            if times.as_int().is_some() =>
        {
            let times = times.as_int().unwrap_or(0).max(0);
            repeat(value, times, budget)?.ok_or_else(|| unsupported(op, left, right))
        }
        _ => Err(unsupported(op, left, right)),
    }
}

fn unsupported(op: BinaryOp, left: &Value, right: &Value) -> Fault {
    let (sign, left, right) = (op.sign(), left.type_name(), right.type_name());
    Fault::new(format!(
        "unsupported operand type(s) for {sign}: '{left}' and '{right}'"
    ))
}

/// A text, list or tuple several times; none for what cannot be repeated.
fn repeat(value: &Value, times: i128, budget: &mut Budget) -> Result<Option<Value>, Fault> {
    let len = match value {
        Value::Str(text) | Value::Markup(text) => text.len(),
        Value::List(list) | Value::Tuple(list) => 8 * list.items.len(),
        _ => return Ok(None),
    };
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    budget.spend(len.saturating_mul(times))?;
    let again = |items: &[Value]| {
        std::iter::repeat_n(items, times)
            .flatten()
            .cloned()
            .collect()
    };
    Ok(Some(match value {
        _ if len == 0 => value.clone(),
        Value::Str(text) => Value::str(text.repeat(times)),
        Value::Markup(text) => Value::Markup(text.repeat(times).into()),
        Value::List(list) => Value::list(again(&list.items))?,
        Value::Tuple(list) => Value::tuple(again(&list.items))?,
        _ => unreachable!("matched above"),
    }))
}

fn whole(op: BinaryOp, a: i128, b: i128) -> Result<Value, Fault> {
    let zero = |what: &str| Err(Fault::new(format!("{what} by zero")));
    let found = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Div if b == 0 => return zero("division"),
        BinaryOp::Div => {
            if a.abs() > EXACT || b.abs() > EXACT {
                return Err(Fault::new(
                    "division of numbers above 2**53 is not supported",
                ));
            }
            return Ok(Value::Float(a as f64 / b as f64));
        }
        BinaryOp::FloorDiv | BinaryOp::Mod if b == 0 => {
            return zero("integer division or modulo");
        }
        BinaryOp::FloorDiv => floor_div(a, b),
        BinaryOp::Mod => a.checked_rem(b).map(|rest| {
            if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            }
        }),
        BinaryOp::Pow if b < 0 => return float(op, a as f64, b as f64).map(Value::Float),
        BinaryOp::Pow => match (a, u32::try_from(b)) {
            (0 | 1, _) if b > 0 => Some(a),
            (-1, _) => Some(if b % 2 == 0 { 1 } else { -1 }),
            (_, Ok(exponent)) => a.checked_pow(exponent),
            (_, Err(_)) => None,
        },
    };
    let overflow = too_long;
    found.map(Value::Int).ok_or_else(overflow)
}

fn floor_div(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let is_low = a % b != 0 && (a < 0) != (b < 0);
    Some(quotient - i128::from(is_low))
}

fn float(op: BinaryOp, a: f64, b: f64) -> Result<f64, Fault> {
    Ok(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod if b == 0.0 => {
            return Err(Fault::new("float division by zero"));
        }
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv => divmod(a, b).0,
        BinaryOp::Mod => divmod(a, b).1,
        BinaryOp::Pow => {
            if a == 0.0 && b < 0.0 {
                return Err(Fault::new("0.0 cannot be raised to a negative power"));
            }
            if a < 0.0 && a.is_finite() && b.is_finite() && b.fract() != 0.0 {
                return Err(Fault::new("complex numbers are not supported"));
            }
            let power = a.powf(b);
            if power.is_infinite() && a.is_finite() && b.is_finite() {
                return Err(Fault::new("numerical result out of range"));
            }
            power
        }
    })
}

/// Python's `divmod` of floats.
fn divmod(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(a / b), rest);
    }
    let floor = quotient.floor();
    (
        if quotient - floor > 0.5 {
            floor + 1.0
        } else {
            floor
        },
        rest,
    )
}

/// The fault of a whole number that Python could hold and this reader cannot.
pub(super) fn too_long() -> Fault {
    Fault::new("whole numbers of more than 127 bits are not supported")
}

/// `-value`, or `+value`.
pub(super) fn sign(value: &Value, negative: bool) -> Result<Value, Fault> {
    if let Value::Undefined(says) = value {
        return Err(Fault::new(&**says));
    }
    match (value.as_int(), value) {
        (Some(i), _) if negative => i.checked_neg().map(Value::Int).ok_or_else(too_long),
        (Some(i), _) => Ok(Value::Int(i)),
        (None, Value::Float(f)) => Ok(Value::Float(if negative { -f } else { *f })),
        _ => Err(Fault::new(format!(
            "bad operand type for unary {}: '{}'",
            if negative { '-' } else { '+' },
            value.type_name()
        ))),
    }
}

/// Text for HTML, by `markupsafe.escape`.
pub(super) fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '>' => out.push_str("&gt;"),
            '<' => out.push_str("&lt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}
