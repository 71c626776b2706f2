//! The one seed of a run and the 64-bit keys derived from it.
//! Drawing numbers from a key is [`crate::KeyRng`]'s, shuffling [`crate::Permutation`]'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Weyl increment of SplitMix64, 2⁶⁴ divided by the golden ratio, odd.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The one seed of a run, from which all randomness descends.
///
/// ```
/// use sinterlm_config::{KeyRng, Seed, Stream};
/// let key = Seed(1).key(Stream::Dropout, 10, 0, 3);
/// assert_eq!(key, Seed(1).key(Stream::Dropout, 10, 0, 3));
/// assert!(KeyRng::new(key).next_f32() < 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Seed(pub u64);

impl Seed {
    /// Key of one place of use: a pure function of the seed and where the key is used, so that a
    /// resumed run draws what an unbroken one would have drawn.
    ///
    /// `step` is the optimizer step, `micro` the micro-batch in it, `site` tells apart the places
    /// that draw within one micro-batch (a layer's number, the [`stable_hash`] of a path). Unused
    /// coordinates are 0. Each word goes through the SplitMix64 finaliser (Steele et al. 2014),
    /// so neighbouring coordinates give unrelated keys. The values are part of the checkpoint
    /// format: they never change.
    #[must_use]
    pub fn key(self, stream: Stream, step: u64, micro: u64, site: u64) -> u64 {
        [stream as u64, step, micro, site].into_iter().fold(
            mix(self.0.wrapping_add(GOLDEN)),
            // The odd factor keeps `hash + word` of one round apart from those of the next.
            |hash, word| {
                mix(hash
                    .wrapping_mul(GOLDEN)
                    .wrapping_add(word)
                    .wrapping_add(GOLDEN))
            },
        )
    }
}

/// What a random key is for; two streams of one seed never share a key on purpose.
///
/// The discriminants enter [`Seed::key`] and are fixed for ever; new streams take new numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u64)]
pub enum Stream {
    /// Initial weights; the site is the [`stable_hash`] of the parameter's path.
    Init = 1,
    /// Order of training data; the step is the epoch.
    Order = 2,
    /// Dropout masks.
    Dropout = 3,
    /// Sampling of tokens in generation and rollouts.
    Sample = 4,
    /// Which documents form the validation set.
    Split = 5,
    /// Generated stories of the built-in corpus.
    Stories = 6,
    /// Random inputs of self-checks and probes.
    Probe = 7,
    /// Generated records of the built-in sets; the site is the [`stable_hash`] of the set's name.
    Records = 8,
}

/// Hash of bytes that is the same on every machine and in every version.
///
/// 64-bit FNV-1a (offset basis `cbf29ce484222325`, prime `100000001b3`) followed by the SplitMix64
/// finaliser, as FNV alone leaves the high bits of short inputs poorly mixed. For parameter paths
/// and split hashing; no defence against inputs made to collide.
///
/// ```
/// assert_eq!(sinterlm_config::stable_hash(b"blocks.0.attention.q"), 0xb8b1_b7d6_d6c2_6c68);
/// ```
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// SplitMix64's finaliser, a bijection of 64-bit words.
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighbouring_coordinates_give_distinct_keys() {
        let mut keys = HashSet::new();
        for seed in 0..4 {
            for stream in [Stream::Init, Stream::Order, Stream::Probe] {
                for word in 0..1000 {
                    let (step, micro, site) = (word / 100, word / 10 % 10, word % 10);
                    assert!(keys.insert(Seed(seed).key(stream, step, micro, site)));
                }
            }
        }
    }

    #[test]
    fn one_flipped_bit_flips_about_half_of_the_key() {
        let flips: u32 = (0..64)
            .map(|bit| {
                let base = Seed(7).key(Stream::Dropout, 5, 0, 9);
                (base ^ Seed(7).key(Stream::Dropout, 5 ^ (1 << bit), 0, 9)).count_ones()
            })
            .sum();
        let mean = f64::from(flips) / 64.0;
        assert!((mean - 32.0).abs() < 2.0, "{mean} bits flip on average");
    }
}
