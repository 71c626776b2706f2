//! Texts of known similarity, and what the index makes of them.

use rand::RngExt;
use sinterlm_config::KeyRng;

use super::*;

const NGRAM: usize = 3;

/// Texts of distinct words, half of which are followed by a copy with some words replaced at the end,
/// so that their Jaccard similarity is known: of `n` shingles each, `n − k` are shared.
fn with_copies(count: usize, seed: u64, replaced: impl Fn(usize) -> usize) -> Vec<String> {
    let mut rng = KeyRng::new(seed);
    let mut texts = Vec::new();
    for i in 0..count / 2 {
        let words: Vec<String> = (0..38)
            .map(|_| format!("w{}", rng.random_range(0..1_000_000)))
            .collect();
        let kept = words.len() - replaced(i);
        let copy = words[..kept]
            .iter()
            .cloned()
            .chain((kept..38).map(|k| format!("new{i}x{k}")));
        texts.push(words.join(" "));
        texts.push(copy.collect::<Vec<_>>().join(" "));
    }
    texts
}

fn index(texts: &[String], threshold: f64) -> NearIndex {
    NearIndex::new(texts.len(), |i| vec![&*texts[i]], NGRAM, threshold)
}

#[test]
fn pairs_at_the_threshold_are_found() {
    // 36 shingles each, of which 32 are shared: 32 / 40 is 0.8 exactly.
    let texts = with_copies(4000, 1, |_| 4);
    let set = |i: usize| shingles(&[&*texts[i]], NGRAM);
    assert!((jaccard(&set(0), &set(1)) - 0.8).abs() < 1e-9);
    let found = index(&texts, 0.8).duplicates().iter().flatten().count();
    assert!(found >= 1900, "{found} of 2000 pairs");
    // One word more is 31 / 41, below the threshold.
    let texts = with_copies(4000, 2, |_| 5);
    assert_eq!(index(&texts, 0.8).duplicates().iter().flatten().count(), 0);
}

#[test]
fn the_index_agrees_with_comparing_all_pairs() {
    let texts = with_copies(2000, 3, |i| i % 9);
    let sets: Vec<_> = texts.iter().map(|text| shingles(&[text], NGRAM)).collect();
    let mut brute = 0;
    let mut kept: Vec<usize> = Vec::new();
    let mut expected = vec![None; texts.len()];
    for i in 0..texts.len() {
        match kept.iter().find(|j| jaccard(&sets[i], &sets[**j]) >= 0.8) {
            Some(j) => {
                brute += 1;
                expected[i] = Some(*j);
            }
            None => kept.push(i),
        }
    }
    assert!(brute > 400, "{brute}");
    let found = index(&texts, 0.8).duplicates();
    let mut missed = 0;
    for (found, expected) in found.iter().zip(&expected) {
        match (found, expected) {
            (Some(found), Some(expected)) => assert_eq!(found.earlier, *expected),
            (None, Some(_)) => missed += 1,
            (Some(found), None) => panic!("{found:?} is not alike"),
            (None, None) => {}
        }
    }
    assert!(missed * 20 <= brute, "{missed} of {brute} missed");
}

#[test]
fn a_chain_is_one_cluster_but_keeps_what_is_not_alike() {
    let words: Vec<String> = (0..46).map(|i| format!("word{i}")).collect();
    // Each is 0.82 like the next, the ends are 0.67 alike.
    let texts: Vec<String> = (0..3).map(|i| words[4 * i..4 * i + 38].join(" ")).collect();
    let index = index(&texts, 0.8);
    let gone: Vec<bool> = index.duplicates().iter().map(Option::is_some).collect();
    assert_eq!(gone, [false, true, false]);
    let mut sets = JoinedSets::new(3);
    index.join(&mut sets);
    assert!((0..3).all(|i| sets.root(i) == 0));
}

#[test]
fn many_equal_texts_cost_no_pairs() {
    let texts = vec!["the same words again".to_owned(); 200_000];
    let index = index(&texts, 0.8);
    assert_eq!(index.duplicates().iter().flatten().count(), 199_999);
    assert_eq!(index.bucket_count, 0);
}

#[test]
fn bands_are_chosen_by_the_threshold() {
    assert_eq!(rows_per_band(0.8), 6);
    assert!(rows_per_band(0.5) < 4);
    assert!(rows_per_band(0.95) > 12);
    assert_eq!(rows_per_band(1.0), HASHES / 2);
}
