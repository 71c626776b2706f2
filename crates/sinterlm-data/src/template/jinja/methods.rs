//! Attributes and methods of values, as Python has them. Those of strings are in `strings`.

use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Args;
use super::fault::Fault;
use super::functions::dict_of;
use super::machine::Machine;
use super::value::{Dict, Function, Value, View};
use super::{loops, strings};

const DICT_METHODS: [&str; 6] = ["get", "items", "keys", "values", "copy", "fromkeys"];
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST_METHODS: [&str; 3] = ["count", "index", "copy"];
const LIST_CHANGES: [&str; 8] = [
    "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
];

/// What Python's `getattr` finds, none where a value has no such attribute.
///
/// # Errors
/// For an attribute that Python has and that is not supported here.
pub(super) fn attribute(object: &Value, name: &Arc<str>) -> Result<Option<Value>, Fault> {
    if name.starts_with('_') {
        return Ok(None);
    }
    let own: &str = name;
    let is_method = match object {
        Value::Str(_) | Value::Markup(_) => strings::METHODS.contains(&own),
        Value::Dict(_) => DICT_METHODS.contains(&own),
        Value::List(_) => LIST_METHODS.contains(&own),
        Value::Tuple(_) => matches!(own, "count" | "index"),
        Value::Int(_) | Value::Bool(_) => matches!(own, "bit_length" | "conjugate"),
        Value::Float(_) => matches!(own, "is_integer" | "conjugate"),
        Value::Cycler(_) => matches!(own, "next" | "reset"),
        Value::Function(Function::Dict) => own == "fromkeys",
        _ => false,
    };
    if is_method {
        return Ok(Some(Value::Method(Rc::new((object.clone(), name.clone())))));
    }
    let is_change = match object {
        Value::Dict(_) => DICT_CHANGES.contains(&own),
        Value::List(_) => LIST_CHANGES.contains(&own),
        _ => false,
    };
    let kind = object.type_name();
    if is_change {
        // The sandbox of templates hides what changes a value.
        return Ok(Some(Value::undefined(format!(
            "access to attribute '{name}' of '{kind}' object is unsafe"
        ))));
    }
    let found = match (object, own) {
        (Value::Int(_) | Value::Bool(_), "real" | "numerator") => object.as_int().map(Value::Int),
        (Value::Int(_) | Value::Bool(_), "imag") => Some(Value::Int(0)),
        (Value::Int(_) | Value::Bool(_), "denominator") => Some(Value::Int(1)),
        (Value::Float(value), "real") => Some(Value::Float(*value)),
        (Value::Float(_), "imag") => Some(Value::Float(0.0)),
        (Value::Range(range), "start") => Some(Value::Int(range.start)),
        (Value::Range(range), "stop") => Some(Value::Int(range.stop)),
        (Value::Range(range), "step") => Some(Value::Int(range.step)),
        (Value::Tuple(list), "grouper") if list.is_group => Some(list.items[0].clone()),
        (Value::Tuple(list), "list") if list.is_group => Some(list.items[1].clone()),
        (Value::Macro(own), "name") => Some(own.node.name.clone().map_or(Value::None, Value::Str)),
        (Value::Macro(own), "arguments") => {
            let names = own
                .node
                .params
                .iter()
                .map(|(name, _)| Value::Str(name.clone()));
            Some(Value::tuple(names.collect())?)
        }
        (Value::Macro(own), "caller") => Some(Value::Bool(own.node.reads_caller)),
        (Value::Macro(own), "catch_kwargs") => Some(Value::Bool(own.node.reads_kwargs)),
        (Value::Macro(own), "catch_varargs") => Some(Value::Bool(own.node.reads_varargs)),
        (Value::Cycler(cycler), "current") => Some(cycler.current()),
        (Value::Cycler(cycler), "items") => Some(Value::tuple(cycler.items.clone())?),
        (Value::Cycler(cycler), "pos") => Some(Value::Int(cycler.at.get() as i128)),
        (Value::Joiner(joiner), "sep") => Some(joiner.separator.clone()),
        (Value::Joiner(joiner), "used") => Some(Value::Bool(joiner.is_used.get())),
        _ => None,
    };
    let is_pythons = match object {
        Value::Str(_) => matches!(own, "encode" | "translate" | "maketrans"),
        Value::Markup(_) => matches!(
            own,
            "encode" | "translate" | "maketrans" | "escape" | "unescape" | "striptags"
        ),
        Value::Int(_) | Value::Bool(_) => {
            matches!(
                own,
                "to_bytes" | "from_bytes" | "bit_count" | "as_integer_ratio"
            )
        }
        Value::Float(_) => matches!(own, "hex" | "fromhex" | "as_integer_ratio"),
        Value::Range(_) => matches!(own, "count" | "index"),
        Value::View(..) => matches!(own, "isdisjoint" | "mapping"),
        Value::Iter(_) => matches!(own, "close" | "send" | "throw"),
        Value::Macro(_) => own == "explicit_caller",
        _ => false,
    };
    if is_pythons && found.is_none() {
        return Err(Fault::new(format!(
            "the attribute '{name}' of {kind} is not supported"
        )));
    }
    Ok(found)
}

