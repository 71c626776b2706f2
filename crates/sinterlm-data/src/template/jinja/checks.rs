//! The tests of Jinja, as in `value is string`.

use super::arguments::Args;
use super::ast::BinaryOp;
use super::fault::Fault;
use super::filters::FILTERS;
use super::machine::Machine;
use super::operators;
use super::print::text;
use super::strings;
use super::value::{Value, View};

pub(super) const TESTS: [&str; 39] = [
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    "ge",
    ">=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
];

/// Whole numbers from here to there are one object each in Python.
const SMALL: std::ops::RangeInclusive<i128> = -5..=256;

impl Machine {
    #[inline(never)]
    pub(super) fn call_test(
        &mut self,
        name: &str,
        value: &Value,
        args: Args,
    ) -> Result<bool, Fault> {
        self.step()?;
        let params: &[&'static str] = match name {
            "divisibleby" => &["num"],
            "sameas" => &["other"],
            "in" => &["seq"],
            "==" | "eq" | "equalto" | "!=" | "ne" | ">" | "gt" | "greaterthan" | "ge" | ">="
            | "<" | "lt" | "lessthan" | "<=" | "le" => &["b"],
            _ => &[],
        };
        let mut args = args.bind(name, params, params.len())?;
        let other = if params.is_empty() {
            Value::None
        } else {
            args.required(0)
        };
        if let Some(holds) = compares(name, value, &other)? {
            return Ok(holds);
        }
        let mut rest = |divisor: i128| {
            let divisor = Value::Int(divisor);
            operators::binary(BinaryOp::Mod, value, &divisor, &mut self.budget)
        };
        Ok(match name {
            "odd" => rest(2)?.equals(&Value::Int(1)),
            "even" => rest(2)?.equals(&Value::Int(0)),
            "divisibleby" => operators::binary(BinaryOp::Mod, value, &other, &mut self.budget)?
                .equals(&Value::Int(0)),
            "in" => other.contains(value)?,
            "sameas" => same(value, &other)?,
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "filter" | "test" => {
                let known: &[&str] = if name == "filter" { &FILTERS } else { &TESTS };
                value.as_str().is_some_and(|own| known.contains(&own))
            }
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "false" => matches!(value, Value::Bool(false)),
            "true" => matches!(value, Value::Bool(true)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => value.as_number().is_some(),
            "string" => value.as_str().is_some(),
            "mapping" => matches!(value, Value::Dict(_)),
            "escaped" => matches!(value, Value::Markup(_)),
            "iterable" => value.is_iterable(),
            "sequence" => value.len().is_some() && !matches!(value, Value::View(..)),
            "callable" => matches!(
                value,
                Value::Macro(_)
                    | Value::Function(_)
                    | Value::Method(_)
                    | Value::Joiner(_)
                    | Value::Loop(_)
                    | Value::Undefined(_)
            ),
            "lower" | "upper" => {
                let method = if name == "lower" {
                    "islower"
                } else {
                    "isupper"
                };
                strings::call(self, &text(value)?, method, Args::default())?.is_true()
            }
            _ => return Err(Fault::new(format!("no test named '{name}'"))),
        })
    }
}

fn compares(name: &str, value: &Value, other: &Value) -> Result<Option<bool>, Fault> {
    use std::cmp::Ordering;
    Ok(Some(match name {
        "==" | "eq" | "equalto" => value.equals(other),
        "!=" | "ne" => !value.equals(other),
        ">" | "gt" | "greaterthan" => value.compare(other, ">")?.is_some_and(Ordering::is_gt),
        ">=" | "ge" => value.compare(other, ">=")?.is_some_and(Ordering::is_ge),
        "<" | "lt" | "lessthan" => value.compare(other, "<")?.is_some_and(Ordering::is_lt),
        "<=" | "le" => value.compare(other, "<=")?.is_some_and(Ordering::is_le),
        _ => return Ok(None),
    }))
}

/// Python's `is`.
///
/// # Errors
/// For values of which Python makes one object or two as it likes.
#[allow(clippy::float_cmp, reason = "Python compares floats exactly")]
fn same(value: &Value, other: &Value) -> Result<bool, Fault> {
    match (value, other) {
        (Value::None, Value::None) => Ok(true),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) if a != b => Ok(false),
        (Value::Int(a), Value::Int(_)) if SMALL.contains(a) => Ok(true),
        (Value::Str(a), Value::Str(b)) if a != b => Ok(false),
        (Value::Float(a), Value::Float(b)) if a != b => Ok(false),
        (Value::Int(_), Value::Int(_))
        | (Value::Str(_), Value::Str(_))
        | (Value::Float(_), Value::Float(_))
        | (Value::Markup(_), Value::Markup(_))
        | (Value::Undefined(_), Value::Undefined(_))
        | (Value::View(..), Value::View(_, View::Keys | View::Values | View::Items))
        | (Value::Range(_), Value::Range(_))
        | (Value::Method(_), Value::Method(_)) => Err(Fault::new(format!(
            "'sameas' of two equal values of type {} is not supported; use ==",
            value.type_name()
        ))),
        _ => Ok(value.is_same_object(other)),
    }
}
