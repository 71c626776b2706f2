//! What templates ask of `loop`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Args;
use super::fault::Fault;
use super::machine::Machine;
use super::value::{LoopState, Value};

type State = Rc<RefCell<LoopState>>;

/// `loop.name`
pub(super) fn attribute(
    machine: &mut Machine,
    state: &State,
    name: &Arc<str>,
) -> Result<Option<Value>, Fault> {
    let (index0, depth0) = {
        let state = state.borrow();
        (state.index0, i128::from(state.depth0))
    };
    Ok(Some(match &**name {
        "index0" => Value::Int(index0),
        "index" => Value::Int(index0 + 1),
        "first" => Value::Bool(index0 == 0),
        "depth0" => Value::Int(depth0),
        "depth" => Value::Int(depth0 + 1),
        "last" => Value::Bool(peek(machine, state)?.is_none()),
        "length" => Value::Int(length(machine, state)?),
        "revindex0" => Value::Int(length(machine, state)? - index0 - 1),
        "revindex" => Value::Int(length(machine, state)? - index0),
        "previtem" => {
            let before = state.borrow().before.clone();
            before.unwrap_or_else(|| Value::undefined("there is no previous item"))
        }
        "nextitem" => {
            let next = peek(machine, state)?;
            next.unwrap_or_else(|| Value::undefined("there is no next item"))
        }
        "cycle" | "changed" => Value::Method(Rc::new((Value::Loop(state.clone()), name.clone()))),
        _ => return Ok(None),
    }))
}

/// `loop.cycle(...)` and `loop.changed(...)`
pub(super) fn call(state: &State, name: &str, args: Args) -> Result<Value, Fault> {
    let mut given = args.unnamed(name, 0, usize::MAX)?;
    if name == "cycle" {
        if given.is_empty() {
            return Err(Fault::new("no items for cycling given"));
        }
        let at = state.borrow().index0 % given.len() as i128;
        return Ok(given.swap_remove(at as usize));
    }
    let mut state = state.borrow_mut();
    let is_same = state.changed.as_ref().is_some_and(|last| {
        last.len() == given.len() && last.iter().zip(&given).all(|(a, b)| a.equals(b))
    });
    if !is_same {
        state.changed = Some(given);
    }
    Ok(Value::Bool(!is_same))
}

/// `loop(...)`: the loop again, one level down.
pub(super) fn recurse(machine: &mut Machine, state: &State, args: Args) -> Result<Value, Fault> {
    let (node, scope, depth0) = {
        let state = state.borrow();
        (state.node.clone(), state.scope.clone(), state.depth0)
    };
    if !node.is_recursive {
        return Err(Fault::new(
            "the loop must have the 'recursive' marker to be called recursively",
        ));
    }
    let given = args.unnamed("loop", 1, 1)?;
    let mut out = String::new();
    let line = machine.line;
    machine.run_loop(&node, &given[0], &scope, depth0 + 1, &mut out)?;
    machine.line = line;
    Ok(Value::str(out))
}

/// The item that the next turn gets.
fn peek(machine: &mut Machine, state: &State) -> Result<Option<Value>, Fault> {
    let ahead = state.borrow().ahead.front().cloned();
    if ahead.is_some() {
        return Ok(ahead);
    }
    let next = machine.pull(state)?;
    state.borrow_mut().ahead.extend(next.clone());
    Ok(next)
}

fn length(machine: &mut Machine, state: &State) -> Result<i128, Fault> {
    let known = state.borrow().length;
    if let Some(length) = known {
        return Ok(length as i128);
    }
    while let Some(item) = machine.pull(state)? {
        state.borrow_mut().ahead.push_back(item);
    }
    let mut state = state.borrow_mut();
    let length = state.ahead.len() + state.index0 as usize + 1;
    state.length = Some(length);
    Ok(length as i128)
}
