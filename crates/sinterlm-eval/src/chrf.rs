//! chrF of a set of texts, equal to Python's `sacrebleu` 2.6.0 with one reference a text.

use crate::ngrams::{is_space, ngrams, overlap};

/// The longest runs of characters that count.
const ORDER: usize = 6;

/// chrF2 of pairs of a reference and a text, over all of them together, 0 to 100; `None` of no pairs.
///
/// F-score that weighs recall four times as much as precision, of both averaged over runs of one
/// to six characters, white space left out, Popović 2015, <https://aclanthology.org/W15-3049>.
/// Orders that the texts or the references do not have are left out, as sacrebleu does by default.
///
/// ```
/// let chrf = sinterlm_eval::chrf([("die Katze", "eine Katze")]).unwrap();
/// assert!((chrf - 59.34).abs() < 0.01);
/// ```
pub fn chrf<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<f64> {
    let letters = |text: &str| {
        text.chars()
            .filter(|c| !is_space(*c))
            .collect::<Vec<char>>()
    };
    let mut pairs_seen = 0_u64;
    let mut counts = [[0_u64; 3]; ORDER]; // by order: of the texts, of the references, of both
    for (reference, text) in pairs {
        pairs_seen += 1;
        let (reference, text) = (letters(reference), letters(text));
        for (n, counts) in (1..).zip(&mut counts) {
            let of_reference = reference.len().saturating_sub(n - 1) as u64;
            if of_reference > 0 {
                counts[0] += text.len().saturating_sub(n - 1) as u64;
                counts[1] += of_reference;
                counts[2] += overlap(&ngrams(&text, n), &ngrams(&reference, n));
            }
        }
    }
    let orders = counts
        .iter()
        .filter(|[text, reference, _]| *text > 0 && *reference > 0);
    let (mut precision, mut recall) = (0.0, 0.0);
    for [text, reference, both] in orders.clone() {
        precision += *both as f64 / *text as f64;
        recall += *both as f64 / *reference as f64;
    }
    // Sums in place of means: the number of orders drops out except as a factor of the result.
    let score = if precision + recall > 0.0 {
        500.0 * precision * recall / (4.0 * precision + recall) / orders.count() as f64
    } else {
        0.0
    };
    (pairs_seen > 0).then_some(score)
}
