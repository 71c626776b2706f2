//! Reductions over a row in parallel lanes, so that they become vector code under
//! [`crate::isa::vectorized`], in an order that depends on the row's length alone.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

/// Accumulators of a reduction: two 512-bit registers, so that additions overlap.
const LANES: usize = 32;

/// Sum of `term(i)` over `0..len`.
#[inline(always)]
pub(crate) fn lane_sum(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    reduce(len, 0.0, term, |a, b| a + b)
}

/// The largest `term(i)` over `0..len`, negative infinity where there is none; NaN is passed over.
#[inline(always)]
pub(crate) fn lane_max(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    reduce(len, f32::NEG_INFINITY, term, |a, b| if b > a { b } else { a })
}

#[inline(always)]
fn reduce(
    len: usize,
    start: f32,
    term: impl Fn(usize) -> f32,
    combine: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let whole = len - len % LANES;
    let mut at = 0;
    while at < whole {
        for (lane, value) in lanes.iter_mut().enumerate() {
            *value = combine(*value, term(at + lane));
        }
        at += LANES;
    }
    for (lane, value) in lanes.iter_mut().enumerate().take(len - whole) {
        *value = combine(*value, term(whole + lane));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = combine(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_term_is_taken_once() {
        for len in [0, 1, 31, 32, 33, 100] {
            assert_eq!(lane_sum(len, |i| i as f32), (0..len).sum::<usize>() as f32);
        }
        assert_eq!(lane_max(45, |i| -((i as f32) - 40.0).abs()), 0.0);
    }
}
