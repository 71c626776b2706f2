//! A keyed shuffle of `0..len` without a table; which key and which items is the caller's.

use crate::seed::{GOLDEN, mix};

/// Eight rounds: on the smallest domains fewer leave visible patterns, and a round is a nanosecond.
const ROUNDS: usize = 8;

/// Keyed pseudo-random permutation of `0..len`, each element computed on its own.
///
/// A Feistel network on the next even number of bits; results outside `0..len` are sent through
/// again until they fall inside (cycle walking, Black and Rogaway 2002, section 3), at most four
/// times on average. Takes no memory, so `len` may be any count of documents or windows. The
/// values are part of the checkpoint format: they never change.
///
/// ```
/// use sinterlm_config::Permutation;
/// let order = Permutation::new(7, 10);
/// let mut all: Vec<u64> = (0..10).map(|i| order.index(i)).collect();
/// all.sort_unstable();
/// assert_eq!(all, (0..10).collect::<Vec<_>>());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    round_keys: [u64; ROUNDS],
    half_bits: u32,
    len: u64,
}

impl Permutation {
    /// Permutation of `0..len` that `key` selects.
    ///
    /// # Panics
    /// If `len` is 0: nothing has no order.
    #[must_use]
    pub fn new(key: u64, len: u64) -> Self {
        assert!(len > 0, "a permutation needs at least one element");
        let bits = u64::BITS - (len - 1).leading_zeros();
        let mut round_key = mix(key.wrapping_add(GOLDEN));
        let round_keys = std::array::from_fn(|_| {
            round_key = mix(round_key.wrapping_add(GOLDEN));
            round_key
        });
        Self {
            round_keys,
            half_bits: bits.div_ceil(2).max(1),
            len,
        }
    }

    /// Number of elements.
    // Never empty, so `is_empty` would say nothing.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where element `i` goes.
    ///
    /// # Panics
    /// If `i` is not below `len`.
    #[must_use]
    pub fn index(&self, i: u64) -> u64 {
        assert!(i < self.len, "element {i} of a permutation of {}", self.len);
        // Ends: the network permutes its domain, and the cycle of `i` comes back to `i` itself.
        let mut image = self.network(i);
        while image >= self.len {
            image = self.network(image);
        }
        image
    }

    fn network(&self, word: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (word >> self.half_bits, word & mask);
        for round_key in self.round_keys {
            (left, right) = (right, left ^ (mix(right ^ round_key) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_lengths_stay_in_range_and_distinct() {
        for len in [u64::MAX, u64::MAX - 1, (1 << 63) + 1, 1 << 62] {
            let order = Permutation::new(1, len);
            let mut images: Vec<u64> = (0..500)
                .chain(len - 500..len)
                .map(|i| order.index(i))
                .collect();
            assert!(images.iter().all(|&image| image < len));
            images.sort_unstable();
            images.dedup();
            assert_eq!(images.len(), 1000);
        }
    }

    #[test]
    fn every_element_reaches_every_place_about_equally_often() {
        let mut counts = [[0_u32; 7]; 7];
        for key in 0..7000 {
            let order = Permutation::new(key, 7);
            for (i, row) in (0..).zip(&mut counts) {
                row[order.index(i) as usize] += 1;
            }
        }
        // Five standard deviations of a binomial count with mean 1000.
        assert!(
            counts
                .iter()
                .flatten()
                .all(|count| count.abs_diff(1000) < 150),
            "{counts:?}"
        );
    }

    #[test]
    #[should_panic(expected = "element 3 of a permutation of 3")]
    fn an_element_outside_is_refused() {
        let _ = Permutation::new(0, 3).index(3);
    }
}
