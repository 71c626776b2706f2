//! The values of a running template, which behave as Python's: numbers that compare across types,
//! tuples beside lists, dicts that keep their order; and
//! what holds values while a template runs. How they print is in `print`, how they compare in `compare`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, MacroNode};
use super::fault::Fault;

/// How deep lists and dicts may lie in each other; printing and dropping them is recursive.
const MAX_NESTING: u32 = 200;

/// A value of Python as far as templates can meet it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A missing name, attribute or element, with what an error says about it.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// Text that was escaped or declared safe, Python's `Markup`.
    Markup(Arc<str>),
    List(Rc<List>),
    Tuple(Rc<List>),
    Dict(Rc<Dict>),
    View(Rc<Dict>, View),
    Range(Range),
    /// What can be read once, as Python's generators.
    Iter(Rc<Iter>),
    Namespace(Rc<Namespace>),
    Macro(Rc<Macro>),
    Loop(Rc<RefCell<LoopState>>),
    Function(Function),
    Method(Rc<(Value, Arc<str>)>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
}

/// The items of a list or tuple.
#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    /// Whether this is a group of the filter `groupby`, whose parts have names.
    pub(super) is_group: bool,
    depth: u32,
}

/// Entries in the order of their insertion.
#[derive(Clone, Debug, Default)]
pub(super) struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    depth: u32,
}

/// What `keys()`, `values()` and `items()` of a dict give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start: i128,
    pub(super) stop: i128,
    pub(super) step: i128,
}

/// Items that are given out once.
#[derive(Debug)]
pub(super) struct Iter {
    /// The name of Python's type.
    pub(super) kind: &'static str,
    pub(super) items: RefCell<std::vec::IntoIter<Value>>,
    depth: u32,
}

/// The one value that a template can change.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) entries: RefCell<Dict>,
}

/// A value as the key of a dict: numbers of equal value are one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Undefined,
    None,
    Int(i128),
    Float(u64),
    Str(Arc<str>),
    Tuple(Vec<Key>),
    Address(usize),
}

impl List {
    fn new(items: Vec<Value>) -> Result<Rc<Self>, Fault> {
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        check_depth(depth)?;
        Ok(Rc::new(Self {
            items,
            is_group: false,
            depth,
        }))
    }
}

fn check_depth(depth: u32) -> Result<(), Fault> {
    if depth > MAX_NESTING {
        return Err(Fault::new("lists and dicts are nested too deeply"));
    }
    Ok(())
}

impl Dict {
    pub(super) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    pub(super) fn get(&self, key: &Value) -> Result<Option<&Value>, Fault> {
        let key = Key::of(key)?;
        Ok(self.index.get(&key).map(|at| &self.entries[*at].1))
    }

    pub(super) fn get_str(&self, key: &str) -> Option<&Value> {
        let key = Key::Str(key.into());
        self.index.get(&key).map(|at| &self.entries[*at].1)
    }

    /// A key that is there keeps its place.
    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<(), Fault> {
        self.depth = self.depth.max(1 + key.depth().max(value.depth()));
        check_depth(self.depth)?;
        let hashed = Key::of(&key)?;
        if let Some(at) = self.index.get(&hashed) {
            self.entries[*at].1 = value;
        } else {
            self.index.insert(hashed, self.entries.len());
            self.entries.push((key, value));
        }
        Ok(())
    }
}

impl Range {
    pub(super) fn len(&self) -> i128 {
        let (low, high) = if self.step > 0 {
            (self.start, self.stop)
        } else {
            (self.stop, self.start)
        };
        if low >= high {
            return 0;
        }
        // Limits keep the bounds of ranges far from overflow.
        (high - low - 1) / self.step.abs() + 1
    }

    pub(super) fn at(&self, index: i128) -> i128 {
        self.start + index * self.step
    }
}

