//! Runs a parsed template: statements, scopes and loops. Expressions are in `evaluate`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Args;
use super::ast::{Expr, ExprKind, For, MacroNode, Stmt, StmtKind, Target};
use super::fault::Fault;
use super::print::write_text;
use super::value::{LoopState, Macro, Namespace, Scope, Value};

/// Steps that a template may take: published ones take thousands for a conversation.
const FUEL: u64 = 50_000_000;
/// Bytes of the stack that a template may use; threads have two megabytes.
const STACK: usize = 768 << 10;

/// What a template may still spend.
#[derive(Debug)]
pub(super) struct Budget {
    fuel: u64,
}

impl Budget {
    /// Takes a step that makes so many bytes.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        let cost = 1 + bytes as u64 / 8;
        let left = self.fuel.checked_sub(cost);
        self.fuel = left.ok_or_else(|| {
            Fault::new(format!(
                "the template ran out of fuel, which is {FUEL} steps"
            ))
        })?;
        Ok(())
    }
}

/// A rendered text.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) text: String,
    /// Bytes that `{% generation %}` marked, in the order in which the template ran.
    pub(crate) marks: Vec<Range<usize>>,
}

/// What a loop does after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) struct Machine {
    pub(super) budget: Budget,
    /// The line that runs.
    pub(super) line: u32,
    /// The time that `strftime_now` tells, in seconds since 1970.
    pub(super) unix_seconds: Option<u64>,
    stack_base: usize,
    /// Ranges of the text that `{% generation %}` marked.
    marks: Vec<Range<usize>>,
    /// Bodies that run into a text of their own, which is printed later.
    captures: u32,
    /// Bytes of the whole text in front of what such bodies write. A mark in a macro begins here,
    /// wherever in the macro it stands: so does `transformers`.
    written: usize,
    /// Scopes that macros hold, and namespaces: both can hold themselves, so they are emptied at
    /// the end.
    held: Vec<Rc<Scope>>,
    namespaces: Vec<Rc<Namespace>>,
}

impl Machine {
    /// The text of a template with the variables of a scope, and its marked ranges.
    pub(super) fn render(
        body: &[Stmt],
        root: &Rc<Scope>,
        unix_seconds: Option<u64>,
    ) -> Result<Marked, Fault> {
        let marker = 0_u8;
        let mut machine = Self {
            budget: Budget { fuel: FUEL },
            line: 1,
            unix_seconds,
            stack_base: (&raw const marker).addr(),
            marks: Vec::new(),
            captures: 0,
            written: 0,
            held: vec![root.clone()],
            namespaces: Vec::new(),
        };
        let mut out = String::new();
        let ran = machine.block(body, root, &mut out);
        for scope in machine.held.drain(..) {
            scope.clear();
        }
        for space in machine.namespaces.drain(..) {
            let entries = space.entries.take();
            drop(entries);
        }
        match ran {
            Ok(_) => Ok(Marked {
                text: out,
                marks: machine.marks,
            }),
            Err(fault) => Err(fault.in_line(machine.line)),
        }
    }

    /// Takes a step; recursion ends before the stack does.
    pub(super) fn step(&mut self) -> Result<(), Fault> {
        let marker = 0_u8;
        if self.stack_base.abs_diff((&raw const marker).addr()) > STACK {
            return Err(Fault::new("maximum recursion depth exceeded"));
        }
        self.budget.spend(0)
    }

    pub(super) fn new_namespace(&mut self) -> Rc<Namespace> {
        let space = Rc::new(Namespace::default());
        self.namespaces.push(space.clone());
        space
    }

