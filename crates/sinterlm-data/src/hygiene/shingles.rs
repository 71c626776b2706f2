//! Texts as sets of hashed word n-grams, and how alike two sets are.

/// The hashed words of texts: runs of letters and digits in lower case. A Chinese character or a kana
/// is a word of its own, as no spaces divide them.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<u64>);

impl Words {
    /// The words of several texts, one behind the other.
    pub(super) fn of(texts: &[&str]) -> Self {
        let mut hashes = Vec::new();
        for text in texts {
            let mut word = START;
            let mut end = |word: &mut u64| {
                if *word != START {
                    hashes.push(mixed(*word));
                    *word = START;
                }
            };
            for c in text.chars() {
                if c.is_ascii() {
                    if c.is_ascii_alphanumeric() {
                        word = joined(word, c.to_ascii_lowercase());
                    } else {
                        end(&mut word);
                    }
                } else if is_word_alone(c) {
                    end(&mut word);
                    word = joined(word, c);
                    end(&mut word);
                } else if c.is_alphanumeric() {
                    word = c.to_lowercase().fold(word, joined);
                } else {
                    end(&mut word);
                }
            }
            end(&mut word);
        }
        Self(hashes)
    }

    /// The hash of each word.
    pub(super) fn hashes(&self) -> &[u64] {
        &self.0
    }

    /// The hash of each n-gram; of all words together where there are fewer than `n`, none where
    /// there is no word.
    pub(super) fn ngrams(&self, n: usize) -> impl Iterator<Item = u64> {
        let length = n.min(self.0.len()).max(1);
        self.0.windows(length).map(move |words| {
            let sum = words.iter().fold(length as u64, |hash, word| {
                hash.wrapping_mul(BASE).wrapping_add(*word)
            });
            mixed(sum)
        })
    }
}

/// The set of the n-grams of a record's texts, in ascending order. Texts without a word count as one
/// n-gram, so that only equal ones are alike.
pub(super) fn shingles(texts: &[&str], n: usize) -> Vec<u64> {
    let words = Words::of(texts);
    let mut set: Vec<u64> = words.ngrams(n).collect();
    if set.is_empty() {
        let text = texts.iter().flat_map(|text| text.chars());
        set.push(mixed(
            !text.filter(|c| !c.is_whitespace()).fold(START, joined),
        ));
    }
    set.sort_unstable();
    set.dedup();
    set
}

/// Elements of both sets over elements of either. Both are in ascending order.
pub(super) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        both += usize::from(a[i] == b[j]);
        let (step_a, step_b) = (a[i] <= b[j], b[j] <= a[i]);
        i += usize::from(step_a);
        j += usize::from(step_b);
    }
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

/// FNV-1a's offset basis and prime, over characters; [`mixed`] spreads the bits.
const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;
/// An odd factor with both halves full of bits (2⁶⁴ over the golden ratio).
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

fn joined(hash: u64, c: char) -> u64 {
    (hash ^ u64::from(u32::from(c))).wrapping_mul(PRIME)
}

/// A bijection of 64-bit words whose output bits depend on all input bits (Stafford 2011, mix 13).
pub(super) fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn is_word_alone(c: char) -> bool {
    matches!(c,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(a: &str, b: &str) -> f64 {
        jaccard(&shingles(&[a], 3), &shingles(&[b], 3))
    }

    #[test]
    fn case_and_punctuation_do_not_count_but_words_do() {
        assert!((likeness("See you at 8!", "see YOU, at 8") - 1.0).abs() < 1e-9);
        // Three of five n-grams each; one word at the end differs.
        let like = likeness("a b c d e f", "a b c d e g");
        assert!((like - 3.0 / 5.0).abs() < 1e-9, "{like}");
        assert!(likeness("Äpfel und Birnen", "äpfel UND birnen") > 0.99);
        assert!(likeness("one two", "one three") < 1e-9);
    }

    #[test]
    fn unspaced_scripts_and_texts_without_words_compare_too() {
        let like = likeness("今天天气很好", "今天天气不好");
        assert!((like - 2.0 / 6.0).abs() < 1e-9, "{like}");
        assert!((likeness(":-)", ":-)") - 1.0).abs() < 1e-9);
        assert!(likeness(":-)", ":-(") < 1e-9);
        assert!(likeness("", "a") < 1e-9);
    }
}
