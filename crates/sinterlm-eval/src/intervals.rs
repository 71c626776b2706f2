//! 95 % intervals: Wilson's for shares, the bootstrap's for means of items that come in groups.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};
use sinterlm_config::{Seed, Stream, stable_hash};

/// The 97.5 % quantile of the standard normal.
const Z: f64 = 1.959_963_984_540_054;

/// Samples that a bootstrap draws; the ends then move by a few per cent of the width between seeds.
const RESAMPLES: u64 = 2000;

/// A figure with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure itself.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Items that were measured.
    pub count: u64,
}

impl Interval {
    /// The share `hits / count` with Wilson's score interval; `None` of no items.
    ///
    /// `(p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)`, Wilson 1927, without a correction for
    /// continuity. Unlike the normal interval it stays within 0 and 1 and does not shrink to a
    /// point where all items agree.
    ///
    /// # Panics
    /// If there are more hits than items.
    ///
    /// ```
    /// let all = sinterlm_eval::Interval::wilson(30, 30).unwrap();
    /// assert!(all.high == 1.0 && (all.low - 0.886).abs() < 1e-3);
    /// ```
    pub fn wilson(hits: u64, count: u64) -> Option<Self> {
        assert!(hits <= count, "wilson: {hits} hits of {count} items");
        if count == 0 {
            return None;
        }
        let n = count as f64;
        let share = hits as f64 / n;
        let centre = share + Z * Z / (2.0 * n);
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Some(Self {
            value: share,
            // Exact where rounding would leave a tiny remainder.
            low: if hits == 0 {
                0.0
            } else {
                (centre - half) / scale
            },
            high: if hits == count {
                1.0
            } else {
                (centre + half) / scale
            },
            count,
        })
    }

    /// The mean of all items with the percentile interval of a bootstrap over groups.
    ///
    /// Items of one group (the answers to one prompt) are drawn together, since they are not
    /// independent; with a group for each item it is the ordinary bootstrap. 2,000 samples of as
    /// many groups as there are, with replacement; a sample's figure is the mean over the items
    /// in it; the ends are its 2.5 % and 97.5 % quantiles, interpolated linearly (Efron 1979).
    ///
    /// `None` where there are fewer than two groups, which say nothing about how groups differ,
    /// or where a value is not finite. Equal seeds and items in equal order give equal intervals.
    pub fn bootstrap<G: Eq + Hash>(
        items: impl IntoIterator<Item = (G, f64)>,
        seed: Seed,
    ) -> Option<Self> {
        let groups = sums_by_group(items);
        if groups.len() < 2 || groups.iter().any(|(sum, _)| !sum.is_finite()) {
            return None;
        }
        let site = stable_hash(b"eval.bootstrap");
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|sample| {
                mean((0..groups.len() as u64).map(|draw| {
                    let word = seed.key(Stream::Probe, sample, draw, site);
                    groups[below(word, groups.len())]
                }))
            })
            .collect();
        means.sort_by(f64::total_cmp);
        Some(Self {
            value: mean(groups.iter().copied()),
            low: quantile(&means, 0.025),
            high: quantile(&means, 0.975),
            count: groups.iter().map(|(_, count)| count).sum(),
        })
    }
}

/// Sum and number of the items of each group, in the order in which groups come first.
fn sums_by_group<G: Eq + Hash>(items: impl IntoIterator<Item = (G, f64)>) -> Vec<(f64, u64)> {
    let mut places = HashMap::new();
    let mut groups: Vec<(f64, u64)> = Vec::new();
    for (group, value) in items {
        let place = *places.entry(group).or_insert(groups.len());
        if place == groups.len() {
            groups.push((0.0, 0));
        }
        groups[place].0 += value;
        groups[place].1 += 1;
    }
    groups
}

fn mean(groups: impl Iterator<Item = (f64, u64)>) -> f64 {
    let (sum, count) = groups.fold((0.0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    sum / count as f64
}

/// A word scaled to `0..length`; its bias is below `length / 2⁶⁴`.
fn below(word: u64, length: usize) -> usize {
    ((u128::from(word) * length as u128) >> 64) as usize
}

/// Quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let lower = sorted[at.floor() as usize];
    lower + (sorted[at.ceil() as usize] - lower) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 for a third of the items, spread evenly.
    fn third(i: u64) -> f64 {
        f64::from(u8::from(i.is_multiple_of(3)))
    }

    #[test]
    fn a_bootstrap_of_single_items_is_near_wilsons_interval() {
        let exact = Interval::wilson(200, 600).unwrap();
        let drawn = Interval::bootstrap((0..600).map(|i| (i, third(i))), Seed(1)).unwrap();
        assert!((drawn.value - exact.value).abs() < 1e-12);
        assert!((drawn.low - exact.low).abs() < 0.005, "{drawn:?} {exact:?}");
        assert!(
            (drawn.high - exact.high).abs() < 0.005,
            "{drawn:?} {exact:?}"
        );
    }

    #[test]
    fn repeating_each_item_in_its_group_leaves_the_interval_as_wide() {
        let once = Interval::bootstrap((0..90).map(|i| (i, third(i))), Seed(2)).unwrap();
        let items = (0..900).map(|i| (i / 10, third(i / 10)));
        let tenfold = Interval::bootstrap(items.clone(), Seed(2)).unwrap();
        let apart = Interval::bootstrap(items.enumerate().map(|(i, (_, v))| (i, v)), Seed(2));
        let width = |interval: &Interval| interval.high - interval.low;
        assert!((width(&tenfold) - width(&once)).abs() < 1e-12);
        assert!(width(&tenfold) > 2.5 * width(&apart.unwrap()));
        assert_eq!(tenfold.count, 900);
    }

    #[test]
    fn the_seed_decides_the_draws() {
        let of = |seed| Interval::bootstrap((0..50).map(|i| (i, (i as f64).sin())), Seed(seed));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn what_cannot_be_measured_is_none() {
        assert_eq!(Interval::wilson(0, 0), None);
        assert_eq!(Interval::bootstrap([("a", 1.0), ("a", 0.0)], Seed(1)), None);
        assert_eq!(
            Interval::bootstrap([("a", 1.0), ("b", f64::NAN)], Seed(1)),
            None
        );
    }
}
