//! Text that is held back because a stop string may begin in it, and special tokens that leave no text
//! but may be named by one.

use std::ops::Range;

/// A string that ends a text.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) text: String,
    /// Whether it holds the name of a special token. It is looked for with the names of hidden tokens
    /// between the text; others are looked for as if these were not there.
    pub(super) names_special: bool,
}

/// Text, parts of which are hidden: names of special tokens. Places in it count the hidden parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    text: String,
    /// Ascending and apart.
    hidden: Vec<Range<usize>>,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds a special token's name, which [`take`](Self::take) leaves out.
    pub(super) fn push_hidden(&mut self, name: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        self.hidden.push(start..self.text.len());
    }

    /// The stop string that is complete first, of several the longest: its place and its number.
    pub(super) fn find(&self, stops: &[Stop]) -> Option<(usize, usize)> {
        let visible = self.visible(self.text.len());
        let found = stops.iter().enumerate().filter_map(|(number, stop)| {
            let at = if stop.names_special {
                let (at, _) = self.text.match_indices(&stop.text).find(|(at, _)| {
                    let place = *at..at + stop.text.len();
                    // A special token is there as a whole or not at all.
                    let whole = |part: &Range<usize>| {
                        let apart = part.end <= place.start || place.end <= part.start;
                        apart || (place.start <= part.start && part.end <= place.end)
                    };
                    self.hidden.iter().all(whole)
                })?;
                at..at + stop.text.len()
            } else {
                let at = visible.find(&stop.text)?;
                let last = at + stop.text.len() - 1;
                self.place(at)..self.place(last) + 1
            };
            Some((at.end, at.start, number))
        });
        found.min().map(|(_, at, number)| (at, number))
    }

    /// The first place from which all that is there may be the beginning of a stop string; the end where
    /// there is none.
    pub(super) fn beginning_of_a_stop(&self, stops: &[Stop]) -> usize {
        let begins = |tail: &str, named: bool| {
            let mut stops = stops.iter().filter(|stop| stop.names_special == named);
            stops.any(|stop| stop.text.starts_with(tail))
        };
        let is_hidden = |at: usize| {
            self.hidden
                .iter()
                .any(|part| part.start < at && at < part.end)
        };
        let mut places = self.text.char_indices().map(|(at, _)| at);
        let named = places.find(|at| !is_hidden(*at) && begins(&self.text[*at..], true));
        let visible = self.visible(self.text.len());
        let mut places = visible.char_indices().map(|(at, _)| at);
        let plain = places.find(|at| begins(&visible[*at..], false));
        let plain = plain.map(|at| self.place(at));
        named
            .into_iter()
            .chain(plain)
            .min()
            .unwrap_or(self.text.len())
    }

    /// Takes off what lies before a place, without the hidden parts.
    pub(super) fn take(&mut self, until: usize) -> String {
        let taken = self.visible(until);
        self.text.drain(..until);
        self.hidden.retain(|part| part.start >= until);
        for part in &mut self.hidden {
            *part = part.start - until..part.end - until;
        }
        taken
    }

    /// What is not hidden before a place, which lies in no hidden part.
    fn visible(&self, until: usize) -> String {
        let mut visible = String::with_capacity(until);
        let mut done = 0;
        for part in self.hidden.iter().filter(|part| part.end <= until) {
            visible.push_str(&self.text[done..part.start]);
            done = part.end;
        }
        visible.push_str(&self.text[done..until]);
        visible
    }

    /// The place of a byte of the visible text.
    fn place(&self, mut at: usize) -> usize {
        for part in &self.hidden {
            if part.start <= at {
                at += part.len();
            }
        }
        at
    }
}
