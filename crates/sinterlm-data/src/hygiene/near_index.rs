//! Finds near-duplicates among many texts: MinHash (Broder 1997) with locality-sensitive hashing in
//! bands (Leskovec et al., Mining of Massive Datasets, section 3.4), each candidate verified by the
//! exact Jaccard similarity of its shingles.

use std::collections::HashMap;

use rayon::prelude::*;

use super::shingles::{jaccard, mixed, shingles};

/// MinHash values of a text.
const HASHES: usize = 128;
/// Share of the pairs at the threshold that has to become candidates.
const RECALL: f64 = 0.99;
/// A text in no bucket with another one.
const ALONE: u32 = u32::MAX;

/// A pair of texts that are alike, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Near {
    /// The one that came first.
    pub(super) earlier: usize,
    pub(super) jaccard: f64,
}

/// Candidates among texts, in buckets.
///
/// Memory is 8 bytes a band for each text at first, 4 bytes a band afterwards, and the shingles of
/// those texts that share a bucket with another one.
#[derive(Debug)]
pub(super) struct NearIndex {
    threshold: f64,
    bands: usize,
    /// The bucket of each text in each band, `[texts, bands]`.
    buckets: Vec<u32>,
    bucket_count: usize,
    /// The first text with the same shingles; its own number where it is the first.
    first: Vec<u32>,
    /// Shingles of the candidates; empty for others.
    sets: Vec<Box<[u64]>>,
}

impl NearIndex {
    /// Indexes `count` texts, which `text` gives in parts by number.
    ///
    /// # Panics
    /// If there are more than four billion texts.
    pub(super) fn new<'t>(
        count: usize,
        text: impl Fn(usize) -> Vec<&'t str> + Sync,
        ngram: usize,
        threshold: f64,
    ) -> Self {
        assert!(count < ALONE as usize, "near duplicates: too many texts");
        let rows = rows_per_band(threshold);
        let bands = HASHES / rows;
        let factors = factors(bands * rows);
        let (set_keys, mut keys) = (0..count)
            .into_par_iter()
            .map(|i| {
                let set = shingles(&text(i), ngram);
                let set_key = set.iter().fold(set.len() as u64, |hash, s| mixed(hash ^ s));
                (set_key, band_keys(&set, &factors, rows))
            })
            .unzip::<_, _, Vec<u64>, Vec<Box<[u64]>>>();
        let first = first_of_each(&set_keys);
        let mut buckets = vec![ALONE; count * bands];
        let mut bucket_count = 0;
        let mut sorted: Vec<(u64, u32)> = Vec::with_capacity(count);
        for band in 0..bands {
            sorted.clear();
            let firsts = (0..count).filter(|i| first[*i] as usize == *i);
            sorted.extend(firsts.map(|i| (keys[i][band], i as u32)));
            sorted.par_sort_unstable();
            for bucket in sorted.chunk_by(|a, b| a.0 == b.0).filter(|b| b.len() > 1) {
                for (_, i) in bucket {
                    buckets[*i as usize * bands + band] = bucket_count;
                }
                bucket_count += 1;
            }
        }
        keys.clear();
        let sets = buckets.par_chunks(bands).enumerate().map(|(i, own)| {
            if own.iter().all(|bucket| *bucket == ALONE) {
                Box::default()
            } else {
                shingles(&text(i), ngram).into_boxed_slice()
            }
        });
        Self {
            threshold,
            bands,
            sets: sets.collect(),
            bucket_count: bucket_count as usize,
            buckets,
            first,
        }
    }

    /// For each text, the earlier text that stays and that it is alike, where there is one. Texts are
    /// taken in their order, so those that stay are the first of their kind, and no two that stay
    /// are alike (but for pairs that the index misses).
    pub(super) fn duplicates(&self) -> Vec<Option<Near>> {
        let mut kept: Vec<Vec<u32>> = vec![Vec::new(); self.bucket_count];
        let mut near: Vec<Option<Near>> = vec![None; self.first.len()];
        // The last text that each one was compared with, as two may meet in many buckets.
        let mut met = vec![ALONE; self.first.len()];
        for i in 0..self.first.len() {
            let first = self.first[i] as usize;
            if first != i {
                let kept = near[first];
                near[i] = Some(kept.unwrap_or(Near {
                    earlier: first,
                    jaccard: 1.0,
                }));
                continue;
            }
            'search: for bucket in self.buckets_of(i) {
                for &earlier in &kept[bucket] {
                    if met[earlier as usize] == i as u32 {
                        continue;
                    }
                    met[earlier as usize] = i as u32;
                    if let Some(jaccard) = self.alike(i, earlier as usize) {
                        near[i] = Some(Near {
                            earlier: earlier as usize,
                            jaccard,
                        });
                        break 'search;
                    }
                }
            }
            if near[i].is_none() {
                for bucket in self.buckets_of(i) {
                    kept[bucket].push(i as u32);
                }
            }
        }
        near
    }

    /// Joins in `sets` all texts that are alike, also by way of others. Does not depend on the order
    /// of the texts.
    pub(super) fn join(&self, sets: &mut JoinedSets) {
        // A bucket's texts in groups that are joined already: whoever is joined with one text of a
        // group need not be compared with the others.
        let mut groups: Vec<Vec<Vec<u32>>> = vec![Vec::new(); self.bucket_count];
        let mut met = vec![ALONE; self.first.len()];
        for i in 0..self.first.len() {
            if self.first[i] as usize != i {
                sets.join(i, self.first[i] as usize);
                continue;
            }
            for bucket in self.buckets_of(i) {
                let mut own = vec![i as u32];
                let mut others = Vec::new();
                for group in std::mem::take(&mut groups[bucket]) {
                    if sets.root(group[0] as usize) != sets.root(i) {
                        for &other in &group {
                            if std::mem::replace(&mut met[other as usize], i as u32) == i as u32 {
                                continue;
                            }
                            if self.alike(i, other as usize).is_some() {
                                sets.join(i, other as usize);
                                break;
                            }
                        }
                    }
                    if sets.root(group[0] as usize) == sets.root(i) {
                        // The longer list takes the shorter one, so that no text moves often.
                        let (mut long, short) = if group.len() > own.len() {
                            (group, own)
                        } else {
                            (own, group)
                        };
                        long.extend(short);
                        own = long;
                    } else {
                        others.push(group);
                    }
                }
                others.push(own);
                groups[bucket] = others;
            }
        }
    }

    fn buckets_of(&self, i: usize) -> impl Iterator<Item = usize> {
        let own = &self.buckets[i * self.bands..(i + 1) * self.bands];
        own.iter()
            .filter(|bucket| **bucket != ALONE)
            .map(|bucket| *bucket as usize)
    }

    fn alike(&self, a: usize, b: usize) -> Option<f64> {
        let (a, b) = (&self.sets[a], &self.sets[b]);
        let most = a.len().min(b.len()) as f64 / a.len().max(b.len()) as f64;
        if most < self.threshold {
            return None;
        }
        Some(jaccard(a, b)).filter(|jaccard| *jaccard >= self.threshold)
    }
}

