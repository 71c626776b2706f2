//! The parser's place among the tokens, and what it keeps in mind for checks.

use std::sync::Arc;

use super::fault::Fault;
use super::token::{Token, describe};

/// How deep statements and expressions may lie in each other.
const MAX_NESTING: u32 = 150;

/// Names that a macro's body asks for without having assigned them.
#[derive(Default)]
pub(super) struct Reads {
    pub(super) caller: bool,
    pub(super) kwargs: bool,
    pub(super) varargs: bool,
    assigned: Vec<String>,
}

pub(super) struct Parser {
    tokens: Vec<(u32, Token)>,
    at: usize,
    nesting: u32,
    /// Whether `break` and `continue` have a loop, function by function.
    pub(super) loops: Vec<u32>,
    pub(super) macros: Vec<Reads>,
    /// Filters and tests that Jinja does not have and that are met without a condition.
    pub(super) unknown: Vec<Fault>,
    /// Those that no condition around them excuses.
    pub(super) missing: Vec<Fault>,
    /// Whether `{% generation %}` was met.
    pub(super) has_marks: bool,
}

impl Parser {
    pub(super) fn new(tokens: Vec<(u32, Token)>) -> Self {
        Self {
            tokens,
            at: 0,
            nesting: 0,
            loops: vec![0],
            macros: Vec::new(),
            unknown: Vec::new(),
            missing: Vec::new(),
            has_marks: false,
        }
    }

    pub(super) fn token(&self) -> &Token {
        &self.tokens[self.at].1
    }

    pub(super) fn next_token(&self) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + 1).min(last)].1
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens[self.at].0
    }

    pub(super) fn fault(&self, text: impl Into<String>) -> Fault {
        Fault::at(self.line(), text)
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token(), Token::Sign(own) if *own == sign)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.token(), Token::Name(own) if own == word)
    }

    pub(super) fn skip_sign(&mut self, sign: &str) -> bool {
        let is = self.is_sign(sign);
        if is {
            self.advance();
        }
        is
    }

    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        if is {
            self.advance();
        }
        is
    }

    pub(super) fn expect_sign(&mut self, sign: &str) -> Result<(), Fault> {
        if self.skip_sign(sign) {
            return Ok(());
        }
        Err(self.expected(&format!("'{sign}'")))
    }

    pub(super) fn expected(&self, what: &str) -> Fault {
        self.fault(format!("expected {what}, got {}", describe(self.token())))
    }

    pub(super) fn expect_name(&mut self) -> Result<Arc<str>, Fault> {
        let Token::Name(name) = self.token() else {
            return Err(self.expected("a name"));
        };
        let name = name.as_str().into();
        self.advance();
        Ok(name)
    }

    /// Goes one level down, up to a limit.
    pub(super) fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.nesting >= MAX_NESTING {
            return Err(self.fault("the template is nested too deeply"));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// A name that is read.
    pub(super) fn note_read(&mut self, name: &str) {
        for reads in &mut self.macros {
            if reads.assigned.iter().any(|own| own == name) {
                continue;
            }
            match name {
                "caller" => reads.caller = true,
                "kwargs" => reads.kwargs = true,
                "varargs" => reads.varargs = true,
                _ => {}
            }
        }
    }

    pub(super) fn note_assigned(&mut self, name: &str) {
        if matches!(name, "caller" | "kwargs" | "varargs") {
            for reads in &mut self.macros {
                reads.assigned.push(name.to_owned());
            }
        }
    }

    /// Unknown filters since `from` are faults whatever conditions are around.
    pub(super) fn inner_frame(&mut self, from: usize) {
        let found = self.unknown.drain(from..);
        self.missing.extend(found);
    }
}
