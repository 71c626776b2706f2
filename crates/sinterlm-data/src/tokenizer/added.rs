//! Tokens that are found in a text as they stand, before anything is cut and merged: special tokens
//! and others that were added to a vocabulary. They match as in crate `tokenizers`, which the ids of
//! `fixtures/special_tokens.json` show; that crate's own search has no way to leave parts of a text out,
//! gives tokens other ids than their file, and panics where two tokens want the same spaces.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use tokenizers::tokenizer::normalizer::Range as Of;
use tokenizers::utils::SysRegex;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, NormalizerWrapper, PreTokenizedString, Token,
};

/// What special tokens' names in a text are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Specials<'a> {
    /// Characters like others.
    AsText,
    /// Special tokens, wherever they match.
    Everywhere,
    /// Special tokens where they match outside these byte ranges, which are ascending and apart.
    Outside(&'a [Range<usize>]),
}

/// All added tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct Added {
    /// Matched in the text as it is.
    raw: Matcher,
    /// Matched in the text as the normalizer leaves it.
    normalized: Matcher,
}

impl Added {
    /// `tokens` have different ids; where two match at one place and are equally long, the special one
    /// counts, then the earlier one.
    pub(super) fn new(
        tokens: &[(AddedToken, u32)],
        normalizer: Option<&NormalizerWrapper>,
    ) -> Result<Self, String> {
        let (specials, others): (Vec<_>, Vec<_>) =
            tokens.iter().partition(|(token, _)| token.special);
        let ordered = specials.into_iter().chain(others);
        let (normalized, raw): (Vec<_>, Vec<_>) =
            ordered.cloned().partition(|(token, _)| token.normalized);
        let spell = |token: &AddedToken| {
            let mut text = NormalizedString::from(token.content.as_str());
            if let Some(normalizer) = normalizer.filter(|_| token.normalized) {
                normalizer.normalize(&mut text).map_err(|e| {
                    format!(
                        "has the token {:?} that cannot be normalized ({e})",
                        token.content
                    )
                })?;
            }
            Ok(text.get().to_owned())
        };
        Ok(Self {
            raw: Matcher::new(raw, spell)?,
            normalized: Matcher::new(normalized, spell)?,
        })
    }

    /// How a text spells special tokens that match what the normalizer leaves of it.
    pub(super) fn spellings(
        &self,
        text: &str,
        normalizer: Option<&NormalizerWrapper>,
    ) -> Vec<String> {
        let Matcher { automaton, tokens } = &self.normalized;
        let Some(normalizer) = normalizer.filter(|_| tokens.iter().any(|(token, _)| token.special))
        else {
            return Vec::new();
        };
        let mut text = NormalizedString::from(text);
        let _ = normalizer.normalize(&mut text); // as in `extract`
        let found = automaton.find_iter(text.get());
        let special = found.filter(|found| tokens[found.pattern()].0.special);
        let original = special.filter_map(|found| {
            let range = Of::Normalized(found.start()..found.end());
            text.get_range_original(range).map(str::to_owned)
        });
        original.collect()
    }

    /// The text in pieces: tokens that were found, and what lies between them, normalized.
    pub(super) fn extract(
        &self,
        text: &str,
        normalizer: Option<&NormalizerWrapper>,
        specials: Specials<'_>,
    ) -> tokenizers::Result<PreTokenizedString> {
        let mut pieces = PreTokenizedString::from(text);
        let ordinary = specials.ordinary();
        pieces.split(|_, piece| {
            let counts = |token: &AddedToken, _| specials.count(token);
            let found = self.raw.find(piece.get(), ordinary, counts);
            Ok(cut(&piece, &found))
        })?;
        pieces.split(|_, mut piece| {
            if let Some(normalizer) = normalizer {
                let _ = normalizer.normalize(&mut piece); // where it fails the piece stays as it is
            }
            if self.normalized.tokens.is_empty() {
                return Ok(vec![(piece, None)]);
            }
            let counts = |token: &AddedToken, at: Range<usize>| {
                // A normalizer may make one character of two, one of them ordinary.
                let is_outside = || {
                    let begin = piece.offsets_original().0;
                    let original = piece.convert_offsets(Of::Normalized(at));
                    original.is_some_and(|own| {
                        let own = begin + own.start..begin + own.end;
                        let apart =
                            |range: &Range<usize>| range.end <= own.start || own.end <= range.start;
                        ordinary.iter().all(apart)
                    })
                };
                let needs_place = token.special && !ordinary.is_empty();
                specials.count(token) && (!needs_place || is_outside())
            };
            let inside = within(&piece, ordinary);
            let found = self.normalized.find(piece.get(), &inside, counts);
            Ok(cut(&piece, &found))
        })?;
        Ok(pieces)
    }

