//! Counts of n-grams, and texts divided as Python divides them.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each run of `n` items occurs.
pub(crate) fn ngrams<T: Eq + Hash>(items: &[T], n: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for run in items.windows(n) {
        *counts.entry(run).or_insert(0) += 1;
    }
    counts
}

/// Items that two counts share.
pub(crate) fn overlap<T: Eq + Hash>(a: &HashMap<&[T], u64>, b: &HashMap<&[T], u64>) -> u64 {
    a.iter()
        .map(|(run, &count)| count.min(b.get(run).copied().unwrap_or(0)))
        .sum()
}

/// White space of Python's `str.split`: Unicode's, and four separators of ASCII that Rust leaves out.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Words of Python's `str.split()`.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}
