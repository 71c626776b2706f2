//! Filters of sequences and dicts.

use std::cmp::Ordering;
use std::sync::Arc;

use super::arguments::{Args, Bound};
use super::fault::Fault;
use super::filters::{FILTERS, sum};
use super::machine::Machine;
use super::print::write_text;
use super::value::{Dict, Value, View};

impl Machine {
    #[inline(never)]
    pub(super) fn sequence_filter(
        &mut self,
        name: &str,
        value: Value,
        args: Args,
    ) -> Result<Value, Fault> {
        match name {
            "first" => {
                args.unnamed(name, 0, 0)?;
                let first = match &value {
                    Value::Iter(iter) => iter.items.borrow_mut().next(),
                    other => other.items()?.into_iter().next(),
                };
                Ok(first.unwrap_or_else(|| Value::undefined("no first item, sequence was empty")))
            }
            "last" => {
                args.unnamed(name, 0, 0)?;
                if matches!(value, Value::Iter(_)) {
                    let kind = value.type_name();
                    return Err(Fault::new(format!("'{kind}' object is not reversible")));
                }
                let last = value.items()?.pop();
                Ok(last.unwrap_or_else(|| Value::undefined("no last item, sequence was empty")))
            }
            "list" => {
                args.unnamed(name, 0, 0)?;
                let items = value.items()?;
                self.budget.spend(8 * items.len())?;
                Value::list(items)
            }
            "reverse" => {
                args.unnamed(name, 0, 0)?;
                if let Value::Str(text) = &value {
                    return Ok(Value::str(text.chars().rev().collect::<String>()));
                }
                let mut items = value.items()?;
                items.reverse();
                match value {
                    Value::Iter(_) => Value::list(items),
                    _ => Value::iter("reverse iterator", items),
                }
            }
            "join" => {
                let mut args = args.bind(name, &["d", "attribute"], 0)?;
                let separator = args.take(0);
                let mut items = value.items()?;
                if let Some(attribute) = args.take(1).filter(|own| !matches!(own, Value::None)) {
                    let path = path(&attribute)?;
                    for item in &mut items {
                        *item = self.walk(item, &path)?;
                    }
                }
                let mut between = String::new();
                if let Some(separator) = &separator {
                    write_text(&mut between, separator)?;
                }
                let mut out = String::new();
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(&between);
                        self.budget.spend(between.len())?;
                    }
                    write_text(&mut out, item)?;
                }
                self.budget.spend(out.len())?;
                Ok(Value::str(out))
            }
            "map" => self.map(&value, args),
            "select" | "reject" | "selectattr" | "rejectattr" => self.select(name, &value, args),
            "sum" => {
                let mut args = args.bind(name, &["attribute", "start"], 0)?;
                let start = args.take(1).unwrap_or(Value::Int(0));
                let mut items = value.items()?;
                if let Some(attribute) = args.take(0).filter(|own| !matches!(own, Value::None)) {
                    let path = path(&attribute)?;
                    for item in &mut items {
                        *item = self.walk(item, &path)?;
                    }
                }
                sum(self, items, start)
            }
            "sort" => {
                let params = ["reverse", "case_sensitive", "attribute"];
                let mut args = args.bind(name, &params, 0)?;
                let paths = match args.take(2) {
                    Some(Value::Str(names)) => names
                        .split(',')
                        .map(|name| path(&Value::str(name)))
                        .collect::<Result<_, _>>()?,
                    other => vec![path(&other.unwrap_or(Value::None))?],
                };
                let mut keyed = Vec::new();
                for item in value.items()? {
                    let mut keys = Vec::with_capacity(paths.len());
                    for path in &paths {
                        let key = self.walk(&item, path)?;
                        keys.push(if args.flag(1, false) {
                            key
                        } else {
                            caseless(key)
                        });
                    }
                    keyed.push((Value::list(keys)?, item));
                }
                let sorted = self.sorted(keyed, args.int_flag(0)?)?;
                Value::list(sorted.into_iter().map(|(_, item)| item).collect())
            }
            "dictsort" => {
                let params = ["case_sensitive", "by", "reverse"];
                let args = args.bind(name, &params, 0)?;
                let by = args.text(1, "key")?;
                let at = match &*by {
                    "key" => 0,
                    "value" => 1,
                    _ => {
                        return Err(Fault::new(
                            "you can only sort by either \"key\" or \"value\"",
                        ));
                    }
                };
                let Value::Dict(dict) = &value else {
                    let kind = value.type_name();
                    return Err(Fault::new(format!(
                        "'{kind}' object has no attribute 'items'"
                    )));
                };
                let key_of = |pair: &(Value, Value)| {
                    let key = if at == 0 {
                        pair.0.clone()
                    } else {
                        pair.1.clone()
                    };
                    if args.flag(0, false) {
                        key
                    } else {
                        caseless(key)
                    }
                };
                let keys: Vec<Value> = dict.entries().iter().map(key_of).collect();
                let items = Value::View(dict.clone(), View::Items).items()?;
                let keyed = keys.into_iter().zip(items).collect();
                let sorted = self.sorted(keyed, args.int_flag(2)?)?;
                Value::list(sorted.into_iter().map(|(_, item)| item).collect())
            }
            "unique" => {
                let mut args = args.bind(name, &["case_sensitive", "attribute"], 0)?;
                let path = path(&args.take(1).unwrap_or(Value::None))?;
                let (mut seen, mut kept) = (Dict::default(), Vec::new());
                for item in value.items()? {
                    let key = in_case(self.walk(&item, &path)?, args.flag(0, false));
                    if seen.get(&key)?.is_none() {
                        seen.insert(key, Value::None)?;
                        kept.push(item);
                    }
                }
                Value::iter("generator", kept)
            }
            "min" | "max" => {
                let args = args.bind(name, &["case_sensitive", "attribute"], 0)?;
                self.extreme(name, &value, args)
            }
            "groupby" => {
                let params = ["attribute", "default", "case_sensitive"];
                let args = args.bind(name, &params, 1)?;
                self.groups(&value, args)
            }
            "batch" | "slice" => cut(name, &value, args, self),
            _ => Err(Fault::new(format!("no filter named '{name}'"))),
        }
    }

    /// An item, or what a path of attributes leads to.
    fn walk(&mut self, item: &Value, path: &[Value]) -> Result<Value, Fault> {
        self.step()?;
        let mut item = item.clone();
        for part in path {
            item = self.element(&item, part)?;
        }
        Ok(item)
    }

    fn map(&mut self, value: &Value, mut args: Args) -> Result<Value, Fault> {
        if !value.is_true() {
            return Value::iter("generator", Vec::new());
        }
        let items = value.items()?;
        let mut mapped = Vec::with_capacity(items.len());
        let attribute = if args.positional.is_empty() {
            args.take("attribute")
        } else {
            None
        };
        if let Some(attribute) = attribute {
            let default = args
                .take("default")
                .filter(|own| !matches!(own, Value::None));
            if let Some((name, _)) = args.named.first() {
                return Err(Fault::new(format!("unexpected keyword argument '{name}'")));
            }
            let path = path(&attribute)?;
            for item in items {
                self.step()?;
                let mut found = item;
                for part in &path {
                    found = self.element(&found, part)?;
                    if let (Value::Undefined(_), Some(default)) = (&found, &default) {
                        found = default.clone();
                    }
                }
                mapped.push(found);
            }
        } else {
            if args.positional.is_empty() {
                return Err(Fault::new("map requires a filter argument"));
            }
            let filter = args.positional.remove(0);
            let filter: Arc<str> = filter.as_str().unwrap_or_default().into();
            if !FILTERS.contains(&&*filter) {
                return Err(Fault::new(format!("no filter named '{filter}'")));
            }
            for item in items {
                mapped.push(self.call_filter(&filter, item, args.clone())?);
            }
        }
        Value::iter("generator", mapped)
    }

    fn select(&mut self, name: &str, value: &Value, mut args: Args) -> Result<Value, Fault> {
        if !value.is_true() {
            return Value::iter("generator", Vec::new());
        }
        let path = if name.ends_with("attr") {
            if args.positional.is_empty() {
                return Err(Fault::new("missing parameter for attribute name"));
            }
            path(&args.positional.remove(0))?
        } else {
            Vec::new()
        };
        let test: Option<Arc<str>> = if args.positional.is_empty() {
            None
        } else {
            let test = args.positional.remove(0);
            Some(test.as_str().unwrap_or_default().into())
        };
        let wanted = name.starts_with("select");
        let mut kept = Vec::new();
        for item in value.items()? {
            let tested = self.walk(&item, &path)?;
            let holds = match &test {
                Some(test) => self.call_test(test, &tested, args.clone())?,
                None => tested.is_true(),
            };
            if holds == wanted {
                kept.push(item);
            }
        }
        Value::iter("generator", kept)
    }

    fn extreme(&mut self, name: &str, value: &Value, mut args: Bound) -> Result<Value, Fault> {
        let path = path(&args.take(1).unwrap_or(Value::None))?;
        let mut best: Option<(Value, Value)> = None;
        for item in value.items()? {
            let key = in_case(self.walk(&item, &path)?, args.flag(0, false));
            let is_better = match &best {
                None => true,
                Some((top, _)) if name == "min" => key.compare(top, "<")? == Some(Ordering::Less),
                Some((top, _)) => key.compare(top, ">")? == Some(Ordering::Greater),
            };
            if is_better {
                best = Some((key, item));
            }
        }
        let none = || Value::undefined("no aggregated item, sequence was empty");
        Ok(best.map_or_else(none, |(_, item)| item))
    }

    fn groups(&mut self, value: &Value, mut args: Bound) -> Result<Value, Fault> {
        let path = path(&args.required(0))?;
        let default = args.take(1).filter(|own| !matches!(own, Value::None));
        let mut keyed = Vec::new();
        for item in value.items()? {
            let mut key = item.clone();
            for part in &path {
                key = self.element(&key, part)?;
                if let (Value::Undefined(_), Some(default)) = (&key, &default) {
                    key = default.clone();
                }
            }
            let shown = key.clone();
            let key = if args.flag(2, false) {
                key
            } else {
                caseless(key)
            };
            keyed.push((key, Value::tuple(vec![shown, item])?));
        }
        let sorted = self.sorted(keyed, false)?;
        let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
        for (key, pair) in sorted {
            let mut pair = pair.items()?;
            let (Some(item), Some(shown)) = (pair.pop(), pair.pop()) else {
                continue;
            };
            match groups.last_mut() {
                Some((last, _, items)) if last.equals(&key) => items.push(item),
                _ => groups.push((key, shown, vec![item])),
            }
        }
        let groups = groups.into_iter();
        let groups = groups.map(|(_, shown, items)| Value::group(shown, items));
        Value::list(groups.collect::<Result<_, _>>()?)
    }

    /// Values in the order of their keys; equal ones stay as they are. A merge sort of our own, as the
    /// comparison can fail.
    fn sorted(
        &mut self,
        mut keyed: Vec<(Value, Value)>,
        reverse: bool,
    ) -> Result<Vec<(Value, Value)>, Fault> {
        self.step()?;
        if keyed.len() < 2 {
            return Ok(keyed);
        }
        let right = keyed.split_off(keyed.len() / 2);
        let left = self.sorted(keyed, reverse)?;
        let right = self.sorted(right, reverse)?;
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
            self.budget.spend(0)?;
            let order = b.compare(a, "<")?;
            let order = order.ok_or_else(|| Fault::new("sorting nan is not supported"))?;
            let takes_right = order
                == if reverse {
                    Ordering::Greater
                } else {
                    Ordering::Less
                };
            merged.extend(if takes_right {
                right.next()
            } else {
                left.next()
            });
        }
        merged.extend(left);
        merged.extend(right);
        Ok(merged)
    }
}