    /// As [`extract`](Self::extract), of a text that the normalizer leaves as it is: the bytes of each
    /// piece, with the token that was found there.
    pub(super) fn places(
        &self,
        text: &str,
        specials: Specials<'_>,
    ) -> Vec<(Range<usize>, Option<u32>)> {
        let ordinary = specials.ordinary();
        let counts = |token: &AddedToken, _| specials.count(token);
        let raw = self.raw.find(text, ordinary, counts);
        let mut places = Vec::with_capacity(2 * raw.len() + 1);
        for (piece, token) in between(&raw, text.len()) {
            if token.is_some() || self.normalized.tokens.is_empty() {
                places.push((piece, token));
                continue;
            }
            let (begin, text) = (piece.start, &text[piece.clone()]);
            let ordinary = ordinary.iter().filter(|range| range.start < piece.end);
            let ordinary = ordinary.filter(|range| piece.start < range.end);
            let ordinary: Vec<Range<usize>> = ordinary
                .map(|range| range.start.saturating_sub(begin)..range.end.min(piece.end) - begin)
                .collect();
            let counts = |token: &AddedToken, _| specials.count(token);
            let found = self.normalized.find(text, &ordinary, counts);
            let found = between(&found, text.len()).into_iter();
            places.extend(found.map(|(at, token)| (at.start + begin..at.end + begin, token)));
        }
        places
    }
}

impl<'a> Specials<'a> {
    /// Where special tokens' names are characters like others.
    fn ordinary(self) -> &'a [Range<usize>] {
        match self {
            Self::Outside(ranges) => ranges,
            Self::AsText | Self::Everywhere => &[],
        }
    }

    fn count(self, token: &AddedToken) -> bool {
        !(token.special && matches!(self, Self::AsText))
    }
}

/// Tokens with what finds them.
#[derive(Debug)]
struct Matcher {
    automaton: AhoCorasick,
    /// In the order of the automaton's patterns.
    tokens: Vec<(AddedToken, u32)>,
}

