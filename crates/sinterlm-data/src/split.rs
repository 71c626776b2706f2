//! Which documents validate and which train, decided by content alone, so that the same document
//! never stands on both sides and the choice outlives reordered or renamed files.

use std::collections::{BinaryHeap, HashSet};

use sinterlm_config::stable_hash;

/// Text kept for training a tokenizer.
const SAMPLE_BYTES: usize = 32 << 20;

/// Hash of a document's words; documents that differ in whitespace only share it.
pub(crate) fn content_hash(text: &str) -> u64 {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        folded.push_str(word);
        folded.push(' ');
    }
    stable_hash(folded.as_bytes())
}

/// How documents are divided into training and validation text.
#[derive(Debug, PartialEq)]
pub(crate) enum Split {
    /// Documents whose hash is below the threshold validate.
    Below(u64),
    /// The documents with this hash validate: few documents, none of them or all below the
    /// threshold.
    Only(u64),
    /// One distinct document: its last part, this share of its bytes, validates.
    Tail(f64),
    /// Validation text is given; training documents with one of its hashes are dropped.
    Given(HashSet<u64>),
}

/// The parts of a document for each side.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Parts {
    pub(crate) train: Option<String>,
    pub(crate) valid: Option<String>,
}

impl Split {
    pub(crate) fn parts(&self, text: String) -> Parts {
        let is_valid = match self {
            Self::Below(threshold) => content_hash(&text) < *threshold,
            Self::Only(hash) => content_hash(&text) == *hash,
            Self::Tail(fraction) => {
                let (head, tail) = text.split_at(cut(&text, *fraction));
                let part = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
                return Parts {
                    train: part(head),
                    valid: part(tail),
                };
            }
            Self::Given(hashes) => {
                let train = Some(text).filter(|text| !hashes.contains(&content_hash(text)));
                return Parts { train, valid: None };
            }
        };
        if is_valid {
            Parts {
                train: None,
                valid: Some(text),
            }
        } else {
            Parts {
                train: Some(text),
                valid: None,
            }
        }
    }
}

/// Where to cut a lone document: at the line break or else the space nearest to the wanted place,
/// where there is one within half the length of the shorter part.
fn cut(text: &str, fraction: f64) -> usize {
    let target = text.floor_char_boundary((text.len() as f64 * (1.0 - fraction)) as usize);
    let reach = (text.len() as f64 * fraction / 2.0) as usize;
    let start = text.floor_char_boundary(target.saturating_sub(reach));
    let end = text.floor_char_boundary(target + reach);
    let nearest = |is_break: fn(char) -> bool| {
        let before = text[start..target].rfind(is_break).map(|at| start + at);
        let after = text[target..end].find(is_break).map(|at| target + at);
        before
            .into_iter()
            .chain(after)
            .min_by_key(|at| at.abs_diff(target))
    };
    nearest(|c| c == '\n')
        .or_else(|| nearest(char::is_whitespace))
        .unwrap_or(target)
}

/// What a first pass over the text counts, to choose a split by.
#[derive(Debug)]
pub(crate) struct Survey {
    fraction: f64,
    documents: u64,
    below: u64,
    hashes: Option<(u64, u64)>,
}

impl Survey {
    pub(crate) fn new(fraction: f64) -> Self {
        Self {
            fraction,
            documents: 0,
            below: 0,
            hashes: None,
        }
    }

    pub(crate) fn add(&mut self, hash: u64) {
        self.documents += 1;
        self.below += u64::from(hash < self.threshold());
        let (low, high) = self.hashes.unwrap_or((hash, hash));
        self.hashes = Some((low.min(hash), high.max(hash)));
    }

    pub(crate) fn split(&self) -> Split {
        match self.hashes {
            Some((low, high)) if low == high => Split::Tail(self.fraction),
            Some((low, _)) if self.below == 0 || self.below == self.documents => Split::Only(low),
            _ => Split::Below(self.threshold()),
        }
    }

    fn threshold(&self) -> u64 {
        (self.fraction * 2f64.powi(64)) as u64
    }
}

