//! Tokens of words that were met before. A text is cut in front of spaces, where no token reaches
//! across, and each part is looked up: most words of a text are common ones, and crate `tokenizers`
//! spends far longer on cutting and merging one than a look-up takes. Tokenizers for which such cuts
//! would change ids are recognised, and left to that crate.

use std::collections::HashMap;
use std::fmt;
use std::ops::{DerefMut, Range};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokenizers::{NormalizerWrapper, Tokenizer};

use super::pre;

/// Longer parts are seldom met twice, in bytes.
const LONGEST: usize = 64;
/// Parts that a cache holds, some 6 MB; it begins anew when it is full, as texts may have changed.
const MOST: usize = 1 << 16;
/// Form NFC leaves all characters below this one as they are, whatever stands beside them.
const FIRST_COMBINING: char = '\u{300}';

/// The tokens of a part, each with the byte at which it starts.
pub(super) type Tokens = Box<[(u32, u32)]>;

/// What is known of words, for a tokenizer that cuts texts at spaces.
pub(super) struct Words {
    /// Caches, one for each thread that encodes at a time: none waits for another.
    caches: Mutex<Vec<HashMap<Box<str>, Tokens>>>,
    /// Whether texts are brought into form NFC.
    normalizes: bool,
    /// Whether a token starts behind the spaces that it begins with.
    trims: bool,
}

impl Words {
    /// Caches for a tokenizer; none where text cannot be cut at spaces.
    pub(super) fn new(inner: &Tokenizer) -> Option<Self> {
        let json = |part: Result<Value, _>| part.unwrap_or(Value::Null);
        let pre_tokenizer = json(serde_json::to_value(inner.get_pre_tokenizer()));
        let post_processor = json(serde_json::to_value(inner.get_post_processor()));
        let normalizer = inner.get_normalizer();
        let is_exact = matches!(normalizer, None | Some(NormalizerWrapper::NFC(_)))
            && pre::cuts_at_spaces(&pre_tokenizer);
        Some(Self {
            caches: Mutex::default(),
            normalizes: normalizer.is_some(),
            trims: trims(&post_processor).filter(|_| is_exact)?,
        })
    }

    /// Whether a text is tokenised as it is, not as a normalizer leaves it.
    pub(super) fn fit(&self, text: &str) -> bool {
        !self.normalizes || !text.contains(|c| c >= FIRST_COMBINING)
    }

    /// Hands over the tokens of a text, each with the byte at which it starts. `places` are the pieces of
    /// the text, with the added token that is there; `tokenise` gives the tokens of a part of the others.
    pub(super) fn tokens(
        &self,
        text: &str,
        places: Vec<(Range<usize>, Option<u32>)>,
        tokenise: impl Fn(&str) -> Tokens,
        mut each: impl FnMut(u32, usize),
    ) {
        let mut known = self.lock().pop().unwrap_or_default();
        for (at, token) in places {
            if let Some(id) = token {
                let blanks = text[at.clone()].chars();
                let blanks = blanks.take_while(|c| self.trims && is_blank(*c));
                each(id, (at.start + blanks.count()).min(at.end));
                continue;
            }
            let mut begin = at.start;
            for part in parts(&text[at]) {
                let mut hand_over = |tokens: &[(u32, u32)]| {
                    for (id, start) in tokens {
                        each(*id, begin + *start as usize);
                    }
                };
                if let Some(tokens) = known.get(part) {
                    hand_over(tokens);
                } else {
                    let tokens = tokenise(part);
                    hand_over(&tokens);
                    if part.len() <= LONGEST {
                        if known.len() >= MOST {
                            known.clear();
                        }
                        known.insert(part.into(), tokens);
                    }
                }
                begin += part.len();
            }
        }
        self.lock().push(known);
    }

    fn lock(&self) -> impl DerefMut<Target = Vec<HashMap<Box<str>, Tokens>>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Words").field(&self.lock().len()).finish()
    }
}

/// Whether a post-processor of a `tokenizer.json` moves the start of a token behind its spaces; none
/// where it does other things with a text's first token, or is not known.
fn trims(json: &Value) -> Option<bool> {
    match json["type"].as_str() {
        None if json.is_null() => Some(false),
        Some("TemplateProcessing" | "BertProcessing") => Some(false),
        Some("ByteLevel" | "RobertaProcessing") => {
            let trims = json["trim_offsets"] == true;
            (!trims || json["add_prefix_space"] == false).then_some(trims)
        }
        Some("Sequence") => {
            let parts = json["processors"].as_array()?.iter().map(trims);
            let parts = parts.collect::<Option<Vec<bool>>>()?;
            let count = parts.into_iter().filter(|trims| *trims).count();
            (count < 2).then_some(count == 1)
        }
        _ => None,
    }
}

/// What crate `tokenizers` takes for a space at the border of a token: characters, though it counts them
/// as bytes.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == 'Ġ'
}

/// A text in parts, cut in front of each space that something else than white space stands before.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begins = |at: usize| {
            let before = rest[..at].chars().next_back();
            before.is_some_and(|c| !c.is_whitespace())
        };
        let mut spaces = rest.bytes().enumerate().filter(|(_, byte)| *byte == b' ');
        let end = spaces.find(|(at, _)| begins(*at));
        let (part, behind) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests;
