//! Arguments of a call, and how functions take them apart.

use std::sync::Arc;

use super::fault::Fault;
use super::value::Value;

#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

/// Arguments by the names of a function's parameters.
pub(super) struct Bound {
    name: String,
    values: Vec<(&'static str, Option<Value>)>,
}

impl Args {
    pub(super) fn new(positional: Vec<Value>) -> Self {
        Self {
            positional,
            named: Vec::new(),
        }
    }

    /// Takes an argument by its name.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.named.iter().position(|(own, _)| **own == *name)?;
        Some(self.named.remove(at).1)
    }

    /// Arguments for parameters of which the first `required` have no default.
    pub(super) fn bind(
        self,
        name: &str,
        params: &[&'static str],
        required: usize,
    ) -> Result<Bound, Fault> {
        if self.positional.len() > params.len() {
            return Err(Fault::new(format!(
                "{name} takes at most {} arguments, {} were given",
                params.len(),
                self.positional.len()
            )));
        }
        let mut values: Vec<_> = params.iter().map(|param| (*param, None)).collect();
        for (at, value) in self.positional.into_iter().enumerate() {
            values[at].1 = Some(value);
        }
        for (key, value) in self.named {
            let Some(entry) = values.iter_mut().find(|(own, _)| **own == *key) else {
                return Err(Fault::new(format!(
                    "{name} got an unexpected keyword argument '{key}'"
                )));
            };
            if entry.1.is_some() {
                return Err(Fault::new(format!(
                    "{name} got multiple values for argument '{key}'"
                )));
            }
            entry.1 = Some(value);
        }
        if let Some((missing, _)) = values[..required].iter().find(|(_, own)| own.is_none()) {
            return Err(Fault::new(format!(
                "{name} misses its argument '{missing}'"
            )));
        }
        Ok(Bound {
            name: name.to_owned(),
            values,
        })
    }

    /// Arguments that have no names, `least` to `most` of them.
    pub(super) fn unnamed(
        self,
        name: &str,
        least: usize,
        most: usize,
    ) -> Result<Vec<Value>, Fault> {
        if !self.named.is_empty() {
            return Err(Fault::new(format!("{name} takes no keyword arguments")));
        }
        let found = self.positional.len();
        if found < least || found > most {
            return Err(Fault::new(format!(
                "{name} takes {least} to {most} arguments, {found} were given"
            )));
        }
        Ok(self.positional)
    }
}

impl Bound {
    /// The argument at a parameter's place; none where the default holds.
    pub(super) fn take(&mut self, at: usize) -> Option<Value> {
        self.values[at].1.take()
    }

    /// The argument at the place of a parameter without a default.
    pub(super) fn required(&mut self, at: usize) -> Value {
        self.take(at).expect("`bind` found all that is required")
    }

    /// Whether an argument is true; `default` where it is not given.
    pub(super) fn flag(&self, at: usize, default: bool) -> bool {
        self.values[at].1.as_ref().map_or(default, Value::is_true)
    }

    /// A flag that Python wants as a whole number.
    pub(super) fn int_flag(&self, at: usize) -> Result<bool, Fault> {
        self.int(at, 0).map(|value| value != 0)
    }

    pub(super) fn int(&self, at: usize, default: i128) -> Result<i128, Fault> {
        match &self.values[at].1 {
            None => Ok(default),
            Some(value) => self.typed(at, value.as_int(), "int"),
        }
    }

    pub(super) fn text(&self, at: usize, default: &str) -> Result<Arc<str>, Fault> {
        match &self.values[at].1 {
            None => Ok(default.into()),
            Some(value) => self.typed(at, value.as_str().map(Arc::from), "str"),
        }
    }

    fn typed<T>(&self, at: usize, value: Option<T>, kind: &str) -> Result<T, Fault> {
        value.ok_or_else(|| {
            let (param, value) = &self.values[at];
            let found = value.as_ref().map_or("NoneType", Value::type_name);
            let name = &self.name;
            Fault::new(format!("{name}: '{param}' must be {kind}, not {found}"))
        })
    }
}

/// A string argument of a method.
pub(super) fn want_text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Fault> {
    value.as_str().ok_or_else(|| {
        Fault::new(format!(
            "{name}: a str is wanted, not {}",
            value.type_name()
        ))
    })
}

/// A whole number that is the argument of a method.
pub(super) fn want_int(name: &str, value: &Value) -> Result<i128, Fault> {
    value.as_int().ok_or_else(|| match value {
        Value::Undefined(says) => Fault::new(&**says),
        other => Fault::new(format!(
            "{name}: '{}' object cannot be interpreted as an integer",
            other.type_name()
        )),
    })
}