impl Matcher {
    fn new(
        tokens: Vec<(AddedToken, u32)>,
        spell: impl Fn(&AddedToken) -> Result<String, String>,
    ) -> Result<Self, String> {
        let spelt: Result<Vec<_>, String> = tokens
            .into_iter()
            .map(|entry| Ok((spell(&entry.0)?, entry)))
            .collect();
        // What the normalizer leaves nothing of is found nowhere.
        let kept = spelt?.into_iter().filter(|(text, _)| !text.is_empty());
        let (patterns, tokens): (Vec<String>, _) = kept.unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns)
            .map_err(|e| format!("has added tokens that cannot be searched for ({e})"))?;
        Ok(Self { automaton, tokens })
    }

    /// Places of tokens in a text, ascending. Special tokens do not reach into the `ordinary` ranges,
    /// none for which `counts` is false are found.
    fn find(
        &self,
        text: &str,
        ordinary: &[Range<usize>],
        counts: impl Fn(&AddedToken, Range<usize>) -> bool,
    ) -> Vec<(u32, Range<usize>)> {
        let mut found = Vec::new();
        if self.tokens.is_empty() {
            return found;
        }
        let mut from = 0;
        let mut done = 0; // up to here text is taken by tokens
        // The search ends here for now, and continues at the second place.
        let mut until: Option<(usize, usize)> = None;
        loop {
            let end = until.map_or(text.len(), |(end, _)| end);
            let Some(matched) = self.automaton.find(Input::new(text).span(from..end)) else {
                match until.take() {
                    Some((_, next)) => from = next,
                    None => return found,
                }
                continue;
            };
            let (token, id) = &self.tokens[matched.pattern()];
            let (mut start, mut stop) = (matched.start(), matched.end());
            let overlaps = |range: &&Range<usize>| range.start < stop && start < range.end;
            if token.special
                && let Some(range) = ordinary.iter().find(overlaps)
            {
                if start < range.start {
                    until = Some((range.start, range.end)); // a shorter one may end before it
                } else {
                    from = range.end;
                }
                continue;
            }
            from = stop;
            let is_word = |c: Option<char>| c.is_some_and(is_word);
            let stands_alone = || {
                !is_word(text[..start].chars().next_back()) && !is_word(text[stop..].chars().next())
            };
            if !counts(token, start..stop) || (token.single_word && !stands_alone()) {
                continue;
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                stop = text.len() - text[stop..].trim_start().len();
            }
            // Otherwise the token before has taken all of it, as spaces behind it.
            if start <= stop {
                found.push((*id, start..stop));
                done = stop;
            }
        }
    }
}

/// A piece in two where a byte of the whole text lies in it.
pub(super) fn cut_at(
    piece: NormalizedString,
    at: usize,
) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
    let (begin, end) = piece.offsets_original();
    let before = if begin < at && at < end {
        piece.convert_offsets(Of::Original(0..at - begin))
    } else {
        None
    };
    let halves = before.and_then(|range| {
        let first = piece.slice(Of::Normalized(0..range.end))?;
        Some([first, piece.slice(Of::Normalized(range.end..piece.len()))?])
    });
    match halves {
        Some(halves) => halves.map(|half| (half, None)).into(),
        None => vec![(piece, None)],
    }
}

/// What counts as a part of a word beside a token that has to be one by itself.
fn is_word(c: char) -> bool {
    static WORD: LazyLock<SysRegex> =
        LazyLock::new(|| SysRegex::new(r"\w").expect("the pattern is one, as a test shows"));
    WORD.find_iter(c.encode_utf8(&mut [0; 4])).next().is_some()
}

/// What lies at the places that were found, with its token, and between them.
fn cut(
    piece: &NormalizedString,
    found: &[(u32, Range<usize>)],
) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
    let slice = |at: Range<usize>| {
        piece
            .slice(Of::Normalized(at))
            .expect("places of tokens lie on whole characters of the text")
    };
    let pieces = between(found, piece.len()).into_iter();
    let pieces = pieces.map(|(at, id)| {
        let part = slice(at);
        let token = id.map(|id| {
            let text = part.get().to_owned();
            let len = text.len();
            vec![Token::new(id, text, (0, len))]
        });
        (part, token)
    });
    pieces.collect()
}

/// The places that were found, in a text of `len` bytes, and what lies between them, each with a text. A
/// token may have none: one before it took the spaces that it consists of.
fn between(found: &[(u32, Range<usize>)], len: usize) -> Vec<(Range<usize>, Option<u32>)> {
    let mut places = Vec::with_capacity(2 * found.len() + 1);
    let mut done = 0;
    for (id, at) in found {
        if done < at.start {
            places.push((done..at.start, None));
        }
        if !at.is_empty() {
            places.push((at.clone(), Some(*id)));
        }
        done = at.end;
    }
    if done < len {
        places.push((done..len, None));
    }
    places
}

/// Byte ranges of a whole text as ranges of what was made of a piece of it.
fn within(piece: &NormalizedString, ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let (begin, end) = piece.offsets_original();
    ranges
        .iter()
        .filter(|range| range.start < end && begin < range.end)
        .filter_map(|range| {
            let local = range.start.saturating_sub(begin)..range.end.min(end) - begin;
            piece.convert_offsets(Of::Original(local))
        })
        .collect()
}
