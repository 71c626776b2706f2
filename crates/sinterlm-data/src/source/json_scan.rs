//! Where a JSON value ends, byte by byte and without reading it. Reading belongs to `json_object`.

/// The brackets and the string that are open at one place of a JSON text.
#[derive(Debug, Default)]
pub(super) struct Scan {
    open: Vec<u8>,
    in_string: bool,
    is_escaped: bool,
    /// The last byte that was no whitespace.
    last: u8,
}

impl Scan {
    /// Whether no bracket and no string is open.
    pub(super) fn is_closed(&self) -> bool {
        self.open.is_empty() && !self.in_string
    }

    /// Whether any byte but whitespace was taken.
    pub(super) fn has_begun(&self) -> bool {
        self.last != 0
    }

    /// Whether a bracket or a string was closed last, and nothing is open.
    pub(super) fn has_ended(&self) -> bool {
        self.is_closed() && matches!(self.last, b'}' | b']' | b'"')
    }

    /// How many of the next bytes only go on with an open string, and need not be taken.
    pub(super) fn plain(&self, bytes: &[u8]) -> usize {
        if !self.in_string || self.is_escaped {
            return 0;
        }
        let end = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
        bytes.iter().position(end).unwrap_or(bytes.len())
    }

    /// Takes the next byte; false where no JSON can go on with it.
    ///
    /// It sees what would make a damaged record swallow those behind it (an open string at the end of
    /// a line, a value where a comma or a key has to be) and leaves all else to the parser.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.last = b'"';
                }
                b'\n' => return false,
                _ => {}
            }
            return true;
        }
        if byte.is_ascii_whitespace() {
            return true;
        }
        let wants_key = self.open.last() == Some(&b'{') && matches!(self.last, b'{' | b',');
        let may_open = self.open.is_empty() || matches!(self.last, b'{' | b'[' | b',' | b':');
        let fits = match byte {
            b'{' | b'[' => {
                self.open.push(byte);
                may_open && !wants_key
            }
            b'"' => {
                self.in_string = true;
                may_open
            }
            b'}' => self.open.pop() == Some(b'{'),
            b']' => self.open.pop() == Some(b'['),
            _ => !wants_key,
        };
        self.last = byte;
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes taken until the value ends or cannot go on, and which of them it is.
    fn ends(text: &str) -> (usize, bool) {
        let mut scan = Scan::default();
        for (at, byte) in text.bytes().enumerate() {
            if !scan.take(byte) {
                return (at + 1, false);
            }
            if scan.has_ended() {
                return (at + 1, true);
            }
        }
        (text.len(), false)
    }

    #[test]
    fn a_value_ends_with_its_last_bracket() {
        for text in [
            r#"{"a": "}\"]", "b": [1, {"c": []}], "d": {}}"#,
            "[\n 1,\r\n {\"a\":\n\"b\"}\n]",
            r#""a\\""#,
            "{}",
        ] {
            assert_eq!(ends(&format!("{text} , x")), (text.len(), true), "{text}");
        }
    }

    #[test]
    fn a_damaged_value_does_not_reach_into_the_next_line() {
        for text in [
            "{\"a\": \"b",
            "{\"a\": \"b\"",
            "{\"a\": \"b\",",
            "{\"a\": 1",
            "{\"a\": [1, 2",
            "{\"a\": {\"b\": true}",
        ] {
            let (taken, is_whole) = ends(&format!("{text}\n{{\"a\": \"c\"}}\n"));
            assert!(!is_whole && taken <= text.len() + 2, "{text}: {taken}");
        }
    }
}
