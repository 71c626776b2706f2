//! Text from ids that arrive one at a time, in whole characters.

use super::Tokenizer;

/// Turns ids into text as they come; a character spread over several tokens is held back until it
/// is whole. All pieces together equal [`Tokenizer::decode`] of all ids.
///
/// # Example
/// ```
/// use sinterlm_data::{TextStream, Tokenizer};
/// let tokenizer = Tokenizer::gpt2();
/// let ids = tokenizer.encode("🙂");
/// assert!(ids.len() > 1);
/// let mut stream = TextStream::new(&tokenizer);
/// let pieces: Vec<String> = ids.into_iter().map(|id| stream.push(id)).collect();
/// assert_eq!(pieces.concat(), "🙂");
/// assert_eq!(pieces[0], "");
/// ```
#[derive(Debug, Clone)]
pub struct TextStream {
    tokenizer: Tokenizer,
    /// The ids of the last piece given out, as context, then those held back.
    ids: Vec<u32>,
    /// How many of `ids` were given out.
    given: usize,
}

impl TextStream {
    /// A stream at the start of a text.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            ids: Vec::new(),
            given: 0,
        }
    }

    /// Takes the next id and returns the text that is whole by now, often one word, or nothing.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.held();
        // A decoder writes U+FFFD for bytes that are not, or not yet, a character.
        if text.is_empty() || text.ends_with('\u{fffd}') {
            return String::new();
        }
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        text
    }

    /// The text still held back: incomplete characters, as U+FFFD.
    pub fn finish(self) -> String {
        self.held()
    }

    /// Text of the ids held back. Decoding them alone would lose what a decoder joins to the text
    /// before, such as a leading space, so the last piece is decoded with them and taken off.
    fn held(&self) -> String {
        let before = self.tokenizer.decode(&self.ids[..self.given]);
        let mut text = self.tokenizer.decode(&self.ids);
        text.split_off(text.floor_char_boundary(before.len()))
    }
}
