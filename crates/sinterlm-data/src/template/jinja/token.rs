//! The tokens of a template.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Sign(&'static str),
    End,
}

/// A token as an error names it.
pub(super) fn describe(token: &Token) -> String {
    match token {
        Token::Data(_) => "text".to_owned(),
        Token::VariableBegin => "begin of print statement".to_owned(),
        Token::VariableEnd => "end of print statement".to_owned(),
        Token::BlockBegin => "begin of statement block".to_owned(),
        Token::BlockEnd => "end of statement block".to_owned(),
        Token::Name(name) => format!("'{name}'"),
        Token::Str(text) => format!("the string {text:?}"),
        Token::Int(value) => format!("'{value}'"),
        Token::Float(value) => format!("'{value}'"),
        Token::Sign(sign) => format!("'{sign}'"),
        Token::End => "end of template".to_owned(),
    }
}