impl Machine {
    pub(super) fn call_method(
        &mut self,
        object: &Value,
        name: &str,
        args: Args,
    ) -> Result<Value, Fault> {
        match object {
            Value::Str(text) => strings::call(self, text, name, args),
            Value::Markup(text) => strings::call_markup(self, text, name, args),
            Value::Dict(dict) => dict_method(dict, name, args),
            Value::List(list) | Value::Tuple(list) => {
                self.budget.spend(8 * list.items.len())?;
                list_method(object, &list.items, name, args)
            }
            Value::Loop(state) => loops::call(state, name, args),
            Value::Function(_) => from_keys(args),
            Value::Cycler(cycler) => {
                args.unnamed(name, 0, 0)?;
                if name == "next" {
                    return Ok(cycler.next());
                }
                cycler.at.set(0);
                Ok(Value::None)
            }
            Value::Float(value) => {
                args.unnamed(name, 0, 0)?;
                Ok(match name {
                    "is_integer" => Value::Bool(value.is_finite() && value.fract() == 0.0),
                    _ => Value::Float(*value),
                })
            }
            other => {
                args.unnamed(name, 0, 0)?;
                let value = other.as_int().unwrap_or_default();
                Ok(Value::Int(match name {
                    "bit_length" => i128::from(128 - value.unsigned_abs().leading_zeros()),
                    _ => value,
                }))
            }
        }
    }
}

fn dict_method(dict: &Rc<Dict>, name: &str, args: Args) -> Result<Value, Fault> {
    match name {
        "get" => {
            let mut args = args.unnamed(name, 1, 2)?;
            let default = if args.len() == 2 {
                args.remove(1)
            } else {
                Value::None
            };
            Ok(dict.get(&args[0])?.cloned().unwrap_or(default))
        }
        "fromkeys" => from_keys(args),
        _ => {
            args.unnamed(name, 0, 0)?;
            Ok(match name {
                "items" => Value::View(dict.clone(), View::Items),
                "keys" => Value::View(dict.clone(), View::Keys),
                "values" => Value::View(dict.clone(), View::Values),
                _ => Value::dict((**dict).clone()),
            })
        }
    }
}

fn from_keys(args: Args) -> Result<Value, Fault> {
    let mut args = args.unnamed("fromkeys", 1, 2)?;
    let value = if args.len() == 2 {
        args.remove(1)
    } else {
        Value::None
    };
    let pairs = args[0].items()?.into_iter();
    let pairs = pairs.map(|key| Value::tuple(vec![key, value.clone()]));
    let pairs = Value::list(pairs.collect::<Result<_, _>>()?)?;
    dict_of(Args::new(vec![pairs])).map(Value::dict)
}

fn list_method(object: &Value, items: &[Value], name: &str, args: Args) -> Result<Value, Fault> {
    match name {
        "count" => {
            let args = args.unnamed(name, 1, 1)?;
            let count = items.iter().filter(|own| own.equals(&args[0])).count();
            Ok(Value::Int(count as i128))
        }
        "index" => {
            let args = args.unnamed(name, 1, 3)?;
            let (start, stop) = strings::bounds(name, &args[1..], items.len())?;
            let range = items.get(start..stop.max(start)).unwrap_or_default();
            let at = range.iter().position(|own| own.equals(&args[0]));
            let at = at.ok_or_else(|| Fault::new("the value is not in the list"))?;
            Ok(Value::Int((start + at) as i128))
        }
        _ => {
            args.unnamed(name, 0, 0)?;
            match object {
                Value::List(_) => Value::list(items.to_vec()),
                other => Ok(other.clone()),
            }
        }
    }
}
