//! Names and their values while a template runs: scopes, macros with the scope they were defined in,
//! the state of a loop.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, MacroNode};
use super::value::Value;

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
