//! Statements: from tokens to a [`Stmt`] tree, after Jinja's own parser. Expressions are in
//! `expression`.

use std::sync::Arc;

use super::ast::{ExprKind, For, MacroNode, Params, Stmt, StmtKind, Target, branch, deepest};
use super::cursor::{Parser, Reads};
use super::fault::Fault;
use super::lexer::tokenize;
use super::token::Token;

/// Parses a template; also tells whether it marks what the model writes.
pub(super) fn parse(source: &str) -> Result<(Vec<Stmt>, bool), Fault> {
    let mut parser = Parser::new(tokenize(source)?);
    let body = parser.statements(&[])?;
    parser.missing.append(&mut parser.unknown);
    match parser.missing.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok((body, parser.has_marks)),
    }
}

impl Parser {
    /// Statements up to a tag with one of the words, which is not consumed; without words up to the
    /// end.
    fn statements(&mut self, ends: &[&str]) -> Result<Vec<Stmt>, Fault> {
        self.nested(|parser| {
            let mut body = Vec::new();
            loop {
                let line = parser.line();
                let kind = match parser.token().clone() {
                    Token::End if ends.is_empty() => return Ok(body),
                    Token::End => {
                        let ends = ends.join("' or '");
                        return Err(parser
                            .fault(format!("unexpected end of template, looking for '{ends}'")));
                    }
                    Token::Data(text) => {
                        parser.advance();
                        StmtKind::Text(text)
                    }
                    Token::VariableBegin => {
                        parser.advance();
                        let expr = parser.tuple(true, &[])?;
                        if *parser.token() != Token::VariableEnd {
                            return Err(parser.expected("end of print statement"));
                        }
                        parser.advance();
                        StmtKind::Print(expr)
                    }
                    _ => {
                        parser.advance();
                        if let Token::Name(word) = parser.token()
                            && ends.contains(&word.as_str())
                        {
                            return Ok(body);
                        }
                        let kind = parser.statement()?;
                        parser.expect_block_end()?;
                        match kind {
                            Some(kind) => kind,
                            None => continue,
                        }
                    }
                };
                body.push(Stmt { line, kind });
            }
        })
    }

    fn expect_block_end(&mut self) -> Result<(), Fault> {
        if *self.token() != Token::BlockEnd {
            return Err(self.expected("end of statement block"));
        }
        self.advance();
        Ok(())
    }

