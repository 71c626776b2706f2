//! Text from ids that arrive one at a time: in whole characters, up to a stop string.

use super::Tokenizer;

/// Tokens before a text that are looked at; a character is spread over at most four.
const MAX_CONTEXT: usize = 8;

/// Turns ids into text as they come. A character spread over several tokens is held back until it is
/// whole, and text that may be the beginning of a stop string until that is decided. Without stop
/// strings all pieces together equal [`Tokenizer::decode`] of all ids.
///
/// # Example
/// ```
/// use sinterlm_data::{TextStream, Tokenizer};
/// let tokenizer = Tokenizer::gpt2();
/// let ids = tokenizer.encode("🙂 and so on.\nUser: no");
/// let mut stream = TextStream::new(&tokenizer).with_stops(&["\nUser:"]);
/// let pieces: Vec<String> = ids.into_iter().map(|id| stream.push(id)).collect();
/// assert_eq!(pieces[0], "", "half a character");
/// assert_eq!(pieces.concat(), "🙂 and so on.");
/// assert_eq!(stream.stopped(), Some("\nUser:"));
/// ```
#[derive(Debug, Clone)]
pub struct TextStream {
    tokenizer: Tokenizer,
    /// The ids of the last piece given out, as context, then those held back.
    ids: Vec<u32>,
    /// How many of `ids` were given out.
    given: usize,
    skip_special: bool,
    stops: Vec<String>,
    /// Whole characters that may begin a stop string.
    held: String,
    stopped: Option<usize>,
}

impl TextStream {
    /// A stream at the start of a text.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            ids: Vec::new(),
            given: 0,
            skip_special: false,
            stops: Vec::new(),
            held: String::new(),
            stopped: None,
        }
    }

    /// Continues a text that begins with `ids`, of which nothing is given out: some decoders drop a
    /// space at the start of a text, and the text does not start here.
    #[must_use]
    pub fn after(mut self, ids: &[u32]) -> Self {
        let text = ids.rsplit(|id| self.tokenizer.is_special(*id)).next();
        let text = text.unwrap_or_default();
        // From the last place at which no character is cut.
        let mut tails = (1..=text.len().min(MAX_CONTEXT)).map(|len| &text[text.len() - len..]);
        let whole = |tail: &&[u32]| !self.tokenizer.decode(tail).starts_with('\u{fffd}');
        self.ids = tails.find(whole).unwrap_or_default().to_vec();
        self.given = self.ids.len();
        self
    }

    /// Ends the text before the first of these strings to be complete; empty strings are ignored.
    #[must_use]
    pub fn with_stops<S: AsRef<str>>(mut self, stops: &[S]) -> Self {
        self.stops = stops.iter().map(|stop| stop.as_ref().to_owned()).collect();
        self.stops.retain(|stop| !stop.is_empty());
        self
    }

    /// Special tokens leave no text.
    #[must_use]
    pub fn skip_special(mut self) -> Self {
        self.skip_special = true;
        self
    }

    /// The stop string that ended the text.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.map(|stop| self.stops[stop].as_str())
    }

    /// Takes the next id and returns the text that is whole by now, often one word, or nothing.
    pub fn push(&mut self, id: u32) -> String {
        if self.skip_special && self.tokenizer.is_special(id) {
            return String::new();
        }
        self.ids.push(id);
        let text = self.undelivered();
        // A decoder writes U+FFFD for bytes that are not, or not yet, a character.
        if text.is_empty() || text.ends_with('\u{fffd}') {
            return String::new();
        }
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        self.up_to_a_stop(&text, false)
    }

    /// The text still held back; incomplete characters as U+FFFD.
    pub fn finish(mut self) -> String {
        let text = self.undelivered();
        self.up_to_a_stop(&text, true)
    }

    /// What can be given out after `text` arrived.
    fn up_to_a_stop(&mut self, text: &str, end: bool) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        self.held.push_str(text);
        let places = self.stops.iter().enumerate();
        // The first to be complete, whatever tokens it came in; of several the longest.
        let found = places.filter_map(|(stop, words)| {
            let at = self.held.find(words)?;
            Some((at + words.len(), at, stop))
        });
        if let Some((_, at, stop)) = found.min() {
            self.stopped = Some(stop);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let begins_a_stop = |tail: &str| self.stops.iter().any(|stop| stop.starts_with(tail));
        let mut starts = self.held.char_indices().map(|(at, _)| at);
        let keep_from = starts.find(|&at| !end && begins_a_stop(&self.held[at..]));
        let kept = self.held.split_off(keep_from.unwrap_or(self.held.len()));
        std::mem::replace(&mut self.held, kept)
    }

    /// Text of the ids held back. Decoding them alone would lose what a decoder joins to the text
    /// before, such as a leading space, so the last piece is decoded with them and taken off.
    fn undelivered(&self) -> String {
        let before = self.tokenizer.decode(&self.ids[..self.given]);
        let mut text = self.tokenizer.decode(&self.ids);
        text.split_off(text.floor_char_boundary(before.len()))
    }
}