/// A bounded sample of documents: as many of those with the smallest hashes as fit. Drawn evenly
/// from the whole text and, like the split, independent of the order in which it is read.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// Rank and text; the rank mixes the split's hash once more, as that one's smallest values are
    /// all on one side.
    heap: BinaryHeap<(u64, String)>,
    bytes: usize,
    /// The smallest rank that did not fit; nothing above it is taken any more.
    limit: Option<u64>,
}

impl Sample {
    pub(crate) fn add(&mut self, hash: u64, text: &str) {
        let rank = stable_hash(&hash.to_le_bytes());
        if self.limit.is_some_and(|limit| rank >= limit) {
            return;
        }
        let text = text[..text.floor_char_boundary(SAMPLE_BYTES)].to_owned();
        self.bytes += text.len();
        self.heap.push((rank, text));
        while self.bytes > SAMPLE_BYTES
            && let Some((rank, text)) = self.heap.pop()
        {
            self.bytes -= text.len();
            self.limit = Some(rank);
        }
    }

    pub(crate) fn into_texts(self) -> impl Iterator<Item = String> + Send {
        self.heap
            .into_sorted_vec()
            .into_iter()
            .map(|(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn survey(fraction: f64, texts: &[String]) -> Split {
        let mut survey = Survey::new(fraction);
        for text in texts {
            survey.add(content_hash(text));
        }
        survey.split()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_sides_hold_text_and_share_no_document(
            words in prop::collection::vec("[a-c]{1,2}( [a-c])?", 2..12),
            fraction in 0.01..0.5,
        ) {
            let split = survey(fraction, &words);
            let (mut train, mut valid) = (HashSet::new(), HashSet::new());
            for text in &words {
                let parts = split.parts(text.clone());
                train.extend(parts.train.map(|text| content_hash(&text)));
                valid.extend(parts.valid.map(|text| content_hash(&text)));
            }
            let distinct: HashSet<_> = words.iter().map(|text| content_hash(text)).collect();
            if distinct.len() > 1 {
                prop_assert!(!train.is_empty() && !valid.is_empty());
                prop_assert_eq!(train.len() + valid.len(), distinct.len());
                prop_assert!(train.is_disjoint(&valid));
            }
        }
    }

    #[test]
    fn whitespace_does_not_make_a_document_another_one() {
        assert_eq!(content_hash("a  b\n\nc"), content_hash("a b c "));
        assert_ne!(content_hash("ab c"), content_hash("a bc"));
    }

    #[test]
    fn the_share_of_validation_documents_is_near_the_fraction() {
        let texts: Vec<_> = (0..4000).map(|i| format!("story {i}")).collect();
        let split = survey(0.1, &texts);
        assert!(matches!(split, Split::Below(_)));
        let valid = texts
            .into_iter()
            .filter(|text| split.parts(text.clone()).valid.is_some());
        let count = valid.count();
        assert!((340..460).contains(&count), "{count} of 4000");
    }

    #[test]
    fn a_lone_document_is_cut_after_a_line() {
        let text = "first line\nsecond line\nthird line".to_owned();
        let split = survey(0.3, &[text.clone(), text.clone()]);
        assert_eq!(split, Split::Tail(0.3));
        let parts = split.parts(text);
        assert_eq!(parts.train.as_deref(), Some("first line\nsecond line"));
        assert_eq!(parts.valid.as_deref(), Some("third line"));
        let words = Split::Tail(0.5).parts("äöü ßäö".into());
        assert_eq!(words.train.as_deref(), Some("äöü"));
    }

    #[test]
    fn the_sample_is_bounded_and_does_not_depend_on_the_order() {
        let text = "x".repeat(SAMPLE_BYTES / 3);
        let sample = |order: &mut dyn Iterator<Item = u64>| {
            let mut sample = Sample::default();
            for i in order {
                sample.add(i, &format!("{i}{text}"));
            }
            sample
                .into_texts()
                .map(|text| text[..1].to_owned())
                .collect::<Vec<_>>()
        };
        let forward = sample(&mut (0..9));
        assert_eq!(forward.len(), 2);
        assert_eq!(forward, sample(&mut (0..9).rev()));
    }
}
