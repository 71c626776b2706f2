//! Weights and inputs by formula, so that no two libraries have to share a random number generator.
//! `fixtures/fixed_fill.py` repeats it in Python; both pin the same known values.

/// Numbers in `[-scale, scale)` fixed by `path` and the position alone, in row-major order.
///
/// With `h` the 64-bit FNV-1a hash of the UTF-8 bytes of `path` and `i` the position,
/// `k = splitmix64(h + i) >> 40` and the value is `((k - 2^23) / 2^23) · scale`, in which only the
/// last product rounds (to f32). Sums are modulo 2^64. SplitMix64: Steele, Lea and Flood 2014.
///
/// ```
/// use sinterlm_testkit::fixed_fill;
/// assert_eq!(fixed_fill("blocks.0.attn.q.weight", &[2, 2], 0.2).len(), 4);
/// ```
pub fn fixed_fill(path: &str, shape: &[usize], scale: f32) -> Vec<f32> {
    let unit = |k: u64| (k as f32 - 8_388_608.0) / 8_388_608.0; // both exact: |k − 2^23| ≤ 2^23
    draws(path, shape).map(|k| unit(k) * scale).collect()
}

/// Whole numbers in `0..bound` fixed by `path` and the position alone: `k mod bound`, where `k` is
/// the 24-bit draw of [`fixed_fill`]. For token ids and the like.
///
/// # Panics
/// If `bound` is 0.
pub fn fixed_index(path: &str, shape: &[usize], bound: usize) -> Vec<usize> {
    assert!(bound > 0, "fixed_index: bound must be at least 1");
    draws(path, shape).map(|k| k as usize % bound).collect()
}

/// The initial value of a model parameter in the golden files, by its path.
///
/// Vectors named `weight` (the norms) lie within 0.1 of 1, vectors named `bias` within 0.1 of 0,
/// matrices within 0.3 of 0: large enough that each part of the network moves the loss.
///
/// # Shapes
/// - `shape`: that of the parameter, linear weights as `[d_out, d_in]`
/// - returns row-major
pub fn fixed_weight(path: &str, shape: &[usize]) -> Vec<f32> {
    match (shape.len(), path.ends_with(".weight")) {
        (1, true) => fixed_fill(path, shape, 0.1)
            .into_iter()
            .map(|v| 1.0 + v)
            .collect(),
        (1, false) => fixed_fill(path, shape, 0.1),
        _ => fixed_fill(path, shape, 0.3),
    }
}

/// 24-bit draws, one for each element.
fn draws(path: &str, shape: &[usize]) -> impl Iterator<Item = u64> {
    let hash = fnv1a(path.as_bytes());
    let len = shape.iter().product::<usize>() as u64;
    (0..len).map(move |i| splitmix64(hash.wrapping_add(i)) >> 40)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `python fixtures/fixed_fill.py` asserts the same four.
    #[test]
    fn the_formula_has_the_values_that_python_has() {
        let expected = [-0.611_036_9, 0.386_043_3, -0.170_346_38, 0.401_584_5];
        assert_eq!(fixed_fill("wte.weight", &[2, 2], 1.0), expected);
    }

    #[test]
    fn values_spread_evenly_over_the_range() {
        let values = fixed_fill("spread", &[10_000], 2.0);
        let mean = values.iter().sum::<f32>() / 10_000.0;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.05, "mean {mean}");
        assert!((variance - 4.0 / 3.0).abs() < 0.05, "variance {variance}");
        assert!(values.iter().all(|v| (-2.0..2.0).contains(v)));
    }

    #[test]
    fn paths_give_different_values() {
        assert_ne!(fixed_fill("a", &[8], 1.0), fixed_fill("b", &[8], 1.0));
    }

    #[test]
    fn norm_weights_lie_around_one_and_biases_around_zero() {
        assert!(
            fixed_weight("norm.weight", &[32])
                .iter()
                .all(|v| (v - 1.0).abs() <= 0.1)
        );
        assert!(
            fixed_weight("norm.bias", &[32])
                .iter()
                .all(|v| v.abs() <= 0.1)
        );
        assert!(
            fixed_weight("wte.weight", &[4, 8])
                .iter()
                .any(|v| v.abs() > 0.1)
        );
    }

    #[test]
    fn indices_stay_below_the_bound() {
        let ids = fixed_index("ids", &[3, 100], 61);
        assert!(ids.iter().all(|&id| id < 61));
        assert!(ids.iter().any(|&id| id > 50));
    }
}
