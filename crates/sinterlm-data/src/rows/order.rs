//! The order of rows: a keyed permutation of each set and epoch, read in groups of 4,096 items. What
//! a group holds is computed from its number alone.

use sinterlm_config::{Permutation, Seed, Stream};

use super::config::Mixture;

/// Items that are grouped by length, or packed, together.
pub(super) const GROUP: u64 = 4096;

/// A row of a [`RowSet`](crate::RowSet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowPlace {
    /// Number of the set.
    pub set: usize,
    /// Number of the row in it.
    pub row: usize,
}

/// The order of several sets.
#[derive(Clone, Debug)]
pub(super) struct Order {
    seed: Seed,
    /// Rows of each set.
    sizes: Vec<u64>,
    /// Rows drawn from each set in an epoch.
    draws: Vec<u64>,
}

impl Order {
    /// # Panics
    /// If a set is empty, or weights are not as many as sets.
    pub(super) fn new(sizes: Vec<u64>, mixture: &Mixture, seed: Seed) -> Self {
        assert!(sizes.iter().all(|size| *size > 0), "order: an empty set");
        let draws = match mixture {
            Mixture::BySize => sizes.clone(),
            Mixture::Weights(weights) => {
                assert_eq!(weights.len(), sizes.len(), "order: a weight for each set");
                shares(sizes.iter().sum(), weights)
            }
        };
        Self { seed, sizes, draws }
    }

    /// Items in an epoch.
    pub(super) fn len(&self) -> u64 {
        self.draws.iter().sum()
    }

    pub(super) fn groups(&self) -> u64 {
        self.len().div_ceil(GROUP)
    }

    /// Items of a group: 4,096 but for the last one, give or take what rounding the sets' shares does.
    pub(super) fn group_len(&self, group: u64) -> u64 {
        let (begin, end) = (group * GROUP, ((group + 1) * GROUP).min(self.len()));
        let draws = self.draws.iter();
        draws
            .map(|draws| self.until(*draws, end) - self.until(*draws, begin))
            .sum()
    }

    /// A set's share of the items up to a place of an epoch, rounded down.
    fn until(&self, draws: u64, at: u64) -> u64 {
        (u128::from(at) * u128::from(draws) / u128::from(self.len())) as u64
    }

    /// The items of a group of an epoch, in random order.
    pub(super) fn group(&self, epoch: u64, group: u64) -> Vec<RowPlace> {
        let (begin, end) = (group * GROUP, ((group + 1) * GROUP).min(self.len()));
        let mut places = Vec::with_capacity((end - begin) as usize);
        for (set, (&size, &draws)) in self.sizes.iter().zip(&self.draws).enumerate() {
            let before = epoch * draws;
            let mut known: Option<(u64, Permutation)> = None;
            for draw in before + self.until(draws, begin)..before + self.until(draws, end) {
                // How often the set was read before.
                let (pass, at) = (draw / size, draw % size);
                let order = match known.take() {
                    Some((of, order)) if of == pass => order,
                    _ => {
                        let key = self.seed.key(Stream::Order, pass, 0, set as u64);
                        Permutation::new(key, size)
                    }
                };
                let row = order.index(at) as usize;
                known = Some((pass, order));
                places.push(RowPlace { set, row });
            }
        }
        if self.sizes.len() > 1 {
            let mixed = self.shuffle(epoch, group, 1, places.len());
            places = mixed.into_iter().map(|at| places[at]).collect();
        }
        places
    }

    /// A random order of `count` things of a group; `what` tells apart the uses.
    pub(super) fn shuffle(&self, epoch: u64, group: u64, what: u64, count: usize) -> Vec<usize> {
        if count == 0 {
            return Vec::new();
        }
        // Sites of sets are small numbers; these are not.
        let key = self.seed.key(Stream::Order, epoch, group, what | 1 << 63);
        let order = Permutation::new(key, count as u64);
        (0..count as u64)
            .map(|at| order.index(at) as usize)
            .collect()
    }
}

/// `total` in parts that are to each other as the weights, each at least 1; what rounding leaves goes
/// to the largest remainders.
fn shares(total: u64, weights: &[f64]) -> Vec<u64> {
    let sum: f64 = weights.iter().sum();
    let exact: Vec<f64> = weights.iter().map(|w| total as f64 * w / sum).collect();
    let mut shares: Vec<u64> = exact.iter().map(|share| share.floor() as u64).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let remainder = |at: &usize| exact[*at] - exact[*at].floor();
    order.sort_by(|a, b| remainder(b).total_cmp(&remainder(a)));
    let left = total.saturating_sub(shares.iter().sum());
    for at in order.into_iter().cycle().take(left as usize) {
        shares[at] += 1;
    }
    shares.into_iter().map(|share| share.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn count(order: &Order, epochs: std::ops::Range<u64>) -> HashMap<(usize, usize), usize> {
        let mut seen = HashMap::new();
        for epoch in epochs {
            for group in 0..order.groups() {
                for place in order.group(epoch, group) {
                    *seen.entry((place.set, place.row)).or_default() += 1;
                }
            }
        }
        seen
    }

    #[test]
    fn an_epoch_by_size_holds_each_row_once() {
        let order = Order::new(vec![5000, 3, 4097], &Mixture::BySize, Seed(3));
        for epoch in 0..2 {
            let seen = count(&order, epoch..epoch + 1);
            assert_eq!(seen.len(), 9100);
            assert!(seen.values().all(|times| *times == 1));
        }
        assert_ne!(order.group(0, 0), order.group(1, 0));
    }

    #[test]
    fn weights_are_kept_in_every_group_and_small_sets_go_round() {
        let mixture = Mixture::Weights(vec![1.0, 3.0]);
        let order = Order::new(vec![9000, 1000], &mixture, Seed(3));
        assert_eq!(order.len(), 10_000);
        let of_second = |group| {
            let places = order.group(0, group);
            places.iter().filter(|place| place.set == 1).count()
        };
        assert_eq!(of_second(0), 3072);
        assert_eq!(of_second(1), 3072);
        // 7,500 draws an epoch: after two each of the 1,000 rows was drawn 15 times.
        let seen = count(&order, 0..2);
        let small = seen.iter().filter(|((set, _), _)| *set == 1);
        assert!(small.clone().all(|(_, times)| *times == 15));
        assert_eq!(small.count(), 1000);
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(shares(10, &[1.0, 1.0, 1.0]).iter().sum::<u64>(), 10);
        assert_eq!(shares(10, &[1e-9, 1.0]), [1, 10]);
    }
}