    pub(super) fn block(
        &mut self,
        body: &[Stmt],
        scope: &Rc<Scope>,
        out: &mut String,
    ) -> Result<Flow, Fault> {
        for stmt in body {
            let flow = self.statement(stmt, scope, out)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// The text of a body that has names of its own.
    fn captured(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Result<String, Fault> {
        let mut out = String::new();
        self.captures += 1;
        self.block(body, &Scope::inside(scope), &mut out)?;
        self.captures -= 1;
        Ok(out)
    }

    fn statement(
        &mut self,
        stmt: &Stmt,
        scope: &Rc<Scope>,
        out: &mut String,
    ) -> Result<Flow, Fault> {
        self.step()?;
        self.line = stmt.line;
        if self.captures == 0 {
            self.written = out.len();
        }
        match &stmt.kind {
            StmtKind::Text(text) => {
                self.budget.spend(text.len())?;
                out.push_str(text);
            }
            StmtKind::Print(expr) => self.print(expr, scope, out)?,
            StmtKind::If(arms, otherwise) => {
                for (test, body) in arms {
                    if self.evaluate(test, scope)?.is_true() {
                        return self.block(body, scope, out);
                    }
                }
                return self.block(otherwise, scope, out);
            }
            StmtKind::For(node) => {
                let iterable = self.evaluate(&node.iterable, scope)?;
                self.run_loop(node, &iterable, scope, 0, out)?;
            }
            StmtKind::Set(target, expr) => {
                let value = self.evaluate(expr, scope)?;
                assign(target, value, scope)?;
            }
            StmtKind::SetBlock(target, filter, body) => {
                let text = Value::str(self.captured(body, scope)?);
                let value = match filter {
                    Some(filter) => self.filter_block(filter, text, scope)?,
                    None => text,
                };
                assign(target, value, scope)?;
            }
            StmtKind::With(values, body) => {
                let inner = Scope::inside(scope);
                for (target, expr) in values {
                    let value = self.evaluate(expr, scope)?;
                    assign(target, value, &inner)?;
                }
                return self.block(body, &inner, out);
            }
            StmtKind::Macro(node) => {
                let name = node.name.clone().expect("a macro has a name");
                let value = self.macro_value(node, scope);
                scope.set(&name, value);
            }
            StmtKind::Call(call, node) => self.call_block(call, node, scope, out)?,
            StmtKind::FilterBlock(filter, body) => {
                let text = Value::str(self.captured(body, scope)?);
                let value = self.filter_block(filter, text, scope)?;
                write_text(out, &value)?;
            }
            StmtKind::Block(body) => return self.block(body, &Scope::inside(scope), out),
            StmtKind::Generation(body) => {
                let begin = if self.captures == 0 {
                    out.len()
                } else {
                    self.written
                };
                let text = self.captured(body, scope)?;
                self.marks.push(begin..begin + text.len());
                out.push_str(&text);
            }
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    #[inline(never)]
    fn print(&mut self, expr: &Expr, scope: &Rc<Scope>, out: &mut String) -> Result<(), Fault> {
        let value = self.evaluate(expr, scope)?;
        let before = out.len();
        write_text(out, &value)?;
        self.budget.spend(out.len() - before)
    }

    fn macro_value(&mut self, node: &Arc<MacroNode>, scope: &Rc<Scope>) -> Value {
        self.held.push(scope.clone());
        Value::Macro(Rc::new(Macro {
            node: node.clone(),
            scope: scope.clone(),
        }))
    }

    #[inline(never)]
    fn call_block(
        &mut self,
        call: &Expr,
        node: &Arc<MacroNode>,
        scope: &Rc<Scope>,
        out: &mut String,
    ) -> Result<(), Fault> {
        let ExprKind::Call(callee, args) = &*call.kind else {
            return Err(Fault::new("expected call"));
        };
        let called = self.evaluate(callee, scope)?;
        let mut args = self.arguments(args, scope)?;
        if args.named.iter().any(|(name, _)| &**name == "caller") {
            return Err(Fault::new("keyword argument repeated: caller"));
        }
        let caller = self.macro_value(node, scope);
        args.named.push(("caller".into(), caller));
        let value = self.call(&called, args)?;
        write_text(out, &value)
    }

    fn filter_block(
        &mut self,
        filter: &Expr,
        text: Value,
        scope: &Rc<Scope>,
    ) -> Result<Value, Fault> {
        let ExprKind::Filter(input, name, args) = &*filter.kind else {
            return Err(Fault::new("expected filter"));
        };
        let input = match input {
            Some(inner) => self.filter_block(inner, text, scope)?,
            None => text,
        };
        let args = self.arguments(args, scope)?;
        self.call_filter(name, input, args)
    }

    /// Runs a loop, as a statement or called again as `loop(...)`.
    pub(super) fn run_loop(
        &mut self,
        node: &Arc<For>,
        iterable: &Value,
        scope: &Rc<Scope>,
        depth0: u32,
        out: &mut String,
    ) -> Result<(), Fault> {
        let items = iterable.items()?;
        self.budget.spend(8 * items.len())?;
        let is_counted = node.test.is_none() && iterable.len().is_some();
        let state = Rc::new(RefCell::new(LoopState {
            node: node.clone(),
            scope: scope.clone(),
            length: is_counted.then_some(items.len()),
            source: items.into_iter(),
            ahead: VecDeque::new(),
            index0: -1,
            before: None,
            current: None,
            changed: None,
            depth0,
        }));
        let name: Arc<str> = "loop".into();
        // As in Python's code for the loop: only a turn that comes to its end counts.
        let mut is_untouched = true;
        loop {
            let ahead = state.borrow_mut().ahead.pop_front();
            let item = match ahead {
                Some(item) => item,
                None => match self.pull(&state)? {
                    Some(item) => item,
                    None => break,
                },
            };
            {
                let mut state = state.borrow_mut();
                state.index0 += 1;
                state.before = state.current.take();
                state.current = Some(item.clone());
            }
            let inner = Scope::inside(scope);
            inner.set(&name, Value::Loop(state.clone()));
            assign(&node.target, item, &inner)?;
            match self.block(&node.body, &inner, out)? {
                Flow::Next => is_untouched = false,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        if let (true, Some(otherwise)) = (is_untouched, &node.otherwise) {
            self.block(otherwise, &Scope::inside(scope), out)?;
        }
        Ok(())
    }

    /// The next item that passes the loop's filter.
    pub(super) fn pull(&mut self, state: &Rc<RefCell<LoopState>>) -> Result<Option<Value>, Fault> {
        loop {
            self.step()?;
            let (item, node, scope) = {
                let mut state = state.borrow_mut();
                let Some(item) = state.source.next() else {
                    return Ok(None);
                };
                (item, state.node.clone(), state.scope.clone())
            };
            let Some(test) = &node.test else {
                return Ok(Some(item));
            };
            let inner = Scope::inside(&scope);
            assign(&node.target, item.clone(), &inner)?;
            if self.evaluate(test, &inner)?.is_true() {
                return Ok(Some(item));
            }
        }
    }

    /// What a macro writes for its arguments.
    pub(super) fn call_macro(&mut self, called: &Macro, args: Args) -> Result<Value, Fault> {
        let node = &called.node;
        let name = node.name.as_deref().unwrap_or("caller");
        let Args {
            positional,
            mut named,
        } = args;
        let scope = Scope::inside(&called.scope);
        let mut given = positional.into_iter();
        let mut has_caller = false;
        let mut missing = Vec::with_capacity(node.params.len());
        for (param, _) in &node.params {
            has_caller |= &**param == "caller";
            let from_name = |named: &mut Vec<(Arc<str>, Value)>| {
                let at = named.iter().position(|(own, _)| own == param)?;
                Some(named.remove(at).1)
            };
            let value = given.next().or_else(|| from_name(&mut named));
            missing.push(value.is_none());
            let none = || Value::undefined(format!("parameter '{param}' was not provided"));
            scope.set(param, value.unwrap_or_else(none));
        }
        // Defaults see the arguments, and no names outside that are spelt like a parameter.
        for ((param, default), is_missing) in node.params.iter().zip(missing) {
            if let (true, Some(default)) = (is_missing, default) {
                let value = self.evaluate(default, &scope)?;
                scope.set(param, value);
            }
        }
        if node.reads_caller && !has_caller {
            let at = named.iter().position(|(own, _)| &**own == "caller");
            let caller = at
                .map(|at| named.remove(at).1)
                .filter(|own| !matches!(own, Value::None));
            let caller = caller.unwrap_or_else(|| Value::undefined("No caller defined"));
            scope.set(&"caller".into(), caller);
        }
        if node.reads_kwargs {
            let mut entries = super::value::Dict::default();
            for (key, value) in named {
                entries.insert(Value::Str(key), value)?;
            }
            scope.set(&"kwargs".into(), Value::dict(entries));
        } else if let Some((key, _)) = named.first() {
            return Err(Fault::new(format!(
                "macro '{name}' takes no keyword argument '{key}'"
            )));
        }
        let more: Vec<Value> = given.collect();
        if node.reads_varargs {
            scope.set(&"varargs".into(), Value::tuple(more)?);
        } else if !more.is_empty() {
            let most = node.params.len();
            return Err(Fault::new(format!(
                "macro '{name}' takes not more than {most} argument(s)"
            )));
        }
        let mut out = String::new();
        let line = self.line;
        self.captures += 1;
        self.block(&node.body, &scope, &mut out)?;
        self.captures -= 1;
        self.line = line;
        Ok(Value::str(out))
    }
}

/// Sets an attribute, which `transformers` forbids for names with an underscore in front.
pub(super) fn set_attribute(space: &Namespace, name: &Arc<str>, value: Value) -> Result<(), Fault> {
    if name.starts_with('_') {
        return Err(Fault::new(format!(
            "chat templates cannot store underscore-prefixed attributes on a namespace, but got '{name}'"
        )));
    }
    let key = Value::Str(name.clone());
    // Asked for before the borrow: a namespace in itself would be read while it is written.
    let mut entries = space.entries.take();
    let inserted = entries.insert(key, value);
    *space.entries.borrow_mut() = entries;
    inserted
}

/// Assigns to a name, to several, or to an attribute of a namespace.
fn assign(target: &Target, value: Value, scope: &Rc<Scope>) -> Result<(), Fault> {
    match target {
        Target::Name(name) => scope.set(name, value),
        Target::Tuple(targets) => {
            if value.is_undefined() || value.is_iterable() {
                let items = value.items()?;
                if items.len() != targets.len() {
                    return Err(Fault::new(format!(
                        "{} values to unpack, expected {}",
                        items.len(),
                        targets.len()
                    )));
                }
                for (target, item) in targets.iter().zip(items) {
                    assign(target, item, scope)?;
                }
            } else {
                let kind = value.type_name();
                return Err(Fault::new(format!(
                    "cannot unpack non-iterable {kind} object"
                )));
            }
        }
        Target::Attr(name, attribute) => {
            let Some(Value::Namespace(space)) = scope.get(name) else {
                return Err(Fault::new(
                    "cannot assign attribute on non-namespace object",
                ));
            };
            set_attribute(&space, attribute, value)?;
        }
    }
    Ok(())
}