/// Numbers in disjoint sets that are joined (Tarjan 1975).
#[derive(Debug)]
pub(super) struct JoinedSets(Vec<u32>);

impl JoinedSets {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count as u32).collect())
    }

    /// The number that stands for the set.
    pub(super) fn root(&mut self, mut i: usize) -> usize {
        while self.0[i] as usize != i {
            self.0[i] = self.0[self.0[i] as usize];
            i = self.0[i] as usize;
        }
        i
    }

    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b) as u32;
    }
}

/// The most rows for which pairs at the threshold become candidates as often as [`RECALL`] asks: with
/// `r` rows in `b` bands a pair of similarity `s` does with probability `1 − (1 − sʳ)ᵇ`.
fn rows_per_band(threshold: f64) -> usize {
    let recall =
        |rows: usize| 1.0 - (1.0 - threshold.powi(rows as i32)).powi((HASHES / rows) as i32);
    (1..=HASHES / 2)
        .rev()
        .find(|rows| recall(*rows) >= RECALL)
        .unwrap_or(1)
}

/// Factor and summand of each hash function, multiply-shift (Dietzfelbinger et al. 1997).
fn factors(count: usize) -> Vec<(u64, u64)> {
    let word = |i: usize| mixed(0x5eed_0000_0000_0000 + i as u64);
    (0..count)
        .map(|i| (word(2 * i) | 1, word(2 * i + 1)))
        .collect()
}

/// The key of each band: the hash of its MinHash values.
fn band_keys(set: &[u64], factors: &[(u64, u64)], rows: usize) -> Box<[u64]> {
    let mut least = vec![u32::MAX; factors.len()];
    for shingle in set {
        for (least, (a, b)) in least.iter_mut().zip(factors) {
            *least = (*least).min((shingle.wrapping_mul(*a).wrapping_add(*b) >> 32) as u32);
        }
    }
    let bands = least.chunks_exact(rows);
    bands
        .map(|band| {
            band.iter()
                .fold(0, |hash, value| mixed(hash ^ u64::from(*value)))
        })
        .collect()
}

/// The number of the first equal key for each key.
fn first_of_each(keys: &[u64]) -> Vec<u32> {
    let mut seen: HashMap<u64, u32> = HashMap::with_capacity(keys.len());
    let numbered = keys.iter().zip(0..);
    numbered
        .map(|(key, i)| *seen.entry(*key).or_insert(i))
        .collect()
}

#[cfg(test)]
mod tests;