impl Key {
    fn of(value: &Value) -> Result<Self, Fault> {
        Ok(match value {
            Value::Undefined(_) => Self::Undefined,
            Value::None => Self::None,
            Value::Bool(b) => Self::Int(i128::from(*b)),
            Value::Int(i) => Self::Int(*i),
            // Whole numbers are keyed alike whatever their type.
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 1e38 => Self::Int(*f as i128),
            Value::Float(f) => Self::Float(f.to_bits()),
            Value::Str(s) | Value::Markup(s) => Self::Str(s.clone()),
            Value::Tuple(list) => {
                Self::Tuple(list.items.iter().map(Key::of).collect::<Result<_, _>>()?)
            }
            Value::List(_) | Value::Dict(_) | Value::View(_, View::Keys | View::Items) => {
                let kind = value.type_name();
                return Err(Fault::new(format!("unhashable type: '{kind}'")));
            }
            Value::Namespace(n) => Self::Address(Rc::as_ptr(n) as usize),
            Value::Macro(m) => Self::Address(Rc::as_ptr(m) as usize),
            other => {
                let kind = other.type_name();
                return Err(Fault::new(format!("a {kind} as a key is not supported")));
            }
        })
    }
}

impl Value {
    pub(super) fn str(text: impl Into<Arc<str>>) -> Self {
        Self::Str(text.into())
    }

    pub(super) fn undefined(says: impl Into<Arc<str>>) -> Self {
        Self::Undefined(says.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Result<Self, Fault> {
        List::new(items).map(Self::List)
    }

    pub(super) fn tuple(items: Vec<Self>) -> Result<Self, Fault> {
        List::new(items).map(Self::Tuple)
    }

    /// A value of `groupby` with the items that have it.
    pub(super) fn group(key: Self, items: Vec<Self>) -> Result<Self, Fault> {
        let items = vec![key, Self::list(items)?];
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or(0);
        check_depth(depth)?;
        Ok(Self::Tuple(Rc::new(List {
            items,
            is_group: true,
            depth,
        })))
    }

    pub(super) fn dict(entries: Dict) -> Self {
        Self::Dict(Rc::new(entries))
    }

    pub(super) fn iter(kind: &'static str, items: Vec<Self>) -> Result<Self, Fault> {
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or(0);
        check_depth(depth)?;
        let items = RefCell::new(items.into_iter());
        Ok(Self::Iter(Rc::new(Iter { kind, items, depth })))
    }

    /// How deep values lie in each other.
    fn depth(&self) -> u32 {
        match self {
            Self::List(list) | Self::Tuple(list) => list.depth,
            Self::Dict(dict) | Self::View(dict, _) => dict.depth,
            Self::Iter(iter) => iter.depth,
            // A namespace in itself counts further with each assignment.
            Self::Namespace(space) => space.entries.try_borrow().map_or(1, |d| d.depth),
            Self::Method(method) => 1 + method.0.depth(),
            Self::Loop(state) => state.try_borrow().map_or(1, |state| 1 + state.depth()),
            Self::Cycler(cycler) => 1 + cycler.items.iter().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The name of Python's type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Markup(_) => "Markup",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(_, View::Keys) => "dict_keys",
            Self::View(_, View::Values) => "dict_values",
            Self::View(_, View::Items) => "dict_items",
            Self::Range(_) => "range",
            Self::Iter(iter) => iter.kind,
            Self::Namespace(_) => "TemplateNamespace",
            Self::Macro(_) => "Macro",
            Self::Loop(_) => "LoopContext",
            Self::Function(_) => "function",
            Self::Method(_) => "builtin_function_or_method",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, as which truth values count, too.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(i) => Some(*i),
            Self::Bool(b) => Some(i128::from(*b)),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(*f),
            other => other.as_int().map(|i| i as f64),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) | Self::Markup(s) => !s.is_empty(),
            Self::List(list) | Self::Tuple(list) => !list.items.is_empty(),
            Self::Dict(dict) | Self::View(dict, _) => !dict.entries.is_empty(),
            Self::Range(range) => range.len() > 0,
            // `LoopContext` has a length, which is above 0 while it runs.
            _ => true,
        }
    }

    /// `len()`, none for what has no length.
    pub(super) fn len(&self) -> Option<usize> {
        Some(match self {
            Self::Undefined(_) => 0,
            Self::Str(s) | Self::Markup(s) => s.chars().count(),
            Self::List(list) | Self::Tuple(list) => list.items.len(),
            Self::Dict(dict) | Self::View(dict, _) => dict.entries.len(),
            Self::Range(range) => range.len() as usize,
            _ => return None,
        })
    }

    /// What a loop over the value meets; reading an iterator empties it.
    ///
    /// # Errors
    /// For what Python cannot iterate over.
    pub(super) fn items(&self) -> Result<Vec<Self>, Fault> {
        Ok(match self {
            Self::Undefined(_) => Vec::new(),
            Self::Str(s) => {
                let mut one = [0; 4];
                let chars = s.chars();
                chars
                    .map(|c| Self::str(&*c.encode_utf8(&mut one)))
                    .collect()
            }
            Self::Markup(_) => {
                return Err(Fault::new("a loop over an escaped string is not supported"));
            }
            Self::List(list) | Self::Tuple(list) => list.items.clone(),
            Self::Dict(dict) | Self::View(dict, View::Keys) => {
                dict.entries.iter().map(|(key, _)| key.clone()).collect()
            }
            Self::View(dict, View::Values) => dict
                .entries
                .iter()
                .map(|(_, value)| value.clone())
                .collect(),
            Self::View(dict, View::Items) => {
                let pair =
                    |(key, value): &(Self, Self)| Self::tuple(vec![key.clone(), value.clone()]);
                dict.entries.iter().map(pair).collect::<Result<_, _>>()?
            }
            Self::Range(range) => (0..range.len()).map(|at| Self::Int(range.at(at))).collect(),
            Self::Iter(iter) => iter.items.borrow_mut().by_ref().collect(),
            Self::Loop(_) => return Err(Fault::new("a loop over `loop` is not supported")),
            other => {
                let kind = other.type_name();
                return Err(Fault::new(format!("'{kind}' object is not iterable")));
            }
        })
    }

    pub(super) fn is_iterable(&self) -> bool {
        matches!(
            self,
            Self::Undefined(_)
                | Self::Str(_)
                | Self::Markup(_)
                | Self::List(_)
                | Self::Tuple(_)
                | Self::Dict(_)
                | Self::View(..)
                | Self::Range(_)
                | Self::Iter(_)
                | Self::Loop(_)
        )
    }
}

/// What every template can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
    RaiseException,
    StrftimeNow,
}