/// The parts of a path like `a.0.b`.
fn path(attribute: &Value) -> Result<Vec<Value>, Fault> {
    let part = |part: &str| {
        let is_number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match part.parse::<i128>() {
            Ok(at) if is_number => Value::Int(at),
            _ => Value::str(part),
        }
    };
    match attribute {
        Value::None => Ok(Vec::new()),
        Value::Str(names) => Ok(names.split('.').map(part).collect()),
        Value::Int(_) => Ok(vec![attribute.clone()]),
        other => Err(Fault::new(format!(
            "an attribute is no {}",
            other.type_name()
        ))),
    }
}

/// What items are compared by: texts without their case, unless it counts.
fn in_case(key: Value, is_sensitive: bool) -> Value {
    if is_sensitive { key } else { caseless(key) }
}

fn caseless(value: Value) -> Value {
    match &value {
        Value::Str(text) => Value::str(text.to_lowercase()),
        _ => value,
    }
}

/// `batch` and `slice`
fn cut(name: &str, value: &Value, args: Args, machine: &mut Machine) -> Result<Value, Fault> {
    let first = if name == "batch" {
        "linecount"
    } else {
        "slices"
    };
    let mut args = args.bind(name, &[first, "fill_with"], 1)?;
    let count = args.int(0, 0)?;
    let fill = args.take(1).filter(|own| !matches!(own, Value::None));
    let items = value.items()?;
    if name == "batch" {
        let count = usize::try_from(count).ok().filter(|count| *count > 0);
        let count = count.ok_or_else(|| Fault::new("batch: a count below 1 is not supported"))?;
        let mut batches: Vec<Vec<Value>> = items.chunks(count).map(<[Value]>::to_vec).collect();
        if let (Some(last), Some(fill)) = (batches.last_mut(), fill) {
            machine.budget.spend(count.saturating_mul(8))?;
            last.resize(count, fill);
        }
        let batches = batches.into_iter().map(Value::list);
        return Value::iter("generator", batches.collect::<Result<_, _>>()?);
    }
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| Fault::new("slice: a count below 1 is not supported"))?;
    machine.budget.spend(count.saturating_mul(8))?;
    let (each, more) = (items.len() / count, items.len() % count);
    let (mut slices, mut rest) = (Vec::with_capacity(count), &items[..]);
    for at in 0..count {
        let (slice, after) = rest.split_at(each + usize::from(at < more));
        let mut slice = slice.to_vec();
        if at >= more {
            slice.extend(fill.clone());
        }
        slices.push(Value::list(slice)?);
        rest = after;
    }
    Value::iter("generator", slices)
}
