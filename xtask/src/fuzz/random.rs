//! The numbers behind the fuzzer's choices: the same on every machine for one seed and case.

/// SplitMix64 (Steele et al. 2014), which needs no crate.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The choices of one case.
    pub(super) fn of(seed: u64, case: u64) -> Self {
        let mut random = Self(seed);
        random.0 = random.next().wrapping_add(case);
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 where `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end.max(1)
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `items`, which is not empty.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
