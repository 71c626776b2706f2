//! What a form begins each answer with, as a space, is learnt with the answer and is no part of it.

/// A text that comes in pieces, without what it begins with where it begins with that.
#[derive(Debug)]
pub(crate) struct WithoutStart<'a> {
    /// What the text may begin with; empty once that is decided.
    start: &'a str,
    held: String,
}

impl<'a> WithoutStart<'a> {
    pub(crate) fn new(start: &'a str) -> Self {
        Self {
            start,
            held: String::new(),
        }
    }

    /// What can be handed out once this piece has come.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        if let Some(rest) = self.held.strip_prefix(self.start) {
            self.held = rest.to_owned();
        } else if self.start.starts_with(&self.held) {
            return String::new();
        }
        self.start = "";
        std::mem::take(&mut self.held)
    }

    /// What was held back when the text ended.
    pub(crate) fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_start_is_left_out_and_only_once() {
        for (start, pieces, expected) in [
            (" ", &["", " ", " a", " "][..], " a "),
            (" ", &["a", " b"], "a b"),
            ("", &[" a"], " a"),
            ("A: ", &["A", ":", " x", "A: "], "xA: "),
            ("A: ", &["A", "B"], "AB"),
            ("A: ", &["A:"], "A:"),
        ] {
            let mut text = WithoutStart::new(start);
            let mut heard: String = pieces.iter().map(|piece| text.push(piece)).collect();
            heard.push_str(&text.finish());
            assert_eq!(heard, expected, "{start:?} {pieces:?}");
        }
    }
}
