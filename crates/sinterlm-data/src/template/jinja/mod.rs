//! Jinja as `transformers` runs it: the language of Jinja 3.1 with the values of Python, in the
//! sandbox where nothing but a namespace can be changed.
//!
//! What Python prints, compares or refuses decides what a model reads, down to the quotes of a list in
//! a text. So values here are Python's, and what cannot be rendered alike is a [`Fault`].

mod arguments;
mod ast;
mod braces;
mod characters;
mod checks;
mod compare;
mod cursor;
mod evaluate;
mod expression;
mod fault;
mod filters;
mod functions;
mod json;
mod lexer;
mod literals;
mod loops;
mod machine;
mod methods;
mod numbers;
mod operators;
mod parser;
mod percent;
mod pieces;
mod print;
mod sequences;
mod spec;
mod strings;
mod texts;
mod token;
mod value;

use std::rc::Rc;

use super::fields::Json;
use ast::Stmt;
pub(super) use fault::Fault;
use machine::Machine;
pub(super) use machine::Marked;
use value::{Dict, Scope, Value};

/// A template that was read.
#[derive(Debug)]
pub(super) struct Program {
    body: Vec<Stmt>,
    /// Whether `{% generation %}` stands in it.
    pub(super) has_marks: bool,
}

impl Program {
    pub(super) fn parse(source: &str) -> Result<Self, Fault> {
        let (body, has_marks) = parser::parse(source)?;
        Ok(Self { body, has_marks })
    }

    /// The text with these variables; `unix_seconds` is what `strftime_now` tells.
    pub(super) fn render<'a>(
        &self,
        variables: impl IntoIterator<Item = (&'a str, Json)>,
        unix_seconds: Option<u64>,
    ) -> Result<Marked, Fault> {
        let root = Rc::new(Scope::default());
        for (name, json) in variables {
            root.set(&name.into(), value_of(json)?);
        }
        Machine::render(&self.body, &root, unix_seconds)
    }
}

fn value_of(json: Json) -> Result<Value, Fault> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(value),
        Json::Int(value) => Value::Int(value),
        Json::Float(value) => Value::Float(value),
        Json::Text(text) => Value::str(text),
        Json::List(items) => {
            let items = items.into_iter().map(value_of).collect::<Result<_, _>>()?;
            Value::list(items)?
        }
        Json::Map(map) => {
            let mut dict = Dict::default();
            for (key, value) in map {
                dict.insert(Value::str(key), value_of(value)?)?;
            }
            Value::dict(dict)
        }
    })
}
