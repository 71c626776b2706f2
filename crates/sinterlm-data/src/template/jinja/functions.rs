//! Functions that every template can call, and the objects that they make.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::{Args, want_int};
use super::fault::Fault;
use super::machine::{Machine, set_attribute};
use super::print::text;
use super::value::{Cycler, Dict, Function, Joiner, Range, Value};
use crate::template::date;

/// Items that a range may have, as in Jinja's sandbox.
const MAX_RANGE: i128 = 100_000;
/// Bounds of ranges, far from overflow.
const MAX_BOUND: i128 = 1 << 100;

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "range" => Self::Range,
            "dict" => Self::Dict,
            "namespace" => Self::Namespace,
            "cycler" => Self::Cycler,
            "joiner" => Self::Joiner,
            "lipsum" => Self::Lipsum,
            "raise_exception" => Self::RaiseException,
            "strftime_now" => Self::StrftimeNow,
            _ => return None,
        })
    }
}

impl Machine {
    pub(super) fn call_function(&mut self, function: Function, args: Args) -> Result<Value, Fault> {
        match function {
            Function::Range => range(args),
            Function::Dict => dict_of(args).map(Value::dict),
            Function::Namespace => {
                let space = self.new_namespace();
                for (name, value) in dict_of(args)?.entries() {
                    let name: Arc<str> = name.as_str().unwrap_or_default().into();
                    set_attribute(&space, &name, value.clone())?;
                }
                Ok(Value::Namespace(space))
            }
            Function::Cycler => {
                let items = args.unnamed("cycler", 1, usize::MAX)?;
                let at = Cell::new(0);
                Ok(Value::Cycler(Rc::new(Cycler { items, at })))
            }
            Function::Joiner => {
                let mut args = args.bind("joiner", &["sep"], 0)?;
                let separator = args.take(0).unwrap_or_else(|| Value::str(", "));
                let is_used = Cell::new(false);
                Ok(Value::Joiner(Rc::new(Joiner { separator, is_used })))
            }
            Function::Lipsum => Err(Fault::new("lipsum() is random, which is not supported")),
            Function::RaiseException => {
                let mut args = args.bind("raise_exception", &["message"], 1)?;
                Err(Fault::new(text(&args.required(0))?))
            }
            Function::StrftimeNow => {
                let args = args.bind("strftime_now", &["format"], 1)?;
                let format = args.text(0, "")?;
                let seconds = self.unix_seconds.unwrap_or_default();
                date::format(seconds, &format)
                    .map(Value::str)
                    .map_err(Fault::new)
            }
        }
    }
}

fn range(args: Args) -> Result<Value, Fault> {
    let given = args.unnamed("range", 1, 3)?;
    let mut bounds = Vec::with_capacity(3);
    for value in &given {
        let bound = want_int("range", value)?;
        if bound.abs() > MAX_BOUND {
            return Err(Fault::new("range: numbers above 2**100 are not supported"));
        }
        bounds.push(bound);
    }
    let (start, stop, step) = match bounds[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return Err(Fault::new("range takes 1 to 3 arguments")),
    };
    if step == 0 {
        return Err(Fault::new("range() arg 3 must not be zero"));
    }
    let range = Range { start, stop, step };
    if range.len() > MAX_RANGE {
        return Err(Fault::new(format!(
            "range too big: it may have {MAX_RANGE} items"
        )));
    }
    Ok(Value::Range(range))
}

/// `dict(pairs, name=value)`
pub(super) fn dict_of(args: Args) -> Result<Dict, Fault> {
    let Args { positional, named } = args;
    let mut dict = Dict::default();
    if positional.len() > 1 {
        return Err(Fault::new("dict expected at most 1 argument"));
    }
    match positional.into_iter().next() {
        None => {}
        Some(Value::Undefined(says)) => return Err(Fault::new(&*says)),
        Some(Value::Dict(other)) => dict = (*other).clone(),
        Some(pairs) => {
            for pair in pairs.items()? {
                let mut parts = pair.items()?;
                let (Some(value), Some(key), true) = (parts.pop(), parts.pop(), parts.is_empty())
                else {
                    return Err(Fault::new("dict: each element must have two parts"));
                };
                dict.insert(key, value)?;
            }
        }
    }
    for (name, value) in named {
        dict.insert(Value::Str(name), value)?;
    }
    Ok(dict)
}
