//! Text from ids that arrive one at a time: in whole characters, up to a stop string.

use super::Tokenizer;
use super::held::{Held, Stop};

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
    stops: Vec<Stop>,
    /// Whole characters that may begin a stop string.
    held: Held,
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
            held: Held::default(),
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
    ///
    /// A string that holds the name of a special token ends the text at that token, too, also where
    /// [`skip_special`](Self::skip_special) lets the token leave no text.
    #[must_use]
    pub fn with_stops<S: AsRef<str>>(mut self, stops: &[S]) -> Self {
        let stops = stops.iter().map(AsRef::as_ref);
        let stops = stops.filter(|stop| !stop.is_empty());
        self.stops = stops
            .map(|stop| Stop {
                text: stop.to_owned(),
                names_special: self
                    .tokenizer
                    .special_names()
                    .any(|name| stop.contains(name)),
            })
            .collect();
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
        self.stopped.map(|stop| self.stops[stop].text.as_str())
    }

    /// Takes the next id and returns the text that is whole by now, often one word, or nothing.
    pub fn push(&mut self, id: u32) -> String {
        if self.skip_special
            && let Some(name) = self.tokenizer.special_name(id)
        {
            if !self.stops.iter().any(|stop| stop.names_special) {
                return String::new();
            }
            self.held.push_hidden(name);
            return self.up_to_a_stop("", false);
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
        self.held.push(text);
        if let Some((at, stop)) = self.held.find(&self.stops) {
            self.stopped = Some(stop);
            let text = self.held.take(at);
            self.held = Held::default();
            return text;
        }
        let until = if end {
            self.held.len()
        } else {
            self.held.beginning_of_a_stop(&self.stops)
        };
        self.held.take(until)
    }

    /// Text of the ids held back. Decoding them alone would lose what a decoder joins to the text
    /// before, such as a leading space, so the last piece is decoded with them and taken off.
    fn undelivered(&self) -> String {
        let before = self.tokenizer.decode(&self.ids[..self.given]);
        let mut text = self.tokenizer.decode(&self.ids);
        text.split_off(text.floor_char_boundary(before.len()))
    }
}
