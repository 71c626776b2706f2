//! ROUGE of a text against a reference, equal to Python's `rouge-score` 0.1.2.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::lcs::{LcsTable, lcs_length};
use crate::ngrams::{ngrams, overlap};
use crate::porter::stem;

/// Precision, recall and F1 of one kind of ROUGE, each 0 where the text or the reference has no word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScore {
    /// Share of the text's units that the reference has.
    pub precision: f64,
    /// Share of the reference's units that the text has.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// The four kinds of ROUGE of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    /// Over words.
    pub rouge_1: RougeScore,
    /// Over pairs of words.
    pub rouge_2: RougeScore,
    /// Over the longest common subsequence of the whole texts.
    pub rouge_l: RougeScore,
    /// Over the union of the longest common subsequences of their lines.
    pub rouge_lsum: RougeScore,
}

impl Rouge {
    /// ROUGE of `text` against `reference`, Lin 2004, <https://aclanthology.org/W04-1013>.
    ///
    /// Words are runs of the letters a to z and digits of the text in lower case: everything else
    /// parts words, so that a text without Latin letters or digits scores 0. `stemmed` reduces
    /// words of more than three letters by Porter's stemmer with NLTK's extensions. ROUGE-L takes
    /// one machine word of work for each word of the one text and 64 words of the other,
    /// ROUGE-Lsum one bit of memory a pair of words in two lines.
    ///
    /// ```
    /// use sinterlm_eval::Rouge;
    /// let rouge = Rouge::of("the cat sat on the mat", "the cat is on a mat", false);
    /// assert!((rouge.rouge_l.f1 - 4.0 / 6.0).abs() < 1e-12);
    /// assert!((rouge.rouge_2.f1 - 1.0 / 5.0).abs() < 1e-12);
    /// ```
    pub fn of(reference: &str, text: &str, stemmed: bool) -> Self {
        let mut vocabulary = Vocabulary {
            stemmed,
            ids: HashMap::new(),
        };
        let (reference_lines, text_lines) = (vocabulary.lines(reference), vocabulary.lines(text));
        let (reference, text) = (reference_lines.concat(), text_lines.concat());
        let common = |n: usize| {
            let (reference, text) = (ngrams(&reference, n), ngrams(&text, n));
            let total = |counts: &HashMap<&[u32], u64>| counts.values().sum();
            RougeScore::of(overlap(&reference, &text), total(&text), total(&reference))
        };
        let lengths = (text.len() as u64, reference.len() as u64);
        Self {
            rouge_1: common(1),
            rouge_2: common(2),
            rouge_l: RougeScore::of(lcs_length(&reference, &text), lengths.0, lengths.1),
            rouge_lsum: RougeScore::of(
                hits_by_line(&reference_lines, &text_lines),
                lengths.0,
                lengths.1,
            ),
        }
    }

    /// Means over texts, each text counting once; `None` of no texts.
    pub fn mean(scores: &[Self]) -> Option<Self> {
        let count = scores.len() as f64;
        let mean = |kind: fn(&Self) -> RougeScore| {
            let of = |part: fn(RougeScore) -> f64| {
                scores.iter().map(|s| part(kind(s))).sum::<f64>() / count
            };
            RougeScore {
                precision: of(|score| score.precision),
                recall: of(|score| score.recall),
                f1: of(|score| score.f1),
            }
        };
        (!scores.is_empty()).then(|| Self {
            rouge_1: mean(|rouge| rouge.rouge_1),
            rouge_2: mean(|rouge| rouge.rouge_2),
            rouge_l: mean(|rouge| rouge.rouge_l),
            rouge_lsum: mean(|rouge| rouge.rouge_lsum),
        })
    }
}

impl RougeScore {
    fn of(common: u64, text: u64, reference: u64) -> Self {
        if common == 0 {
            return Self::default();
        }
        let precision = common as f64 / text as f64;
        let recall = common as f64 / reference as f64;
        let f1 = 2.0 * precision * recall / (precision + recall);
        Self {
            precision,
            recall,
            f1,
        }
    }
}

/// Numbers of words, so that texts compare as numbers.
struct Vocabulary {
    stemmed: bool,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// The words of each line of a text.
    fn lines(&mut self, text: &str) -> Vec<Vec<u32>> {
        text.to_lowercase()
            .split('\n')
            .map(|line| self.words(line))
            .collect()
    }

    fn words(&mut self, line: &str) -> Vec<u32> {
        let words = line.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
        words
            .filter(|word| !word.is_empty())
            .map(|word| {
                let word = if self.stemmed && word.len() > 3 {
                    stem(word)
                } else {
                    word.to_owned()
                };
                let next = self.ids.len() as u32;
                *self.ids.entry(word).or_insert(next)
            })
            .collect()
    }
}

/// Words of the reference's lines that stand in a common subsequence with some line of the text,
/// each word at most as often as either text has it.
fn hits_by_line(reference: &[Vec<u32>], text: &[Vec<u32>]) -> u64 {
    let count = |lines: &[Vec<u32>]| {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        lines
            .iter()
            .flatten()
            .for_each(|&word| *counts.entry(word).or_default() += 1);
        counts
    };
    let (in_reference, mut in_text) = (count(reference), count(text));
    for (word, left) in &mut in_text {
        *left = (*left).min(in_reference.get(word).copied().unwrap_or(0));
    }
    let mut hits = 0;
    for line in reference {
        let mut places: Vec<usize> = text
            .iter()
            .flat_map(|other| LcsTable::new(line, other).places(line, other))
            .collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let left = in_text.entry(line[place]).or_default();
            if *left > 0 {
                *left -= 1;
                hits += 1;
            }
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_words_score_zero() {
        assert_eq!(Rouge::of("", "", false), Rouge::default());
        assert_eq!(Rouge::of("a cat", "猫 !", true), Rouge::default());
    }

    #[test]
    fn the_stemmer_joins_forms_of_a_word() {
        let of = |stemmed| {
            Rouge::of("she was running", "she runs", stemmed)
                .rouge_1
                .recall
        };
        assert!((of(false) - 1.0 / 3.0).abs() < 1e-12);
        assert!((of(true) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_mean_counts_each_text_once() {
        let scores = [Rouge::of("a b", "a b", false), Rouge::of("c", "d", false)];
        assert!((Rouge::mean(&scores).unwrap().rouge_l.f1 - 0.5).abs() < 1e-12);
        assert_eq!(Rouge::mean(&[]), None);
    }
}
