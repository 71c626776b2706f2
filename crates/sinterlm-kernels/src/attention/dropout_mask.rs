//! The dropout mask of attention weights as a function of key and position, so that it can be
//! made again in pieces and in any order.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

/// Which weights to drop, for one (row, head, query): a hash of the key position.
#[derive(Clone, Copy)]
pub(super) struct LineMask {
    add: u32,
    flip: u32,
    threshold: u32,
}

impl LineMask {
    /// `line` numbers the (row, head, query) as `(row · heads + head) · seq + query`.
    pub(super) fn new(key: u64, line: u64, p: f64) -> Self {
        let bits = splitmix(key ^ splitmix(line));
        Self {
            add: bits as u32,
            flip: (bits >> 32) as u32,
            threshold: (p * 4_294_967_296.0) as u32,
        }
    }

    /// Whether the weight on key position `position` is dropped.
    #[inline(always)]
    pub(super) fn drops(self, position: u32) -> bool {
        // The 32-bit finalizer found by Wellons, "Prospecting for hash functions" (2018), with
        // the other half of the line's bits mixed in halfway.
        let mut x = position.wrapping_mul(0x9e37_79b9).wrapping_add(self.add);
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d) ^ self.flip;
        x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        (x ^ (x >> 16)) < self.threshold
    }
}

/// The whole mask `[rows, heads, seq, seq]`, true = dropped.
pub(super) fn dropped([rows, heads, seq]: [usize; 3], p: f64, key: u64) -> Vec<bool> {
    dropped_in(0..(rows * heads * seq) as u64, seq, p, key)
}

/// Those lines of it, each of `seq` weights.
pub(super) fn dropped_in(
    lines: impl Iterator<Item = u64>,
    seq: usize,
    p: f64,
    key: u64,
) -> Vec<bool> {
    let line = |line| {
        let mask = LineMask::new(key, line, p);
        (0..seq as u32).map(move |position| mask.drops(position))
    };
    lines.flat_map(line).collect()
}

/// Steele, Lea and Flood 2014, the output function of `SplitMix64`.
fn splitmix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_drops_at_its_rate_and_depends_on_key_and_line() {
        let mask = dropped([2, 4, 64], 0.1, 7);
        let rate = mask.iter().filter(|&&x| x).count() as f64 / mask.len() as f64;
        // 32,768 draws: the standard deviation of the rate is 0.0017.
        assert!((rate - 0.1).abs() < 0.007, "rate {rate}");
        assert_ne!(mask, dropped([2, 4, 64], 0.1, 8));
        assert_ne!(mask[..64], mask[64..128]);
    }
}
