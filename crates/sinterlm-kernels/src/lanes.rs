//! Reductions over a row in parallel lanes, so that they become vector code under
//! [`crate::isa::vectorized`], in an order that depends on the row's length alone.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

/// Accumulators of a reduction: two 512-bit registers, so that additions overlap.
const LANES: usize = 32;

/// Sum of `term` over the elements at each place of `rows`.
///
/// # Panics
/// If the rows differ in length.
#[inline(always)]
pub(crate) fn lane_sum<const N: usize>(rows: [&[f32]; N], term: impl Fn([f32; N]) -> f32) -> f32 {
    reduce(rows, 0.0, term, |a, b| a + b)
}

/// The largest element, negative infinity where there is none; NaN is passed over.
#[inline(always)]
pub(crate) fn lane_max(row: &[f32]) -> f32 {
    reduce(
        [row],
        f32::NEG_INFINITY,
        |[value]| value,
        |a, b| if b > a { b } else { a },
    )
}

#[inline(always)]
fn reduce<const N: usize>(
    rows: [&[f32]; N],
    start: f32,
    term: impl Fn([f32; N]) -> f32,
    combine: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    // Arrays of constant length leave no bounds check in the inner loop to keep it scalar.
    let split = rows.map(<[f32]>::as_chunks::<LANES>);
    let blocks = split[0].0.len();
    assert!(
        split
            .iter()
            .all(|(whole, rest)| (whole.len(), rest.len()) == (blocks, split[0].1.len()))
    );
    for block in 0..blocks {
        let chunks = split.map(|(whole, _)| &whole[block]);
        for lane in 0..LANES {
            lanes[lane] = combine(lanes[lane], term(chunks.map(|chunk| chunk[lane])));
        }
    }
    // Apart from the lanes: indexing them by a variable would keep them in memory.
    let mut tail = start;
    for place in 0..split[0].1.len() {
        tail = combine(tail, term(split.map(|(_, rest)| rest[place])));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = combine(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    combine(lanes[0], tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_taken_once() {
        for len in [0, 1, 31, 32, 33, 100] {
            let row = (0..len).map(|i| i as f32).collect::<Vec<_>>();
            let squares = (0..len).map(|i| (i * i) as f32).sum::<f32>();
            let found = lane_sum([&row, &row], |[a, b]| a * b);
            assert!(
                (found - squares).abs() < 0.5,
                "{len}: {found} is not {squares}"
            );
            let largest = row.last().copied().unwrap_or(f32::NEG_INFINITY);
            assert!(lane_max(&row).total_cmp(&largest).is_eq());
        }
    }
}
