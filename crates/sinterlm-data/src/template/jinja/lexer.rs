//! From a template's source to tokens, with Jinja's rules for white space around tags
//! (`trim_blocks` and `lstrip_blocks` are on, as `transformers` has them).

use super::characters::is_space;
use super::fault::Fault;
use super::literals;
use super::token::Token;

/// Longer signs first.
const SIGNS: [&str; 25] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",",
];

/// The tokens of a template, each with its line.
pub(super) fn tokenize(source: &str) -> Result<Vec<(u32, Token)>, Fault> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer {
        source: &source,
        at: 0,
        line: 1,
        starts_line: true,
        tokens: Vec::new(),
    };
    lexer.run()?;
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: u32,
    /// Whether what was read last ended a line.
    starts_line: bool,
    tokens: Vec<(u32, Token)>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((self.line, token));
    }

    fn fault(&self, text: impl Into<String>) -> Fault {
        Fault::at(self.line, text)
    }

    fn advance(&mut self, bytes: usize) {
        let read = &self.source[self.at..self.at + bytes];
        self.line += read.matches('\n').count() as u32;
        self.starts_line = read.ends_with('\n');
        self.at += bytes;
    }

    fn run(&mut self) -> Result<(), Fault> {
        while !self.rest().is_empty() {
            let rest = self.rest();
            let tags = rest.match_indices('{');
            let mut tags = tags
                .map(|(at, _)| at)
                .filter(|at| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
            let Some(tag) = tags.next() else {
                self.data(rest);
                self.advance(rest.len());
                return Ok(());
            };
            let kind = rest.as_bytes()[tag + 1];
            let sign = sign_of(&rest[tag + 2..]);
            self.text_before(&rest[..tag], sign, kind == b'{');
            self.advance_text(tag);
            if kind == b'%'
                && let Some(len) = raw_tag(self.rest(), "raw", false)
            {
                self.advance(len);
                self.raw()?;
                continue;
            }
            self.advance(2 + usize::from(sign.is_some()));
            match kind {
                b'#' => self.comment()?,
                b'%' => {
                    self.push(Token::BlockBegin);
                    self.inside(true)?;
                }
                _ => {
                    self.push(Token::VariableBegin);
                    self.inside(false)?;
                }
            }
        }
        Ok(())
    }

    /// Text in front of a tag moves the line, and not whether a tag starts one.
    fn advance_text(&mut self, bytes: usize) {
        let starts_line = self.starts_line;
        self.advance(bytes);
        self.starts_line = starts_line;
    }

    fn data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Data(text.to_owned()));
        }
    }

    fn text_before(&mut self, text: &str, sign: Option<char>, is_variable: bool) {
        let kept = match sign {
            Some('-') => text.trim_end_matches(is_space),
            None if !is_variable => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let indent = &text[line..];
                let blank = !indent.is_empty() && indent.chars().all(is_space);
                if blank && (line > 0 || self.starts_line) {
                    &text[..line]
                } else {
                    text
                }
            }
            _ => text,
        };
        self.data(kept);
    }

    fn raw(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        if rest.is_empty() {
            // Jinja misses the end only where something is left to read.
            return Ok(());
        }
        let mut ends = rest.match_indices("{%").map(|(at, _)| at);
        let end = ends.find_map(|at| raw_tag(&rest[at..], "endraw", true).map(|len| (at, len)));
        let (at, len) = end.ok_or_else(|| self.fault("missing end of raw directive"))?;
        self.text_before(&rest[..at], sign_of(&rest[at + 2..]), false);
        self.advance(at + len);
        Ok(())
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        if rest.is_empty() {
            // Jinja misses the end only where something is left to read.
            return Ok(());
        }
        let end = rest.find("#}");
        let end = end.ok_or_else(|| self.fault("missing end of comment tag"))?;
        let after = &rest[end + 2..];
        let len = match rest[..end].chars().next_back() {
            Some('-') => spaces(after),
            Some('+') => 0,
            _ => usize::from(after.starts_with('\n')),
        };
        self.advance(end + 2 + len);
        Ok(())
    }

    /// The tokens up to the end of a tag.
    fn inside(&mut self, is_block: bool) -> Result<(), Fault> {
        let mut open = Vec::new();
        loop {
            let rest = self.rest();
            if open.is_empty()
                && let Some(len) = tag_end(rest, is_block)
            {
                self.push(if is_block {
                    Token::BlockEnd
                } else {
                    Token::VariableEnd
                });
                self.advance(len);
                return Ok(());
            }
            let Some(first) = rest.chars().next() else {
                // The parser says what it waits for.
                return Ok(());
            };
            if is_space(first) {
                self.advance(spaces(rest));
                continue;
            }
            let (token, len) = self.token(rest, first)?;
            if let Token::Sign(sign) = token {
                balance(&mut open, sign).map_err(|text| self.fault(text))?;
            }
            self.push(token);
            self.advance(len);
        }
    }

    fn token(&self, rest: &str, first: char) -> Result<(Token, usize), Fault> {
        if first.is_ascii_digit() {
            let after_dot = self.source[..self.at].ends_with('.');
            return literals::number(rest, after_dot).map_err(|text| self.fault(text));
        }
        if is_word(first) {
            let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if first.is_numeric() {
                return Err(self.fault("invalid character in identifier"));
            }
            return Ok((Token::Name(rest[..len].to_owned()), len));
        }
        if first == '"' || first == '\'' {
            return literals::string(rest, first).map_err(|text| self.fault(text));
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => Ok((Token::Sign(sign), sign.len())),
            None => Err(self.fault(format!("unexpected char {first:?}"))),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn spaces(text: &str) -> usize {
    text.find(|c| !is_space(c)).unwrap_or(text.len())
}

fn sign_of(text: &str) -> Option<char> {
    text.chars().next().filter(|c| matches!(c, '-' | '+'))
}

/// The length of a tag's end with the white space that it takes along.
fn tag_end(rest: &str, is_block: bool) -> Option<usize> {
    let end = if is_block { "%}" } else { "}}" };
    if let Some(after) = rest
        .strip_prefix('-')
        .and_then(|rest| rest.strip_prefix(end))
    {
        return Some(3 + spaces(after));
    }
    if is_block
        && rest
            .strip_prefix('+')
            .is_some_and(|rest| rest.starts_with(end))
    {
        return Some(3);
    }
    let after = rest.strip_prefix(end)?;
    Some(2 + usize::from(is_block && after.starts_with('\n')))
}

/// The length of `{% raw %}` or `{% endraw %}` where the text begins with it.
fn raw_tag(text: &str, word: &str, is_end: bool) -> Option<usize> {
    let inner = text.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.trim_start_matches(is_space).strip_prefix(word)?;
    let inner = inner.trim_start_matches(is_space);
    // Behind `{% raw %}` a line break stays, and `+` is no end of it.
    let len = match tag_end(inner, true)? {
        _ if !is_end && inner.starts_with('+') => return None,
        _ if !is_end && inner.starts_with("%}") => 2,
        len => len,
    };
    Some(text.len() - inner.len() + len)
}

fn balance(open: &mut Vec<&'static str>, sign: &'static str) -> Result<(), String> {
    let closing = match sign {
        "(" => ")",
        "[" => "]",
        "{" => "}",
        ")" | "]" | "}" => {
            return match open.pop() {
                Some(expected) if expected == sign => Ok(()),
                Some(expected) => Err(format!("unexpected '{sign}', expected '{expected}'")),
                None => Err(format!("unexpected '{sign}'")),
            };
        }
        _ => return Ok(()),
    };
    open.push(closing);
    Ok(())
}
