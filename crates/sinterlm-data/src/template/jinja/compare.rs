//! How values compare: Python's `==`, `<`, `is` and `in`.

use std::cmp::Ordering;
use std::rc::Rc;

use super::fault::Fault;
use super::value::{Value, View};

impl Value {
    /// Python's `==`.
    #[allow(clippy::float_cmp, reason = "Python compares floats exactly")]
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                a.items.len() == b.items.len()
                    && a.items.iter().zip(&b.items).all(|(a, b)| a.equals(b))
            }
            (Self::Dict(a), Self::Dict(b)) => {
                let same = |(key, value): &(Self, Self)| matches!(b.get(key), Ok(Some(found)) if found.equals(value));
                a.entries().len() == b.entries().len() && a.entries().iter().all(same)
            }
            (Self::View(a, View::Keys), Self::View(b, View::Keys)) => {
                a.entries().len() == b.entries().len()
                    && a.entries()
                        .iter()
                        .all(|(key, _)| matches!(b.get(key), Ok(Some(_))))
            }
            (Self::Range(a), Self::Range(b)) => {
                let len = a.len();
                len == b.len() && (len == 0 || a.start == b.start && (len == 1 || a.step == b.step))
            }
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Float(f), whole) | (whole, Self::Float(f)) => whole
                .as_int()
                .is_some_and(|i| f.fract() == 0.0 && *f as i128 == i && f.abs() < 1e38),
            (a, b) => match (a.as_str(), b.as_str()) {
                (Some(a), Some(b)) => a == b,
                (None, None) => match (a.as_int(), b.as_int()) {
                    (Some(a), Some(b)) => a == b,
                    _ => a.is_same_object(b),
                },
                _ => false,
            },
        }
    }

    /// Whether both are one object that is no plain value.
    pub(super) fn is_same_object(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => Rc::ptr_eq(a, b),
            (Self::Dict(a), Self::Dict(b)) => Rc::ptr_eq(a, b),
            (Self::Iter(a), Self::Iter(b)) => Rc::ptr_eq(a, b),
            (Self::Namespace(a), Self::Namespace(b)) => Rc::ptr_eq(a, b),
            (Self::Macro(a), Self::Macro(b)) => Rc::ptr_eq(a, b),
            (Self::Loop(a), Self::Loop(b)) => Rc::ptr_eq(a, b),
            (Self::Cycler(a), Self::Cycler(b)) => Rc::ptr_eq(a, b),
            (Self::Joiner(a), Self::Joiner(b)) => Rc::ptr_eq(a, b),
            (Self::Function(a), Self::Function(b)) => a == b,
            _ => false,
        }
    }

    /// Python's order; `sign` is the operator that an error names. None where numbers are unordered.
    pub(super) fn compare(&self, other: &Self, sign: &str) -> Result<Option<Ordering>, Fault> {
        if let (Some(a), Some(b)) = (self.as_str(), other.as_str()) {
            return Ok(Some(a.cmp(b)));
        }
        if let (Some(a), Some(b)) = (self.as_int(), other.as_int()) {
            return Ok(Some(a.cmp(&b)));
        }
        if let (Some(a), Some(b)) = (self.as_number(), other.as_number()) {
            return Ok(a.partial_cmp(&b));
        }
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals(b) {
                        return a.compare(b, sign);
                    }
                }
                Ok(Some(a.items.len().cmp(&b.items.len())))
            }
            (Self::Undefined(says), _) | (_, Self::Undefined(says)) => Err(Fault::new(&**says)),
            _ => Err(Fault::new(format!(
                "'{sign}' not supported between instances of '{}' and '{}'",
                self.type_name(),
                other.type_name()
            ))),
        }
    }

    /// Python's `item in self`.
    pub(super) fn contains(&self, item: &Self) -> Result<bool, Fault> {
        match self {
            Self::Str(text) | Self::Markup(text) => match item.as_str() {
                Some(part) => Ok(text.contains(part)),
                None => Err(Fault::new(format!(
                    "'in <string>' requires string as left operand, not {}",
                    item.type_name()
                ))),
            },
            Self::Dict(dict) | Self::View(dict, View::Keys) => Ok(dict.get(item)?.is_some()),
            Self::Undefined(_) => Ok(false),
            other if other.is_iterable() => Ok(other.items()?.iter().any(|own| own.equals(item))),
            other => Err(Fault::new(format!(
                "argument of type '{}' is not iterable",
                other.type_name()
            ))),
        }
    }
}
