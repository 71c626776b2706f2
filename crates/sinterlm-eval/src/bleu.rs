//! BLEU of a set of texts, equal to Python's `sacrebleu` 2.6.0 with one reference a text.

use serde::{Deserialize, Serialize};

use crate::ngrams::{is_space, ngrams, overlap, words};

/// The longest n-grams that count.
const ORDER: usize = 4;

/// How a text is divided into the tokens that BLEU compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BleuTokens {
    /// `13a`, as mteval-v13a: words, with punctuation apart from them. For languages with spaces.
    #[default]
    #[serde(rename = "13a")]
    Mteval13a,
    /// `char`: each character but white space. For Chinese, Japanese and other languages without spaces.
    Char,
}

/// BLEU with what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bleu {
    /// BLEU, 0 to 100.
    pub score: f64,
    /// Precision of n-grams of one to four tokens, per cent, smoothed; all 0 where nothing matches.
    pub precisions: [f64; ORDER],
    /// Factor for texts that are shorter than their references, 0 to 1.
    pub brevity_penalty: f64,
    /// Tokens of the texts.
    pub text_tokens: u64,
    /// Tokens of the references.
    pub reference_tokens: u64,
}

impl Bleu {
    /// BLEU of pairs of a reference and a text, over all of them together; `None` of no pairs.
    ///
    /// `BP · exp(mean of ln pₙ)` over n-grams of one to four tokens, Papineni et al. 2002,
    /// <https://aclanthology.org/P02-1040>, with sacrebleu's smoothing `exp`: the k-th order
    /// without a match counts `1/2ᵏ` of one. Case counts. 0 where texts have no four tokens in a row.
    ///
    /// ```
    /// use sinterlm_eval::{Bleu, BleuTokens};
    /// let pairs = [("The cat sat on the mat.", "The cat sat on a mat.")];
    /// let bleu = Bleu::of(pairs, BleuTokens::Mteval13a).unwrap();
    /// assert!((bleu.score - 48.89).abs() < 0.01);
    /// ```
    pub fn of<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        tokens: BleuTokens,
    ) -> Option<Self> {
        let (mut pairs_seen, mut matches, mut totals) = (0_u64, [0; ORDER], [0; ORDER]);
        let (mut text_tokens, mut reference_tokens) = (0, 0);
        for (reference, text) in pairs {
            let (reference, text) = (tokens.divide(reference), tokens.divide(text));
            pairs_seen += 1;
            text_tokens += text.len() as u64;
            reference_tokens += reference.len() as u64;
            for n in 0..ORDER {
                matches[n] += overlap(&ngrams(&text, n + 1), &ngrams(&reference, n + 1));
                totals[n] += text.len().saturating_sub(n) as u64;
            }
        }
        let brevity_penalty = if text_tokens >= reference_tokens {
            1.0
        } else if text_tokens == 0 {
            0.0
        } else {
            (1.0 - reference_tokens as f64 / text_tokens as f64).exp()
        };
        let precisions = precisions(&matches, &totals);
        let mean = precisions.iter().map(|p| p.ln()).sum::<f64>() / ORDER as f64;
        (pairs_seen > 0).then_some(Self {
            score: brevity_penalty * mean.exp(),
            precisions,
            brevity_penalty,
            text_tokens,
            reference_tokens,
        })
    }
}

fn precisions(matches: &[u64; ORDER], totals: &[u64; ORDER]) -> [f64; ORDER] {
    let mut precisions = [0.0; ORDER];
    let mut missed = 1.0;
    if matches[0] > 0 {
        for (precision, (&matches, &total)) in precisions.iter_mut().zip(matches.iter().zip(totals))
        {
            if total == 0 {
                break;
            }
            let counted = if matches == 0 {
                missed *= 2.0;
                1.0 / missed
            } else {
                matches as f64
            };
            *precision = 100.0 * counted / total as f64;
        }
    }
    precisions
}

impl BleuTokens {
    /// The tokens of a text.
    pub fn divide(self, text: &str) -> Vec<String> {
        let text = text.trim_end_matches(is_space);
        match self {
            Self::Char => text
                .chars()
                .filter(|c| !is_space(*c))
                .map(String::from)
                .collect(),
            Self::Mteval13a => words(&mteval_13a(text)).map(str::to_owned).collect(),
        }
    }
}

/// White space set around what `13a` takes apart.
fn mteval_13a(text: &str) -> String {
    let mut line = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    if line.contains('&') {
        for (entity, sign) in [
            ("&quot;", "\""),
            ("&amp;", "&"),
            ("&lt;", "<"),
            ("&gt;", ">"),
        ] {
            line = line.replace(entity, sign);
        }
    }
    let mut spaced = String::from(" ");
    for c in line.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => {
                spaced.extend([' ', c, ' ']);
            }
            _ => spaced.push(c),
        }
    }
    spaced.push(' ');
    let digit = |c: char| c.is_ascii_digit();
    let stop = |c: char| matches!(c, '.' | ',');
    let spaced = part(
        &spaced,
        |a, b| !digit(a) && stop(b),
        |a, b| [a, ' ', b, ' '],
    );
    let spaced = part(
        &spaced,
        |a, b| stop(a) && !digit(b),
        |a, b| [' ', a, ' ', b],
    );
    part(
        &spaced,
        |a, b| digit(a) && b == '-',
        |a, b| [a, ' ', b, ' '],
    )
}

/// Rewrites pairs of neighbours from the left; a character is part of one pair only, as in a
/// regular expression's substitution.
fn part(
    text: &str,
    wanted: impl Fn(char, char) -> bool,
    write: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut parted = String::with_capacity(text.len() * 2);
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match rest.peek() {
            Some(&second) if wanted(first, second) => {
                parted.extend(write(first, second));
                rest.next();
            }
            _ => parted.push(first),
        }
    }
    parted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_points_and_sentences_lose_them() {
        let tokens = BleuTokens::Mteval13a.divide("It cost 1,000.50, i.e. 3-4 &quot;units&quot;.");
        assert_eq!(
            tokens.join(" "),
            "It cost 1,000.50 , i . e . 3 - 4 \" units \" ."
        );
    }

    #[test]
    fn texts_of_nothing_score_zero_and_no_texts_none() {
        let bleu = Bleu::of([("a", "")], BleuTokens::Char).unwrap();
        assert_eq!((bleu.score, bleu.brevity_penalty), (0.0, 0.0));
        assert_eq!(Bleu::of([], BleuTokens::Char), None);
    }
}
