//! A parsed template.

use std::sync::Arc;

use super::fault::Fault;

/// Nodes on the longest way down a tree.
const MAX_DEPTH: u32 = 400;

#[derive(Clone, Debug)]
pub(super) enum Constant {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

impl BinaryOp {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "//",
            Self::Mod => "%",
            Self::Pow => "** or pow()",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// Arguments as they are written.
#[derive(Debug, Default)]
pub(super) struct ArgNodes {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    pub(super) star: Option<Expr>,
    pub(super) stars: Option<Expr>,
}

#[derive(Debug)]
pub(super) struct Expr {
    pub(super) line: u32,
    /// Nodes on the longest way down, which the parser limits: walks and drops are recursive.
    pub(super) depth: u32,
    pub(super) kind: Box<ExprKind>,
}

#[derive(Debug)]
pub(super) enum ExprKind {
    Constant(Constant),
    Name(Arc<str>),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attr(Expr, Arc<str>),
    Item(Expr, Expr),
    Slice([Option<Expr>; 3]),
    Call(Expr, ArgNodes),
    /// No input inside of a filter block.
    Filter(Option<Expr>, Arc<str>, ArgNodes),
    Test(Expr, Arc<str>, ArgNodes),
    Not(Expr),
    Neg(Expr),
    Pos(Expr),
    And(Expr, Expr),
    Or(Expr, Expr),
    Binary(BinaryOp, Expr, Expr),
    Concat(Vec<Expr>),
    Compare(Expr, Vec<(CompareOp, Expr)>),
    /// Test, value, and the value behind `else`.
    Condition(Expr, Expr, Option<Expr>),
}

/// What a value is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Tuple(Vec<Target>),
    /// An attribute of a namespace.
    Attr(Arc<str>, Arc<str>),
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterable: Expr,
    pub(super) test: Option<Expr>,
    pub(super) is_recursive: bool,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Option<Vec<Stmt>>,
}

/// Names of parameters with their defaults.
pub(super) type Params = Vec<(Arc<str>, Option<Expr>)>;

/// A macro, or the body of a call block, which has no name.
#[derive(Debug)]
pub(super) struct MacroNode {
    pub(super) name: Option<Arc<str>>,
    pub(super) params: Params,
    pub(super) body: Vec<Stmt>,
    pub(super) reads_caller: bool,
    pub(super) reads_kwargs: bool,
    pub(super) reads_varargs: bool,
}

#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) line: u32,
    pub(super) kind: StmtKind,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    Text(String),
    Print(Expr),
    For(Arc<For>),
    /// Tests with their bodies, and what is done where none holds.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    Set(Target, Expr),
    /// The filter's chain ends in one without an input.
    SetBlock(Target, Option<Expr>, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    Macro(Arc<MacroNode>),
    /// The call and what `caller` stands for in it.
    Call(Expr, Arc<MacroNode>),
    FilterBlock(Expr, Vec<Stmt>),
    /// A block with names of its own.
    Block(Vec<Stmt>),
    /// `{% generation %}`: what the model writes.
    Generation(Vec<Stmt>),
    Break,
    Continue,
}

/// A node above children of which the deepest has `below` levels.
pub(super) fn branch(line: u32, kind: ExprKind, below: u32) -> Result<Expr, Fault> {
    if below >= MAX_DEPTH {
        return Err(Fault::at(line, "the expression is nested too deeply"));
    }
    Ok(Expr {
        line,
        depth: below + 1,
        kind: Box::new(kind),
    })
}

/// Levels of the deepest of some nodes.
pub(super) fn deepest<'a>(nodes: impl IntoIterator<Item = &'a Expr>) -> u32 {
    nodes.into_iter().map(|node| node.depth).max().unwrap_or(0)
}