/// Gives its items in turn, without an end.
#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Vec<Value>,
    pub(super) at: Cell<usize>,
}

/// Gives nothing the first time, and then what joins.
#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) separator: Value,
    pub(super) is_used: Cell<bool>,
}

impl Cycler {
    pub(super) fn current(&self) -> Value {
        self.items[self.at.get()].clone()
    }

    pub(super) fn next(&self) -> Value {
        let value = self.current();
        self.at.set((self.at.get() + 1) % self.items.len());
        value
    }
}

impl Joiner {
    pub(super) fn next(&self) -> Value {
        if self.is_used.replace(true) {
            self.separator.clone()
        } else {
            Value::str("")
        }
    }
}

/// Names of a block; inner blocks see those of outer ones.
#[derive(Debug, Default)]
pub(super) struct Scope {
    names: RefCell<Vec<(Arc<str>, Value)>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    pub(super) fn inside(parent: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self {
            names: RefCell::default(),
            parent: Some(parent.clone()),
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(at) = scope {
            let names = at.names.borrow();
            if let Some((_, value)) = names.iter().find(|(own, _)| **own == *name) {
                return Some(value.clone());
            }
            scope = at.parent.as_deref();
        }
        None
    }

    pub(super) fn set(&self, name: &Arc<str>, value: Value) {
        let mut names = self.names.borrow_mut();
        match names.iter_mut().find(|(own, _)| own == name) {
            Some(entry) => entry.1 = value,
            None => names.push((name.clone(), value)),
        }
    }

    /// Forgets all names: a macro holds its scope, and the scope the macro.
    pub(super) fn clear(&self) {
        let names = std::mem::take(&mut *self.names.borrow_mut());
        drop(names);
    }
}

/// A macro, or the body of a call block.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) node: Arc<MacroNode>,
    pub(super) scope: Rc<Scope>,
}

/// What `loop` stands for.
#[derive(Debug)]
pub(super) struct LoopState {
    pub(super) node: Arc<For>,
    /// Where the loop stands, for its filter and for calls of `loop`.
    pub(super) scope: Rc<Scope>,
    pub(super) source: std::vec::IntoIter<Value>,
    /// Items that were looked at ahead.
    pub(super) ahead: VecDeque<Value>,
    /// The number of items where it is known.
    pub(super) length: Option<usize>,
    /// 0 in the first turn.
    pub(super) index0: i128,
    pub(super) before: Option<Value>,
    pub(super) current: Option<Value>,
    pub(super) changed: Option<Vec<Value>>,
    pub(super) depth0: u32,
}

impl LoopState {
    /// A bound of how deep values lie in it.
    pub(super) fn depth(&self) -> u32 {
        self.depth0
    }
}
