//! A counter-based random stream drawn from one key; where keys come from is [`crate::Seed`]'s.

use std::convert::Infallible;

use rand::{Rng, TryRng};

use crate::seed::{GOLDEN, mix};

/// Random stream of a 64-bit key, any position of which is reached in constant time.
///
/// Word `i` is `mix(mix(key + (i + 1)·φ) + k₂)`, with SplitMix64's finaliser `mix`, its increment
/// `φ` and a second key `k₂ = mix(key ⊕ φ)`: without `k₂` all keys would walk one common orbit and
/// two streams could overlap. Statistical quality only; not for secrets. Implements rand's
/// [`TryRng`] and through it `Rng`, so rand's distributions and shuffles work on it.
///
/// ```
/// use rand::RngExt;
/// use sinterlm_config::KeyRng;
/// let mut rng = KeyRng::new(42);
/// let die = rng.random_range(1..=6);
/// assert_eq!(die, KeyRng::at(42, 0).random_range(1..=6));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRng {
    key: u64,
    second_key: u64,
    position: u64,
}

impl KeyRng {
    /// Stream of `key` from its first word.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self::at(key, 0)
    }

    /// Stream of `key` from word `position` on, in constant time.
    #[must_use]
    pub fn at(key: u64, position: u64) -> Self {
        Self {
            key,
            second_key: mix(key ^ GOLDEN),
            position,
        }
    }

    /// Number of 64-bit words drawn before the next one; [`KeyRng::at`] goes back to it.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Uniform in `[0, 1)` with 24 bits; draws one word.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Standard normal by Box and Muller 1958; draws two words.
    ///
    /// Computed in f64 and rounded, so that the last bit of a platform's `ln` and `cos` hardly
    /// ever shows. Lies within ±8.6.
    pub fn normal(&mut self) -> f32 {
        // In (0, 1], so that the logarithm is finite.
        let radius_uniform = unit_f64(self.next_u64()) + f64::EPSILON / 2.0;
        let angle = std::f64::consts::TAU * unit_f64(self.next_u64());
        ((-2.0 * radius_uniform.ln()).sqrt() * angle.cos()) as f32
    }
}

impl TryRng for KeyRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| (word >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.position = self.position.wrapping_add(1);
        let inner = mix(self.key.wrapping_add(self.position.wrapping_mul(GOLDEN)));
        Ok(mix(inner.wrapping_add(self.second_key)))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

/// Uniform in `[0, 1)` with 53 bits.
fn unit_f64(word: u64) -> f64 {
    (word >> 11) as f64 * (f64::EPSILON / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_the_moments_of_a_standard_normal() {
        let mut rng = KeyRng::new(3);
        let count = 200_000;
        let mut moments = [0.0_f64; 4];
        for _ in 0..count {
            let draw = f64::from(rng.normal());
            for (power, moment) in (1..).zip(&mut moments) {
                *moment += draw.powi(power) / f64::from(count);
            }
        }
        // Five standard errors: of the mean 1/√n, of the others √(15 - 1)/√n and the like.
        for (moment, (expected, error)) in
            moments
                .into_iter()
                .zip([(0.0, 1.0), (1.0, 1.5), (0.0, 3.9), (3.0, 9.8)])
        {
            let tolerance = 5.0 * error / f64::from(count).sqrt();
            assert!(
                (moment - expected).abs() < tolerance,
                "{moment} is not near {expected}"
            );
        }
    }

    #[test]
    fn next_f32_stays_below_one_and_is_uniform() {
        let mut rng = KeyRng::new(11);
        let mut bins = [0_u32; 16];
        for _ in 0..160_000 {
            let draw = rng.next_f32();
            assert!((0.0..1.0).contains(&draw));
            bins[(draw * 16.0) as usize] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(
            bins.iter().all(|&bin| bin.abs_diff(10_000) < 500),
            "{bins:?}"
        );
    }

    #[test]
    fn fill_bytes_draws_one_word_per_eight_bytes() {
        let mut rng = KeyRng::new(5);
        let mut bytes = [0; 11];
        rng.fill_bytes(&mut bytes);
        assert_eq!(rng.position(), 2);
        assert_eq!(bytes[..8], KeyRng::new(5).next_u64().to_le_bytes());
    }
}
