//! The filter `tojson` as `transformers` defines it: Python's `json.dumps` without escapes for HTML.

use std::fmt::Write;

use super::arguments::Bound;
use super::fault::Fault;
use super::machine::Budget;
use super::print;
use super::value::{Dict, Value};

/// How JSON is written.
pub(super) struct Options {
    ensure_ascii: bool,
    indent: Option<String>,
    between_items: String,
    behind_keys: String,
    sort_keys: bool,
}

impl Options {
    /// From the arguments `ensure_ascii`, `indent`, `separators` and `sort_keys`.
    pub(super) fn new(mut args: Bound) -> Result<Self, Fault> {
        let indent = match args.take(1) {
            None | Some(Value::None) => None,
            Some(Value::Str(text)) => Some(text.to_string()),
            Some(width) => {
                let width = super::arguments::want_int("tojson", &width)?;
                if width > 1000 {
                    return Err(Fault::new("tojson: an indent above 1000 is not supported"));
                }
                Some(" ".repeat(usize::try_from(width).unwrap_or(0)))
            }
        };
        let (mut between_items, mut behind_keys) = (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        );
        if let Some(pair) = args.take(2).filter(|pair| !matches!(pair, Value::None)) {
            let parts = pair.items()?;
            let [Value::Str(item), Value::Str(key)] = &parts[..] else {
                return Err(Fault::new("tojson: separators must be two strings"));
            };
            (between_items, behind_keys) = (item.to_string(), key.to_string());
        }
        Ok(Self {
            ensure_ascii: args.flag(0, false),
            indent,
            between_items,
            behind_keys,
            sort_keys: args.flag(3, false),
        })
    }
}

/// Python's `json.dumps`.
pub(super) fn dumps(
    value: &Value,
    options: &Options,
    budget: &mut Budget,
) -> Result<String, Fault> {
    let mut writer = Writer {
        options,
        budget,
        out: String::new(),
        level: 0,
    };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer<'a> {
    options: &'a Options,
    budget: &'a mut Budget,
    out: String,
    level: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Fault> {
        let before = self.out.len();
        match value {
            Value::None => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Int(number) => write!(self.out, "{number}").expect("a string takes all"),
            Value::Float(number) => self.out.push_str(&float(*number)),
            Value::Str(text) | Value::Markup(text) => self.text(text),
            Value::List(list) | Value::Tuple(list) => {
                return self.list(&list.items);
            }
            Value::Dict(dict) => return self.dict(dict),
            other => {
                return Err(Fault::new(format!(
                    "Object of type {} is not JSON serializable",
                    other.type_name()
                )));
            }
        }
        self.budget.spend(self.out.len() - before)
    }

    fn list(&mut self, items: &[Value]) -> Result<(), Fault> {
        if items.is_empty() {
            self.out.push_str("[]");
            return self.budget.spend(2);
        }
        self.out.push('[');
        self.level += 1;
        for (at, item) in items.iter().enumerate() {
            self.before_item(at)?;
            self.value(item)?;
        }
        self.level -= 1;
        self.new_line()?;
        self.out.push(']');
        Ok(())
    }

    fn dict(&mut self, dict: &Dict) -> Result<(), Fault> {
        if dict.entries().is_empty() {
            self.out.push_str("{}");
            return self.budget.spend(2);
        }
        let mut entries: Vec<&(Value, Value)> = dict.entries().iter().collect();
        if self.options.sort_keys {
            sort_by_key(&mut entries)?;
        }
        self.out.push('{');
        self.level += 1;
        for (at, (key, value)) in entries.into_iter().enumerate() {
            self.before_item(at)?;
            let key = match key {
                Value::Str(text) | Value::Markup(text) => text.to_string(),
                Value::None => "null".to_owned(),
                Value::Bool(true) => "true".to_owned(),
                Value::Bool(false) => "false".to_owned(),
                Value::Int(number) => number.to_string(),
                Value::Float(number) => float(*number),
                other => {
                    return Err(Fault::new(format!(
                        "keys must be str, int, float, bool or None, not {}",
                        other.type_name()
                    )));
                }
            };
            self.text(&key);
            self.out.push_str(&self.options.behind_keys);
            self.value(value)?;
        }
        self.level -= 1;
        self.new_line()?;
        self.out.push('}');
        Ok(())
    }

    fn before_item(&mut self, at: usize) -> Result<(), Fault> {
        if at > 0 {
            self.out.push_str(&self.options.between_items);
            self.budget.spend(self.options.between_items.len())?;
        }
        self.new_line()
    }

    fn new_line(&mut self) -> Result<(), Fault> {
        if let Some(indent) = &self.options.indent {
            self.budget.spend(indent.len() * self.level)?;
            self.out.push('\n');
            for _ in 0..self.level {
                self.out.push_str(indent);
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' || (self.options.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}").expect("a string takes all");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    print::float(number)
}

/// Keys of one dict differ, so that only keys are compared.
fn sort_by_key(entries: &mut [&(Value, Value)]) -> Result<(), Fault> {
    let all_text = entries.iter().all(|(key, _)| key.as_str().is_some());
    let all_whole = entries.iter().all(|(key, _)| key.as_int().is_some());
    if all_text {
        entries.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
    } else if all_whole {
        entries.sort_by_key(|(key, _)| key.as_int());
    } else if entries.len() > 1 {
        return Err(Fault::new(
            "tojson: keys of different types cannot be sorted",
        ));
    }
    Ok(())
}
