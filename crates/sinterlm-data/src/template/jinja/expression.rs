//! Expressions: from tokens to an [`Expr`] tree, with Jinja's precedences, which differ from
//! Python's: `~` binds tighter than `+`, and `**` groups from the left.

use std::sync::Arc;

use super::ast::{ArgNodes, BinaryOp, CompareOp, Constant, Expr, ExprKind, branch, deepest};
use super::checks::TESTS;
use super::cursor::Parser;
use super::fault::Fault;
use super::filters::FILTERS;
use super::token::{Token, describe};

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr, Fault> {
        self.nested(Self::conditional)
    }

    fn conditional(&mut self) -> Result<Expr, Fault> {
        let (mut line, from) = (self.line(), self.unknown.len());
        let mut value = self.or()?;
        while self.skip_word("if") {
            let test = self.or()?;
            let other = if self.skip_word("else") {
                Some(self.expression()?)
            } else {
                None
            };
            let below = deepest([&value, &test]).max(other.as_ref().map_or(0, |e| e.depth));
            value = branch(line, ExprKind::Condition(test, value, other), below)?;
            line = self.line();
            self.unknown.truncate(from);
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        let mut left = self.and()?;
        while self.skip_word("or") {
            let right = self.and()?;
            let below = deepest([&left, &right]);
            left = branch(left.line, ExprKind::Or(left, right), below)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        let mut left = self.not()?;
        while self.skip_word("and") {
            let right = self.not()?;
            let below = deepest([&left, &right]);
            left = branch(left.line, ExprKind::And(left, right), below)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Fault> {
        let line = self.line();
        if self.skip_word("not") {
            let inner = self.nested(Self::not)?;
            let below = inner.depth;
            return branch(line, ExprKind::Not(inner), below);
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr, Fault> {
        let first = self.sum()?;
        let mut others = Vec::new();
        loop {
            let op = match self.token() {
                Token::Sign("==") => CompareOp::Eq,
                Token::Sign("!=") => CompareOp::Ne,
                Token::Sign("<") => CompareOp::Lt,
                Token::Sign("<=") => CompareOp::Le,
                Token::Sign(">") => CompareOp::Gt,
                Token::Sign(">=") => CompareOp::Ge,
                Token::Name(word) if word == "in" => CompareOp::In,
                Token::Name(word)
                    if word == "not"
                        && matches!(self.next_token(), Token::Name(n) if n == "in") =>
                {
                    self.advance();
                    CompareOp::NotIn
                }
                _ => break,
            };
            self.advance();
            others.push((op, self.sum()?));
        }
        if others.is_empty() {
            return Ok(first);
        }
        let below = others
            .iter()
            .map(|(_, e)| e.depth)
            .max()
            .unwrap_or(0)
            .max(first.depth);
        branch(first.line, ExprKind::Compare(first, others), below)
    }

    fn sum(&mut self) -> Result<Expr, Fault> {
        self.binary(Self::concat, &[("+", BinaryOp::Add), ("-", BinaryOp::Sub)])
    }

    fn concat(&mut self) -> Result<Expr, Fault> {
        let first = self.product()?;
        if !self.is_sign("~") {
            return Ok(first);
        }
        let line = first.line;
        let mut parts = vec![first];
        while self.skip_sign("~") {
            parts.push(self.product()?);
        }
        let below = deepest(&parts);
        branch(line, ExprKind::Concat(parts), below)
    }

    fn product(&mut self) -> Result<Expr, Fault> {
        let ops = [
            ("*", BinaryOp::Mul),
            ("/", BinaryOp::Div),
            ("//", BinaryOp::FloorDiv),
            ("%", BinaryOp::Mod),
        ];
        self.binary(Self::power, &ops)
    }

    fn power(&mut self) -> Result<Expr, Fault> {
        self.binary(|parser| parser.unary(true), &[("**", BinaryOp::Pow)])
    }

    fn binary(
        &mut self,
        operand: impl Fn(&mut Self) -> Result<Expr, Fault>,
        ops: &[(&str, BinaryOp)],
    ) -> Result<Expr, Fault> {
        let mut left = operand(self)?;
        while let Some((_, op)) = ops.iter().find(|(sign, _)| self.is_sign(sign)) {
            self.advance();
            let right = operand(self)?;
            let below = deepest([&left, &right]);
            left = branch(left.line, ExprKind::Binary(*op, left, right), below)?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expr, Fault> {
        let line = self.line();
        let node = if self.skip_sign("-") {
            let inner = self.nested(|parser| parser.unary(false))?;
            let below = inner.depth;
            branch(line, ExprKind::Neg(inner), below)?
        } else if self.skip_sign("+") {
            let inner = self.nested(|parser| parser.unary(false))?;
            let below = inner.depth;
            branch(line, ExprKind::Pos(inner), below)?
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filters {
            self.filters_and_tests(node)
        } else {
            Ok(node)
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let line = self.line();
        let constant = match self.token().clone() {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Constant::Bool(true),
                "false" | "False" => Constant::Bool(false),
                "none" | "None" => Constant::None,
                _ => {
                    self.advance();
                    self.note_read(&name);
                    return branch(line, ExprKind::Name(name.into()), 0);
                }
            },
            Token::Str(mut text) => {
                while let Token::Str(more) = self.next_token() {
                    text.push_str(more);
                    self.advance();
                }
                Constant::Str(text.into())
            }
            Token::Int(value) => Constant::Int(value),
            Token::Float(value) => Constant::Float(value),
            Token::Sign("(") => {
                self.advance();
                let inner = self.parenthesised()?;
                self.expect_sign(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                self.advance();
                let items = self.items("]", Self::expression)?;
                let below = deepest(&items);
                return branch(line, ExprKind::List(items), below);
            }
            Token::Sign("{") => {
                self.advance();
                let entries = self.items("}", |parser| {
                    let key = parser.expression()?;
                    parser.expect_sign(":")?;
                    Ok((key, parser.expression()?))
                })?;
                let below = entries
                    .iter()
                    .map(|(k, v)| deepest([k, v]))
                    .max()
                    .unwrap_or(0);
                return branch(line, ExprKind::Dict(entries), below);
            }
            other => return Err(self.fault(format!("unexpected {}", describe(&other)))),
        };
        self.advance();
        branch(line, ExprKind::Constant(constant), 0)
    }

    /// Items with commas up to a closing sign, which is consumed.
    fn items<T>(
        &mut self,
        end: &str,
        item: impl Fn(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut items = Vec::new();
        while !self.is_sign(end) {
            if !items.is_empty() {
                self.expect_sign(",")?;
            }
            if self.is_sign(end) {
                break;
            }
            items.push(item(self)?);
        }
        self.expect_sign(end)?;
        Ok(items)
    }

    fn parenthesised(&mut self) -> Result<Expr, Fault> {
        if self.is_sign(")") {
            return branch(self.line(), ExprKind::Tuple(Vec::new()), 0);
        }
        self.tuple(true, &[])
    }

    /// An expression, or several with commas; `ends` are words that may follow the last comma.
    pub(super) fn tuple(&mut self, conditions: bool, ends: &[&str]) -> Result<Expr, Fault> {
        let line = self.line();
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = matches!(self.token(), Token::BlockEnd | Token::VariableEnd)
                || self.is_sign(")")
                || ends.iter().any(|end| self.is_word(end));
            if at_end {
                break;
            }
            items.push(if conditions {
                self.expression()?
            } else {
                self.nested(Self::or)?
            });
            if !self.skip_sign(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            let one = items.pop();
            return one.ok_or_else(|| {
                self.fault(format!(
                    "expected an expression, got {}",
                    describe(self.token())
                ))
            });
        }
        let below = deepest(&items);
        branch(line, ExprKind::Tuple(items), below)
    }

    fn postfix(&mut self, mut node: Expr) -> Result<Expr, Fault> {
        loop {
            node = if self.is_sign(".") || self.is_sign("[") {
                self.subscript(node)?
            } else if self.is_sign("(") {
                self.call(node)?
            } else {
                return Ok(node);
            };
        }
    }

    fn filters_and_tests(&mut self, mut node: Expr) -> Result<Expr, Fault> {
        loop {
            node = if self.is_sign("|") {
                self.filters(Some(node), false)?.expect("it has an input")
            } else if self.is_word("is") {
                self.test(node)?
            } else if self.is_sign("(") {
                self.call(node)?
            } else {
                return Ok(node);
            };
        }
    }

    fn subscript(&mut self, node: Expr) -> Result<Expr, Fault> {
        let line = self.line();
        if self.skip_sign(".") {
            let below = node.depth;
            if let Token::Int(index) = *self.token() {
                self.advance();
                let index = branch(line, ExprKind::Constant(Constant::Int(index)), 0)?;
                return branch(line, ExprKind::Item(node, index), below);
            }
            let name = self.expect_name()?;
            return branch(line, ExprKind::Attr(node, name), below);
        }
        self.expect_sign("[")?;
        let mut keys = Vec::new();
        while !self.is_sign("]") {
            if !keys.is_empty() {
                self.expect_sign(",")?;
            }
            keys.push(self.subscribed()?);
        }
        self.expect_sign("]")?;
        let key = if keys.len() == 1 {
            keys.remove(0)
        } else {
            let below = deepest(&keys);
            branch(line, ExprKind::Tuple(keys), below)?
        };
        let below = deepest([&node, &key]);
        branch(line, ExprKind::Item(node, key), below)
    }

    /// A key or a slice.
    fn subscribed(&mut self) -> Result<Expr, Fault> {
        let line = self.line();
        let mut parts = [None, None, None];
        if !self.is_sign(":") {
            let key = self.expression()?;
            if !self.is_sign(":") {
                return Ok(key);
            }
            parts[0] = Some(key);
        }
        self.expect_sign(":")?;
        let is_end = |parser: &Self| parser.is_sign("]") || parser.is_sign(",");
        if !self.is_sign(":") && !is_end(self) {
            parts[1] = Some(self.expression()?);
        }
        if self.skip_sign(":") && !is_end(self) {
            parts[2] = Some(self.expression()?);
        }
        let below = deepest(parts.iter().flatten());
        branch(line, ExprKind::Slice(parts), below)
    }

    fn call(&mut self, callee: Expr) -> Result<Expr, Fault> {
        let line = self.line();
        let (args, below) = self.args()?;
        let below = below.max(callee.depth);
        branch(line, ExprKind::Call(callee, args), below)
    }

    fn args(&mut self) -> Result<(ArgNodes, u32), Fault> {
        self.expect_sign("(")?;
        let mut args = ArgNodes::default();
        let (mut below, mut is_first) = (0, true);
        while !self.is_sign(")") {
            if !is_first {
                self.expect_sign(",")?;
                if self.is_sign(")") {
                    break;
                }
            }
            is_first = false;
            let starred = args.star.is_some() || args.stars.is_some();
            let is_named =
                matches!(self.token(), Token::Name(_)) && *self.next_token() == Token::Sign("=");
            let allowed = if self.is_sign("*") {
                !starred
            } else if self.is_sign("**") || is_named {
                args.stars.is_none()
            } else {
                !starred && args.named.is_empty()
            };
            if !allowed {
                return Err(self.fault("invalid syntax for function call expression"));
            }
            let value = if self.skip_sign("*") {
                args.star.insert(self.expression()?)
            } else if self.skip_sign("**") {
                args.stars.insert(self.expression()?)
            } else if is_named {
                let name: Arc<str> = self.expect_name()?;
                self.advance();
                if args.named.iter().any(|(own, _)| *own == name) {
                    return Err(self.fault(format!("keyword argument repeated: {name}")));
                }
                args.named.push((name, self.expression()?));
                &args.named.last().expect("pushed above").1
            } else {
                args.positional.push(self.expression()?);
                args.positional.last().expect("pushed above")
            };
            below = below.max(value.depth);
        }
        self.expect_sign(")")?;
        Ok((args, below))
    }

    /// A chain of filters; with `inline` the first stands without its sign.
    pub(super) fn filters(
        &mut self,
        mut node: Option<Expr>,
        mut inline: bool,
    ) -> Result<Option<Expr>, Fault> {
        while inline || self.is_sign("|") {
            if !inline {
                self.advance();
            }
            inline = false;
            let line = self.line();
            let name = self.dotted_name()?;
            if !FILTERS.contains(&&*name) {
                self.unknown
                    .push(Fault::at(line, format!("no filter named '{name}'")));
            }
            let (args, below) = self.optional_args()?;
            let below = below.max(node.as_ref().map_or(0, |n| n.depth));
            node = Some(branch(line, ExprKind::Filter(node, name, args), below)?);
        }
        Ok(node)
    }

    fn optional_args(&mut self) -> Result<(ArgNodes, u32), Fault> {
        if self.is_sign("(") {
            self.args()
        } else {
            Ok((ArgNodes::default(), 0))
        }
    }

    fn dotted_name(&mut self) -> Result<Arc<str>, Fault> {
        let mut name = self.expect_name()?.to_string();
        while self.skip_sign(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name.into())
    }

    fn test(&mut self, node: Expr) -> Result<Expr, Fault> {
        let line = self.line();
        self.advance();
        let negated = self.skip_word("not");
        let name = self.dotted_name()?;
        if !TESTS.contains(&&*name) {
            self.unknown
                .push(Fault::at(line, format!("no test named '{name}'")));
        }
        let takes_value = match self.token() {
            Token::Name(word) => !matches!(word.as_str(), "else" | "or" | "and"),
            Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Sign("[" | "{") => true,
            _ => false,
        };
        let (args, below) = if self.is_sign("(") {
            self.args()?
        } else if takes_value {
            if self.is_word("is") {
                return Err(self.fault("you cannot chain multiple tests with is"));
            }
            let value = self.primary()?;
            let value = self.postfix(value)?;
            let below = value.depth;
            let args = ArgNodes {
                positional: vec![value],
                ..ArgNodes::default()
            };
            (args, below)
        } else {
            (ArgNodes::default(), 0)
        };
        let below = below.max(node.depth);
        let test = branch(line, ExprKind::Test(node, name, args), below)?;
        if negated {
            let below = test.depth;
            return branch(line, ExprKind::Not(test), below);
        }
        Ok(test)
    }
}
