//! Numbers and strings as they stand in a template.

use std::fmt::Write;

use super::token::Token;

/// A number at the beginning of `text` and its length.
pub(super) fn number(text: &str, after_dot: bool) -> Result<(Token, usize), String> {
    if !after_dot && let Some(len) = float_len(text) {
        let digits = text[..len].replace('_', "");
        let value = digits
            .parse()
            .map_err(|_| format!("`{digits}` is no number"))?;
        return Ok((Token::Float(value), len));
    }
    let bytes = text.as_bytes();
    let radix = match bytes.get(1).map(u8::to_ascii_lowercase) {
        Some(b'b') => 2,
        Some(b'o') => 8,
        Some(b'x') => 16,
        _ => 10,
    };
    if bytes[0] == b'0' && radix != 10 {
        let is_digit = |c: u8| (c as char).is_digit(radix);
        let mut len = 2;
        loop {
            let skip = usize::from(bytes.get(len) == Some(&b'_'));
            if !bytes.get(len + skip).copied().is_some_and(is_digit) {
                break;
            }
            len += skip + 1;
        }
        if len > 2 {
            return whole(&text[2..len], radix).map(|value| (Token::Int(value), len));
        }
    }
    let len = if bytes[0] == b'0' {
        // Zeros alone: Python's numbers do not begin with one.
        run_len(text, |c| c == b'0')
    } else {
        run_len(text, |c| c.is_ascii_digit())
    };
    whole(&text[..len], 10).map(|value| (Token::Int(value), len))
}

fn whole(digits: &str, radix: u32) -> Result<i128, String> {
    let digits = digits.replace('_', "");
    i128::from_str_radix(&digits, radix)
        .map_err(|_| format!("the number {digits} has more than 127 bits, which is not supported"))
}

/// The length of digits with single underscores between them.
fn run_len(text: &str, is_digit: impl Fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes();
    let mut len = 0;
    while len < bytes.len() {
        let skip = usize::from(len > 0 && bytes[len] == b'_');
        if !bytes.get(len + skip).copied().is_some_and(&is_digit) {
            break;
        }
        len += skip + 1;
    }
    len
}

/// The length of a number with a fraction, an exponent or both.
fn float_len(text: &str) -> Option<usize> {
    let digits = |at: usize| Some(run_len(text.get(at..)?, |c| c.is_ascii_digit()));
    let whole = digits(0).filter(|len| *len > 0)?;
    let fraction = if text[whole..].starts_with('.') {
        digits(whole + 1)?
    } else {
        0
    };
    let mantissa = if fraction > 0 {
        whole + 1 + fraction
    } else {
        whole
    };
    let tail = &text[mantissa..];
    if tail.starts_with(['e', 'E']) {
        let sign = usize::from(tail[1..].starts_with(['+', '-']));
        let exponent = digits(mantissa + 1 + sign)?;
        if exponent > 0 {
            return Some(mantissa + 1 + sign + exponent);
        }
    }
    (fraction > 0).then_some(mantissa)
}

/// A string at the beginning of `text` and its length with the quotes.
pub(super) fn string(text: &str, quote: char) -> Result<(Token, usize), String> {
    let mut characters = text.char_indices().skip(1);
    let mut end = None;
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            end = Some(at);
            break;
        }
    }
    let end = end.ok_or_else(|| format!("unexpected char {quote:?}: the string does not end"))?;
    Ok((Token::Str(unescape(&text[1..end])?), end + 1))
}

/// Python's codec `unicode-escape` behind `backslashreplace`, as Jinja applies them.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { break };
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let more = rest
                    .bytes()
                    .take(2)
                    .take_while(|b| matches!(b, b'0'..=b'7'))
                    .count();
                let digits = format!("{c}{}", &rest[..more]);
                rest = &rest[more..];
                let code = u32::from_str_radix(&digits, 8).expect("octal digits");
                out.push(char::from_u32(code).expect("below 512"));
            }
            'x' => out.push(coded(&mut rest, 2, 'x')?),
            'u' => out.push(coded(&mut rest, 4, 'u')?),
            'U' => out.push(coded(&mut rest, 8, 'U')?),
            'N' => {
                return Err(
                    "escapes by the name of a character, \\N{...}, are not supported".into(),
                );
            }
            // Jinja writes other letters as escapes before it reads the escapes.
            c if !c.is_ascii() => {
                out.push('\\');
                let code = c as u32;
                let written = match code {
                    0..0x100 => write!(out, "x{code:02x}"),
                    0x100..0x1_0000 => write!(out, "u{code:04x}"),
                    _ => write!(out, "U{code:08x}"),
                };
                written.expect("a string takes all");
            }
            c => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn coded(rest: &mut &str, len: usize, kind: char) -> Result<char, String> {
    let digits = rest
        .get(..len)
        .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
    let digits = digits.ok_or_else(|| format!("truncated \\{kind} escape in a string"))?;
    *rest = &rest[len..];
    let code = u32::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
    char::from_u32(code).ok_or_else(|| format!("\\{kind}{digits} is no character"))
}
