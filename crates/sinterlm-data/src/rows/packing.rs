//! Several rows of data in one row of a batch.

use std::collections::BTreeSet;

/// Puts items into bins of `size` by best fit decreasing: the longest first, each into the fullest bin
/// that has room for it (Johnson 1973), in O(n log n). Equal lengths keep their order, so the result
/// depends on the lengths alone. Returns the items of each bin.
///
/// # Panics
/// If a length is above `size`.
pub(super) fn best_fit(lengths: &[usize], size: usize) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
    order.sort_by_key(|item| std::cmp::Reverse(lengths[*item as usize]));
    let mut bins: Vec<Vec<u32>> = Vec::new();
    let mut room: BTreeSet<(usize, usize)> = BTreeSet::new();
    for item in order {
        let len = lengths[item as usize];
        assert!(
            len <= size,
            "packing: a row of {len} tokens, bins of {size}"
        );
        let found = room.range((len, 0)..).next().copied();
        let (left, bin) = found.unwrap_or((size, bins.len()));
        if !room.remove(&(left, bin)) {
            bins.push(Vec::new());
        }
        bins[bin].push(item);
        room.insert((left - len, bin));
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fullest_bin_with_room_is_taken() {
        // 6 and 5 open bins of 8; 3 fills the second, 2 the first, 1 opens a third.
        let bins = best_fit(&[2, 6, 3, 5, 1], 8);
        assert_eq!(bins, [vec![1, 0], vec![3, 2], vec![4]]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_item_lies_in_one_bin_that_it_fits(lengths in prop::collection::vec(0_usize..=32, 0..200)) {
            let bins = best_fit(&lengths, 32);
            let mut seen: Vec<u32> = bins.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len() as u32).collect::<Vec<_>>());
            for bin in &bins {
                prop_assert!(bin.iter().map(|item| lengths[*item as usize]).sum::<usize>() <= 32);
            }
            // Any two neighbours hold more than one bin, as the second had no room in the first.
            let total: usize = lengths.iter().sum();
            prop_assert!(bins.len() <= 2 * total.div_ceil(32) + 1, "{} bins for {total}", bins.len());
        }
    }
}
