//! Evaluates expressions: operators, attributes, elements, slices and calls.

use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Args;
use super::ast::{ArgNodes, CompareOp, Constant, Expr, ExprKind};
use super::fault::Fault;
use super::machine::Machine;
use super::operators;
use super::print::{text, write_text};
use super::value::{Dict, Function, Scope, Value};
use super::{loops, methods};

impl Machine {
    pub(super) fn evaluate(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value, Fault> {
        self.step()?;
        match &*expr.kind {
            ExprKind::Constant(constant) => Ok(constant_value(constant)),
            ExprKind::Name(name) => self.name(name, scope),
            ExprKind::Attr(object, name) => {
                let object = self.evaluate(object, scope)?;
                self.line = expr.line;
                self.attribute(&object, name)
            }
            ExprKind::Item(object, key) => self.item_expr(expr.line, object, key, scope),
            ExprKind::Call(callee, args) => {
                let callee = self.evaluate(callee, scope)?;
                let args = self.arguments(args, scope)?;
                self.line = expr.line;
                self.call(&callee, args)
            }
            ExprKind::Filter(input, name, args) => {
                let input = match input {
                    Some(input) => self.evaluate(input, scope)?,
                    None => return Err(Fault::new("a filter block has no input here")),
                };
                let args = self.arguments(args, scope)?;
                self.line = expr.line;
                self.call_filter(name, input, args)
            }
            ExprKind::Test(input, name, args) => {
                let input = self.evaluate(input, scope)?;
                let args = self.arguments(args, scope)?;
                self.line = expr.line;
                self.call_test(name, &input, args).map(Value::Bool)
            }
            ExprKind::Not(inner) => Ok(Value::Bool(!self.evaluate(inner, scope)?.is_true())),
            ExprKind::And(left, right) => {
                let left = self.evaluate(left, scope)?;
                if left.is_true() {
                    self.evaluate(right, scope)
                } else {
                    Ok(left)
                }
            }
            ExprKind::Or(left, right) => {
                let left = self.evaluate(left, scope)?;
                if left.is_true() {
                    Ok(left)
                } else {
                    self.evaluate(right, scope)
                }
            }
            ExprKind::Condition(test, value, other) => {
                if self.evaluate(test, scope)?.is_true() {
                    return self.evaluate(value, scope);
                }
                match other {
                    Some(other) => self.evaluate(other, scope),
                    None => Ok(Value::undefined(
                        "the inline if-expression evaluated to false and no else section was defined",
                    )),
                }
            }
            ExprKind::Neg(inner) => operators::sign(&self.evaluate(inner, scope)?, true),
            ExprKind::Pos(inner) => operators::sign(&self.evaluate(inner, scope)?, false),
            ExprKind::Binary(op, left, right) => {
                let left = self.evaluate(left, scope)?;
                let right = self.evaluate(right, scope)?;
                self.line = expr.line;
                operators::binary(*op, &left, &right, &mut self.budget)
            }
            ExprKind::Tuple(items) => Value::tuple(self.all(items, scope)?),
            ExprKind::List(items) => Value::list(self.all(items, scope)?),
            ExprKind::Dict(entries) => self.dict_expr(entries, scope),
            ExprKind::Concat(parts) => self.concat(parts, scope),
            ExprKind::Compare(first, others) => self.compare(first, others, scope),
            ExprKind::Slice(_) => Err(Fault::new("a slice among several keys is not supported")),
        }
    }

    fn name(&self, name: &Arc<str>, scope: &Rc<Scope>) -> Result<Value, Fault> {
        if let Some(value) = scope.get(name) {
            return Ok(value);
        }
        Ok(match Function::named(name) {
            Some(Function::StrftimeNow) if self.unix_seconds.is_none() => {
                Value::undefined("'strftime_now' is undefined: the date is not known")
            }
            Some(function) => Value::Function(function),
            None if &**name == "self" => {
                return Err(Fault::new("`self` and blocks are not supported"));
            }
            None => Value::undefined(format!("'{name}' is undefined")),
        })
    }

    fn all(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>, Fault> {
        items
            .iter()
            .map(|item| self.evaluate(item, scope))
            .collect()
    }

    #[inline(never)]
    fn dict_expr(&mut self, entries: &[(Expr, Expr)], scope: &Rc<Scope>) -> Result<Value, Fault> {
        let mut dict = Dict::default();
        for (key, value) in entries {
            let key = self.evaluate(key, scope)?;
            dict.insert(key, self.evaluate(value, scope)?)?;
        }
        Ok(Value::dict(dict))
    }

    #[inline(never)]
    fn concat(&mut self, parts: &[Expr], scope: &Rc<Scope>) -> Result<Value, Fault> {
        let mut out = String::new();
        for part in parts {
            let value = self.evaluate(part, scope)?;
            write_text(&mut out, &value)?;
        }
        self.budget.spend(out.len())?;
        Ok(Value::str(out))
    }

    #[inline(never)]
    fn compare(
        &mut self,
        first: &Expr,
        others: &[(CompareOp, Expr)],
        scope: &Rc<Scope>,
    ) -> Result<Value, Fault> {
        let mut left = self.evaluate(first, scope)?;
        for (op, other) in others {
            let right = self.evaluate(other, scope)?;
            self.line = other.line;
            if let Some(len) = left.len().filter(|_| left.as_str().is_none()) {
                self.budget.spend(8 * len)?;
            }
            if !compares(*op, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    #[inline(never)]
    fn item_expr(
        &mut self,
        line: u32,
        object: &Expr,
        key: &Expr,
        scope: &Rc<Scope>,
    ) -> Result<Value, Fault> {
        let object = self.evaluate(object, scope)?;
        if let ExprKind::Slice(parts) = &*key.kind {
            let mut bounds = [None, None, None];
            for (bound, part) in bounds.iter_mut().zip(parts) {
                if let Some(part) = part {
                    *bound = slice_bound(&self.evaluate(part, scope)?)?;
                }
            }
            self.line = line;
            return self.slice(&object, bounds);
        }
        let key = self.evaluate(key, scope)?;
        self.line = line;
        self.element(&object, &key)
    }

    pub(super) fn arguments(&mut self, args: &ArgNodes, scope: &Rc<Scope>) -> Result<Args, Fault> {
        let mut found = Args::new(self.all(&args.positional, scope)?);
        for (name, value) in &args.named {
            let value = self.evaluate(value, scope)?;
            found.named.push((name.clone(), value));
        }
        if let Some(star) = &args.star {
            found
                .positional
                .extend(self.evaluate(star, scope)?.items()?);
        }
        if let Some(stars) = &args.stars {
            let value = self.evaluate(stars, scope)?;
            let Value::Dict(dict) = &value else {
                return Err(Fault::new(format!(
                    "argument after ** must be a mapping, not {}",
                    value.type_name()
                )));
            };
            for (key, value) in dict.entries() {
                let Some(name) = key.as_str() else {
                    return Err(Fault::new("keywords must be strings"));
                };
                if found.named.iter().any(|(own, _)| **own == *name) {
                    return Err(Fault::new(format!(
                        "got multiple values for argument '{name}'"
                    )));
                }
                found.named.push((name.into(), value.clone()));
            }
        }
        Ok(found)
    }

    #[inline(never)]
    pub(super) fn call(&mut self, callee: &Value, args: Args) -> Result<Value, Fault> {
        match callee {
            Value::Macro(called) => self.call_macro(called, args),
            Value::Function(function) => self.call_function(*function, args),
            Value::Method(method) => {
                let (object, name) = &**method;
                self.call_method(object, name, args)
            }
            Value::Loop(state) => loops::recurse(self, state, args),
            Value::Joiner(joiner) => {
                args.unnamed("joiner", 0, 0)?;
                Ok(joiner.next())
            }
            Value::Undefined(says) => Err(Fault::new(&**says)),
            other => Err(Fault::new(format!(
                "'{}' object is not callable",
                other.type_name()
            ))),
        }
    }

    /// `object.name`: an attribute or method, else the element of that key.
    pub(super) fn attribute(&mut self, object: &Value, name: &Arc<str>) -> Result<Value, Fault> {
        if let Value::Undefined(says) = object {
            return Err(Fault::new(&**says));
        }
        if let Some(value) = self.own_attribute(object, name)? {
            return Ok(value);
        }
        if let Value::Dict(dict) = object
            && let Some(value) = dict.get_str(name)
        {
            return Ok(value.clone());
        }
        Ok(no_attribute(object, name))
    }

    /// `object[key]`: an element, else the attribute or method of that name.
    pub(super) fn element(&mut self, object: &Value, key: &Value) -> Result<Value, Fault> {
        let found = match object {
            Value::Undefined(says) => return Err(Fault::new(&**says)),
            // Python takes what cannot be a key for one that is not there.
            Value::Dict(dict) => dict.get(key).ok().flatten().cloned(),
            Value::List(list) | Value::Tuple(list) => {
                index(key, list.items.len()).map(|at| list.items[at].clone())
            }
            Value::Str(text) => {
                let at = index(key, object.len().unwrap_or(0));
                let found = at.and_then(|at| text.chars().nth(at));
                found.map(|c| Value::str(c.to_string()))
            }
            Value::Markup(text) => {
                let at = index(key, object.len().unwrap_or(0));
                let found = at.and_then(|at| text.chars().nth(at));
                found.map(|c| Value::Markup(c.to_string().into()))
            }
            Value::Range(range) => {
                index(key, range.len() as usize).map(|at| Value::Int(range.at(at as i128)))
            }
            _ => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        if let Some(name) = key.as_str()
            && let Some(value) = self.own_attribute(object, &name.into())?
        {
            return Ok(value);
        }
        match key.as_str() {
            Some(name) => Ok(no_attribute(object, name)),
            None => Ok(Value::undefined(format!(
                "{} object has no element {}",
                object.type_name(),
                super::print::repr(key).unwrap_or_default()
            ))),
        }
    }

    /// What Python's `getattr` finds.
    fn own_attribute(&mut self, object: &Value, name: &Arc<str>) -> Result<Option<Value>, Fault> {
        match object {
            Value::Namespace(space) => Ok(space.entries.borrow().get_str(name).cloned()),
            Value::Loop(state) => loops::attribute(self, state, name),
            _ => methods::attribute(object, name),
        }
    }

    #[inline(never)]
    fn slice(&mut self, object: &Value, bounds: [Option<i128>; 3]) -> Result<Value, Fault> {
        let len = match object {
            Value::Undefined(says) => return Err(Fault::new(&**says)),
            Value::Str(_)
            | Value::Markup(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Range(_) => object.len().unwrap_or(0),
            other => {
                let kind = other.type_name();
                return Err(Fault::new(format!("'{kind}' object cannot be sliced")));
            }
        };
        let places = slice_places(bounds, len as i128)?;
        self.budget.spend(8 * places.len())?;
        let picked = |items: &[Value]| places.iter().map(|at| items[*at].clone()).collect();
        Ok(match object {
            Value::List(list) => Value::list(picked(&list.items))?,
            Value::Tuple(list) => Value::tuple(picked(&list.items))?,
            Value::Range(_) => return Err(Fault::new("a slice of a range is not supported")),
            other => {
                let text = text(other)?;
                let cut: String = if let [None | Some(0), Some(stop), None] = bounds
                    && stop >= 0
                {
                    text.chars().take(stop as usize).collect()
                } else {
                    let characters: Vec<char> = text.chars().collect();
                    places.iter().map(|at| characters[*at]).collect()
                };
                match other {
                    Value::Markup(_) => Value::Markup(cut.into()),
                    _ => Value::str(cut),
                }
            }
        })
    }
}

fn constant_value(constant: &Constant) -> Value {
    match constant {
        Constant::None => Value::None,
        Constant::Bool(value) => Value::Bool(*value),
        Constant::Int(value) => Value::Int(*value),
        Constant::Float(value) => Value::Float(*value),
        Constant::Str(text) => Value::Str(text.clone()),
    }
}

fn compares(op: CompareOp, left: &Value, right: &Value) -> Result<bool, Fault> {
    Ok(match op {
        CompareOp::Eq => left.equals(right),
        CompareOp::Ne => !left.equals(right),
        CompareOp::Lt => left
            .compare(right, "<")?
            .is_some_and(std::cmp::Ordering::is_lt),
        CompareOp::Le => left
            .compare(right, "<=")?
            .is_some_and(std::cmp::Ordering::is_le),
        CompareOp::Gt => left
            .compare(right, ">")?
            .is_some_and(std::cmp::Ordering::is_gt),
        CompareOp::Ge => left
            .compare(right, ">=")?
            .is_some_and(std::cmp::Ordering::is_ge),
        CompareOp::In => right.contains(left)?,
        CompareOp::NotIn => !right.contains(left)?,
    })
}

fn no_attribute(object: &Value, name: &str) -> Value {
    Value::undefined(format!(
        "'{} object' has no attribute '{name}'",
        object.type_name()
    ))
}

/// An index from the front or, negative, from the back.
fn index(key: &Value, len: usize) -> Option<usize> {
    let at = key.as_int()?;
    let at = if at < 0 { at + len as i128 } else { at };
    usize::try_from(at).ok().filter(|at| *at < len)
}

fn slice_bound(value: &Value) -> Result<Option<i128>, Fault> {
    match value {
        Value::None => Ok(None),
        other => other
            .as_int()
            .map(Some)
            .ok_or_else(|| Fault::new("slice indices must be integers or None")),
    }
}

/// The places of a slice, by Python's `slice.indices`.
fn slice_places(bounds: [Option<i128>; 3], len: i128) -> Result<Vec<usize>, Fault> {
    let step = bounds[2].unwrap_or(1);
    if step == 0 {
        return Err(Fault::new("slice step cannot be zero"));
    }
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |given: Option<i128>, default: i128| match given {
        None => default,
        Some(at) if at < 0 => at.saturating_add(len).max(low),
        Some(at) => at.min(high),
    };
    let (start, stop) = if step > 0 {
        (bound(bounds[0], low), bound(bounds[1], high))
    } else {
        (bound(bounds[0], high), bound(bounds[1], low))
    };
    let mut places = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        places.push(at as usize);
        at = at.saturating_add(step);
    }
    Ok(places)
}
