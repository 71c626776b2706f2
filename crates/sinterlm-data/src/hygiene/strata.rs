//! Which stratum a record belongs to, and how clusters of records are shared out so that each stratum
//! keeps its shares.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Record;

/// What has the same shares in every split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stratify {
    /// Nothing but the records as a whole.
    None,
    /// Each label.
    #[default]
    Label,
    /// Each task.
    Task,
    /// Each doubling of the length in characters.
    Length,
}

/// Records of a stratum in each split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitShares {
    /// The stratum: a label, a task, a range of lengths, or `all`.
    pub stratum: String,
    /// Records to train on.
    pub train: u64,
    /// Records to validate on.
    pub valid: u64,
    /// Records for the test.
    pub test: u64,
}

/// The names of training, validation and test set, in the order of the arrays below.
pub(super) const SPLITS: [&str; 3] = ["training", "validation", "test"];

/// The stratum of a record.
pub(super) fn stratum(record: &Record, by: Stratify) -> String {
    match by {
        Stratify::None => "all".to_owned(),
        Stratify::Label => record.label().unwrap_or("no label").to_owned(),
        Stratify::Task => record.task.as_deref().unwrap_or("no task").to_owned(),
        Stratify::Length => {
            let texts = record.texts().into_iter();
            let length = texts.map(|text| text.chars().count()).sum::<usize>().max(1);
            let from = 1_usize << length.ilog2();
            format!("{from} to {} characters", 2 * from - 1)
        }
    }
}

/// Records that go to the same split.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Random, but a function of seed and content alone.
    pub(super) key: u64,
    /// Records of each stratum, by the stratum's number.
    pub(super) counts: BTreeMap<usize, usize>,
}

impl Cluster {
    fn size(&self) -> usize {
        self.counts.values().sum()
    }

    /// The stratum of most of its records.
    fn home(&self) -> usize {
        let most = self
            .counts
            .iter()
            .max_by_key(|(stratum, count)| (**count, usize::MAX - **stratum));
        most.map_or(0, |(stratum, _)| *stratum)
    }
}

/// The split of each cluster.
///
/// Strata are filled one after another, the rarest first (Sechidis et al. 2011, section 3.2), large
/// clusters before small ones, each cluster into the split whose share of the stratum lacks most. What
/// a filled stratum lacks or has too much of is made up for by the next one, so that many small strata
/// do not round a whole split away. A split that nothing falls to takes the smallest cluster of the
/// largest one.
///
/// There have to be as many clusters as wanted splits, those of a share above 0.
pub(super) fn share_out(clusters: &[Cluster], shares: [f64; 3]) -> Vec<usize> {
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for cluster in clusters {
        for (stratum, count) in &cluster.counts {
            *sizes.entry(*stratum).or_default() += count;
        }
    }
    let mut order: Vec<usize> = (0..clusters.len()).collect();
    order.sort_by_key(|i| {
        let cluster = &clusters[*i];
        let home = cluster.home();
        (sizes[&home], home, usize::MAX - cluster.size(), cluster.key)
    });
    let mut lacking: BTreeMap<usize, [f64; 3]> = sizes
        .iter()
        .map(|(stratum, size)| (*stratum, shares.map(|share| share * *size as f64)))
        .collect();
    let wanted: Vec<usize> = (0..3).filter(|split| shares[*split] > 0.0).collect();
    let mut split_of = vec![0; clusters.len()];
    let mut carried = [0.0; 3];
    for of_stratum in order.chunk_by(|a, b| clusters[*a].home() == clusters[*b].home()) {
        let home = clusters[of_stratum[0]].home();
        for &i in of_stratum {
            let lacks = |split: usize| lacking[&home][split] + carried[split];
            let most = wanted.iter().copied().max_by(|a, b| {
                // Of two equal ones the first.
                lacks(*a).total_cmp(&lacks(*b)).then(b.cmp(a))
            });
            split_of[i] = most.unwrap_or(0);
            for (stratum, count) in &clusters[i].counts {
                let lacking = lacking
                    .get_mut(stratum)
                    .expect("every stratum has an entry");
                lacking[split_of[i]] -= *count as f64;
            }
        }
        for (carried, lacks) in carried.iter_mut().zip(lacking[&home]) {
            *carried += lacks;
        }
    }
    for &split in &wanted {
        if !split_of.contains(&split) {
            fill(split, &mut split_of, clusters);
        }
    }
    split_of
}

/// Moves into an empty split the smallest cluster of the split with most records and more than one
/// cluster.
fn fill(empty: usize, split_of: &mut [usize], clusters: &[Cluster]) {
    let members = |split: usize| -> Vec<usize> {
        (0..clusters.len())
            .filter(|i| split_of[*i] == split)
            .collect()
    };
    let records =
        |split: &usize| -> usize { members(*split).iter().map(|i| clusters[*i].size()).sum() };
    let donors = (0..3).filter(|split| members(*split).len() > 1);
    let moved = donors.max_by_key(records).and_then(|donor| {
        members(donor)
            .into_iter()
            .min_by_key(|i| (clusters[*i].size(), clusters[*i].key))
    });
    if let Some(moved) = moved {
        split_of[moved] = empty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(sizes: &[(usize, usize)]) -> Vec<Cluster> {
        let cluster = |(i, (stratum, size)): (usize, &(usize, usize))| Cluster {
            key: (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            counts: [(*stratum, *size)].into(),
        };
        sizes.iter().enumerate().map(cluster).collect()
    }

    fn counts(clusters: &[Cluster], shares: [f64; 3]) -> [usize; 3] {
        let mut counts = [0; 3];
        for (split, cluster) in share_out(clusters, shares).iter().zip(clusters) {
            counts[*split] += cluster.size();
        }
        counts
    }

    #[test]
    fn single_records_meet_the_shares_exactly() {
        let all = clusters(&vec![(0, 1); 1000]);
        assert_eq!(counts(&all, [0.8, 0.1, 0.1]), [800, 100, 100]);
        assert_eq!(counts(&all, [0.85, 0.15, 0.0]), [850, 150, 0]);
    }

    #[test]
    fn many_strata_of_one_record_do_not_starve_validation() {
        let all = clusters(&(0..100).map(|i| (i, 1)).collect::<Vec<_>>());
        let [train, valid, test] = counts(&all, [0.8, 0.1, 0.1]);
        assert!(
            (79..=81).contains(&train) && (9..=11).contains(&valid),
            "{train} {valid} {test}"
        );
    }

    #[test]
    fn large_clusters_are_made_up_for_by_small_ones() {
        let mut sizes = vec![(0, 30), (0, 8)];
        sizes.extend([(0, 1); 62]);
        assert_eq!(counts(&clusters(&sizes), [0.8, 0.2, 0.0]), [80, 20, 0]);
    }

    #[test]
    fn no_wanted_split_stays_empty() {
        assert_eq!(
            counts(&clusters(&[(0, 1), (0, 1)]), [0.95, 0.05, 0.0]),
            [1, 1, 0]
        );
        let three = clusters(&[(0, 5), (0, 1), (0, 3)]);
        assert_eq!(
            counts(&three, [0.9, 0.05, 0.05])
                .iter()
                .filter(|c| **c > 0)
                .count(),
            3
        );
    }
}
