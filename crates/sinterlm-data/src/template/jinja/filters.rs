//! The filters of Jinja, and `tojson` as `transformers` has it. Those of sequences are in
//! `sequences`, those of texts in `texts`, those of numbers in `numbers`.

use super::arguments::Args;
use super::ast::BinaryOp;
use super::fault::Fault;
use super::machine::Machine;
use super::methods;
use super::operators::{self, escape_html, too_long};
use super::print::text;
use super::value::{Value, View};
use super::{json, numbers, percent, texts};

/// All filters that Jinja has; those that are not supported say so.
pub(super) const FILTERS: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

impl Machine {
    #[inline(never)]
    pub(super) fn call_filter(
        &mut self,
        name: &str,
        value: Value,
        args: Args,
    ) -> Result<Value, Fault> {
        self.step()?;
        match name {
            "default" | "d" => {
                let mut args = args.bind(name, &["default_value", "boolean"], 0)?;
                let is_missing = value.is_undefined() || args.flag(1, false) && !value.is_true();
                let default = args.take(0).unwrap_or_else(|| Value::str(""));
                Ok(if is_missing { default } else { value })
            }
            "length" | "count" => {
                args.unnamed(name, 0, 0)?;
                let len = value.len().ok_or_else(|| {
                    Fault::new(format!(
                        "object of type '{}' has no len()",
                        value.type_name()
                    ))
                })?;
                Ok(Value::Int(len as i128))
            }
            "string" => {
                args.unnamed(name, 0, 0)?;
                if value.as_str().is_some() {
                    Ok(value)
                } else {
                    text(&value).map(Value::str)
                }
            }
            "safe" => {
                args.unnamed(name, 0, 0)?;
                Ok(Value::Markup(text(&value)?.into()))
            }
            "e" | "escape" | "forceescape" => {
                args.unnamed(name, 0, 0)?;
                if matches!(value, Value::Markup(_)) && name != "forceescape" {
                    return Ok(value);
                }
                Ok(Value::Markup(escape_html(&text(&value)?).into()))
            }
            "tojson" => {
                let params = ["ensure_ascii", "indent", "separators", "sort_keys"];
                let options = json::Options::new(args.bind(name, &params, 0)?)?;
                let written = json::dumps(&value, &options, &mut self.budget)?;
                Ok(Value::str(written))
            }
            "abs" => {
                args.unnamed(name, 0, 0)?;
                match (&value, value.as_int()) {
                    (_, Some(whole)) => whole.checked_abs().map(Value::Int).ok_or_else(too_long),
                    (Value::Float(float), _) => Ok(Value::Float(float.abs())),
                    _ => Err(Fault::new(format!(
                        "bad operand type for abs(): '{}'",
                        value.type_name()
                    ))),
                }
            }
            "attr" => {
                let args = args.bind(name, &["name"], 1)?;
                let own = args.text(0, "")?;
                let found = match &value {
                    Value::Undefined(says) => return Err(Fault::new(&**says)),
                    Value::Namespace(_) | Value::Loop(_) => Some(self.attribute(&value, &own)?),
                    other => methods::attribute(other, &own)?,
                };
                let kind = value.type_name();
                let missing = || format!("'{kind} object' has no attribute '{own}'");
                Ok(found.unwrap_or_else(|| Value::undefined(missing())))
            }
            "format" => {
                if !args.positional.is_empty() && !args.named.is_empty() {
                    return Err(Fault::new(
                        "can't handle positional and keyword arguments at the same time",
                    ));
                }
                let given = if args.named.is_empty() {
                    Value::tuple(args.positional)?
                } else {
                    Value::dict(super::functions::dict_of(args)?)
                };
                percent::format(&text(&value)?, &given, &mut self.budget).map(Value::str)
            }
            "items" => {
                args.unnamed(name, 0, 0)?;
                let items = match &value {
                    Value::Undefined(_) => Vec::new(),
                    Value::Dict(dict) => Value::View(dict.clone(), View::Items).items()?,
                    _ => return Err(Fault::new("can only get item pairs from a mapping")),
                };
                Value::iter("generator", items)
            }
            "int" | "float" | "round" | "filesizeformat" => numbers::filter(name, value, args),
            "pprint" | "random" | "striptags" | "urlize" | "wordwrap" => {
                Err(Fault::new(format!("the filter '{name}' is not supported")))
            }
            "capitalize" | "center" | "indent" | "lower" | "replace" | "title" | "trim"
            | "truncate" | "upper" | "urlencode" | "wordcount" | "xmlattr" => {
                texts::filter(self, name, &value, args)
            }
            _ => self.sequence_filter(name, value, args),
        }
    }
}

/// The sum of values from a first one on.
pub(super) fn sum(machine: &mut Machine, items: Vec<Value>, start: Value) -> Result<Value, Fault> {
    if start.as_str().is_some() {
        return Err(Fault::new(
            "sum() can't sum strings [use ''.join(seq) instead]",
        ));
    }
    let mut total = start;
    for item in items {
        total = operators::binary(BinaryOp::Add, &total, &item, &mut machine.budget)?;
    }
    Ok(total)
}