    /// The body of a tag up to one of the words.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Stmt>, Fault> {
        self.skip_sign(":");
        self.expect_block_end()?;
        self.statements(ends)
    }

    /// A body whose end is consumed, and whose names are its own.
    fn closed_body(&mut self, end: &str) -> Result<Vec<Stmt>, Fault> {
        let from = self.unknown.len();
        let body = self.body(&[end])?;
        self.inner_frame(from);
        self.advance();
        Ok(body)
    }

    /// A tag without its end; none for one that does nothing.
    fn statement(&mut self) -> Result<Option<StmtKind>, Fault> {
        let Token::Name(word) = self.token().clone() else {
            return Err(self.fault("tag name expected"));
        };
        Ok(Some(match word.as_str() {
            "for" => self.for_loop()?,
            "if" => self.condition()?,
            "set" => self.set()?,
            "macro" => self.macro_definition()?,
            "call" => self.call_block()?,
            "filter" => {
                self.advance();
                let filter = self
                    .filters(None, true)?
                    .expect("a filter is parsed inline");
                StmtKind::FilterBlock(filter, self.closed_body("endfilter")?)
            }
            "with" => self.with()?,
            "print" => self.print()?,
            "generation" => {
                self.advance();
                self.loops.push(0);
                let body = self.closed_body("endgeneration")?;
                self.loops.pop();
                self.has_marks = true;
                StmtKind::Generation(body)
            }
            "break" | "continue" => {
                if self.loops.last() == Some(&0) {
                    return Err(self.fault(format!("'{word}' outside of a loop")));
                }
                self.advance();
                if word == "break" {
                    StmtKind::Break
                } else {
                    StmtKind::Continue
                }
            }
            "autoescape" => {
                self.advance();
                if !(self.is_word("false") || self.is_word("False")) {
                    return Err(self.fault("{% autoescape %} is not supported"));
                }
                self.advance();
                StmtKind::Block(self.closed_body("endautoescape")?)
            }
            "block" | "extends" | "include" | "import" | "from" => {
                return Err(
                    self.fault(format!("{{% {word} %}} is not supported in chat templates"))
                );
            }
            _ => return Err(self.fault(format!("encountered unknown tag '{word}'"))),
        }))
    }

    fn for_loop(&mut self) -> Result<StmtKind, Fault> {
        self.advance();
        let target = self.target(&["in"], false)?;
        if names_loop(&target) {
            return Err(self.fault("can't assign to special loop variable in for-loop target"));
        }
        if !self.skip_word("in") {
            return Err(self.expected("'in'"));
        }
        let iterable = self.tuple(false, &["recursive"])?;
        let from = self.unknown.len();
        let test = if self.skip_word("if") {
            Some(self.expression()?)
        } else {
            None
        };
        let is_recursive = self.skip_word("recursive");
        *self.loops.last_mut().expect("a function is open") += 1;
        let body = self.body(&["endfor", "else"]);
        *self.loops.last_mut().expect("a function is open") -= 1;
        let body = body?;
        self.inner_frame(from);
        let is_else = self.is_word("else");
        self.advance();
        let otherwise = if is_else {
            Some(self.closed_body("endfor")?)
        } else {
            None
        };
        Ok(StmtKind::For(Arc::new(For {
            target,
            iterable,
            test,
            is_recursive,
            body,
            otherwise,
        })))
    }

    fn condition(&mut self) -> Result<StmtKind, Fault> {
        let from = self.unknown.len();
        let mut arms = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            self.advance();
            let test = self.tuple(false, &[])?;
            let body = self.body(&["elif", "else", "endif"])?;
            arms.push((test, body));
            if self.is_word("elif") {
                continue;
            }
            let is_else = self.is_word("else");
            self.advance();
            if is_else {
                otherwise = self.body(&["endif"])?;
                self.advance();
            }
            break;
        }
        // Under a condition Jinja misses them only when they are reached.
        self.unknown.truncate(from);
        Ok(StmtKind::If(arms, otherwise))
    }

    fn set(&mut self) -> Result<StmtKind, Fault> {
        self.advance();
        let target = self.target(&[], true)?;
        if self.skip_sign("=") {
            let value = self.tuple(true, &[])?;
            return Ok(StmtKind::Set(target, value));
        }
        let filter = self.filters(None, false)?;
        let body = self.closed_body("endset")?;
        Ok(StmtKind::SetBlock(target, filter, body))
    }

    fn with(&mut self) -> Result<StmtKind, Fault> {
        self.advance();
        let mut values = Vec::new();
        while *self.token() != Token::BlockEnd && !self.is_sign(":") {
            if !values.is_empty() {
                self.expect_sign(",")?;
            }
            // Without a tuple's commas, which part the assignments.
            let target = self.target(&[], false)?;
            self.expect_sign("=")?;
            values.push((target, self.expression()?));
        }
        Ok(StmtKind::With(values, self.closed_body("endwith")?))
    }

    /// `{% print a, b %}`
    fn print(&mut self) -> Result<StmtKind, Fault> {
        self.advance();
        let line = self.line();
        let mut parts = Vec::new();
        while *self.token() != Token::BlockEnd {
            if !parts.is_empty() {
                self.expect_sign(",")?;
            }
            parts.push(self.expression()?);
        }
        // Printed one behind the other, as by `~`.
        let below = deepest(&parts);
        Ok(StmtKind::Print(branch(
            line,
            ExprKind::Concat(parts),
            below,
        )?))
    }

    fn macro_definition(&mut self) -> Result<StmtKind, Fault> {
        self.advance();
        let name = self.expect_name()?;
        self.note_assigned(&name);
        let node = self.macro_node(Some(name), true, |parser| parser.closed_body("endmacro"))?;
        Ok(StmtKind::Macro(Arc::new(node)))
    }

    fn call_block(&mut self) -> Result<StmtKind, Fault> {
        self.advance();
        let mut call = None;
        let has_params = self.is_sign("(");
        let node = self.macro_node(None, has_params, |parser| {
            let called = parser.expression()?;
            if !matches!(*called.kind, ExprKind::Call(..)) {
                return Err(parser.fault("expected call"));
            }
            call = Some(called);
            parser.closed_body("endcall")
        })?;
        let call = call.expect("the call is parsed before the body");
        Ok(StmtKind::Call(call, Arc::new(node)))
    }

    /// Parameters and a body as a function of its own.
    fn macro_node(
        &mut self,
        name: Option<Arc<str>>,
        has_params: bool,
        body: impl FnOnce(&mut Self) -> Result<Vec<Stmt>, Fault>,
    ) -> Result<MacroNode, Fault> {
        self.macros.push(Reads::default());
        self.loops.push(0);
        let params = if has_params {
            self.params()?
        } else {
            Vec::new()
        };
        let parsed = body(self);
        self.loops.pop();
        let reads = self.macros.pop().expect("pushed above");
        let body = parsed?;
        let declared = |name: &str| params.iter().find(|(own, _)| **own == *name);
        if reads.caller && declared("caller").is_some_and(|(_, default)| default.is_none()) {
            return Err(
                self.fault("the special \"caller\" argument must be omitted or be given a default")
            );
        }
        Ok(MacroNode {
            reads_caller: reads.caller,
            reads_kwargs: reads.kwargs && declared("kwargs").is_none(),
            reads_varargs: reads.varargs && declared("varargs").is_none(),
            name,
            params,
            body,
        })
    }

    fn params(&mut self) -> Result<Params, Fault> {
        self.expect_sign("(")?;
        let mut params = Params::new();
        while !self.is_sign(")") {
            if !params.is_empty() {
                self.expect_sign(",")?;
            }
            let name = self.expect_name()?;
            if matches!(
                &*name,
                "true" | "True" | "false" | "False" | "none" | "None"
            ) {
                return Err(self.fault(format!("can't assign to '{name}'")));
            }
            if params.iter().any(|(own, _)| *own == name) {
                return Err(self.fault(format!("duplicate argument '{name}' in a macro")));
            }
            let default = if self.skip_sign("=") {
                Some(self.expression()?)
            } else {
                None
            };
            if default.is_none() && params.last().is_some_and(|(_, last)| last.is_some()) {
                return Err(self.fault("non-default argument follows default argument"));
            }
            params.push((name, default));
        }
        self.expect_sign(")")?;
        Ok(params)
    }

    /// A name, or names with commas; with `attributes` also those of namespaces.
    fn target(&mut self, ends: &[&str], attributes: bool) -> Result<Target, Fault> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = matches!(self.token(), Token::BlockEnd | Token::VariableEnd)
                || self.is_sign(")")
                || ends.iter().any(|end| self.is_word(end));
            if !targets.is_empty() && at_end {
                break;
            }
            targets.push(self.one_target(attributes)?);
            if !self.skip_sign(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            Some(one) if !is_tuple => Ok(one),
            last => {
                targets.extend(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    fn one_target(&mut self, attributes: bool) -> Result<Target, Fault> {
        if self.skip_sign("(") {
            let inner = self.nested(|parser| parser.target(&[], false))?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let name = self.expect_name()?;
        if matches!(
            &*name,
            "true" | "True" | "false" | "False" | "none" | "None"
        ) {
            return Err(self.fault("can't assign to 'const'"));
        }
        if attributes && self.skip_sign(".") {
            self.note_read(&name);
            return Ok(Target::Attr(name, self.expect_name()?));
        }
        self.note_assigned(&name);
        Ok(Target::Name(name))
    }
}

fn names_loop(target: &Target) -> bool {
    match target {
        Target::Name(name) => &**name == "loop",
        Target::Tuple(targets) => targets.iter().any(names_loop),
        Target::Attr(..) => false,
    }
}
