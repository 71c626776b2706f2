//! Training, validation and test records that share nothing: records that are nearly the same, or
//! answer the same prompt, stay together.

use std::collections::{BTreeMap, HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Seed, Stream, Validate};

use super::canonical::text_key;
use super::labels::label_counts;
use super::near_index::{JoinedSets, NearIndex};
use super::strata::{Cluster, SPLITS, SplitShares, Stratify, share_out, stratum};
use crate::records::content_key;
use crate::{Body, ChatMessage, DataError, Record};

/// Share of the records above which a cluster is reported.
const LARGE_CLUSTER: f64 = 0.1;

/// How records are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// Share of the records for validation, from 0 to below 1.
    pub valid_fraction: f64,
    /// Share of the records for the test at the end, from 0 to below 1.
    pub test_fraction: f64,
    /// Seed of the split; the run's seed where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What has the same shares in every split, as near as clusters of records allow.
    pub stratify: Stratify,
    /// Jaccard similarity of word n-grams from which on two records stay together, from 0.2 to 1;
    /// 1 keeps only equal ones together. Raise it for records made from templates, which are all alike.
    #[schemars(range(min = 0.2, max = 1.0))]
    pub near_threshold: f64,
    /// Words of an n-gram.
    #[schemars(range(min = 1))]
    pub ngram: usize,
    /// Whether records with an equal prompt stay together.
    pub group_prompts: bool,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            valid_fraction: 0.1,
            test_fraction: 0.1,
            seed: None,
            stratify: Stratify::Label,
            near_threshold: 0.8,
            ngram: 3,
            group_prompts: true,
        }
    }
}

impl Validate for SplitConfig {
    fn validate(&self, check: &mut Check) {
        for (field, share) in [
            ("valid_fraction", self.valid_fraction),
            ("test_fraction", self.test_fraction),
        ] {
            check.require((0.0..1.0).contains(&share), field, || {
                format!("{share} is not from 0 to below 1; use 0.1")
            });
        }
        let held_out = self.valid_fraction + self.test_fraction;
        check.require(held_out < 1.0, "test_fraction", || {
            format!("leaves nothing for training: {held_out} is held out; lower it")
        });
        check.require(
            (0.2..=1.0).contains(&self.near_threshold),
            "near_threshold",
            || format!("{} is not from 0.2 to 1; use 0.8", self.near_threshold),
        );
        check.require(self.ngram > 0, "ngram", || "0 is no length; use 3".into());
    }
}

/// Records divided; each one stands in one of the three, and each keeps the records' order.
#[derive(Debug)]
pub struct Splits {
    /// Records to train on.
    pub train: Vec<Record>,
    /// Records to validate on.
    pub valid: Vec<Record>,
    /// Records for the test at the end.
    pub test: Vec<Record>,
    /// The config in force.
    pub config: SplitConfig,
    /// Records of each stratum in each split, by the stratum's name.
    pub shares: Vec<SplitShares>,
    /// Groups of records that stay together; a lone record is one.
    pub clusters: u64,
    /// Records of the largest of them.
    pub largest_cluster: u64,
    /// What deserves a look, such as a class that validation lacks.
    pub warnings: Vec<String>,
}

/// Divides records into training, validation and test set.
///
/// No cluster of near-duplicates, nor the records with one prompt, straddles two of them. Which records
/// go where is a function of their content and the seed alone: it outlives files in another order.
/// Each stratum keeps its shares as nearly as the clusters allow. A split with a share above 0 is never
/// empty.
///
/// # Errors
/// [`DataError::SplitTooSmall`] if there are fewer clusters than splits are asked for.
///
/// # Panics
/// If `config` does not pass its own validation.
///
/// # Example
/// ```
/// use sinterlm_data::{Body, Origin, Record, SplitConfig, split_records};
///
/// let record = |number: u64| {
///     let text = format!("message {number} of twenty");
///     let body = Body::Labelled { text, label: if number < 10 { "ham" } else { "spam" }.into() };
///     Record::new(body, Origin::Made { name: "example", number })
/// };
/// let config = SplitConfig { test_fraction: 0.0, ..SplitConfig::default() };
/// let splits = split_records((0..20).map(record).collect(), &config, 1)?;
/// assert_eq!((splits.train.len(), splits.valid.len()), (18, 2));
/// assert_eq!(splits.shares[0].valid, 1); // one of ham, one of spam
/// # Ok::<(), sinterlm_data::DataError>(())
/// ```
pub fn split_records(
    records: Vec<Record>,
    config: &SplitConfig,
    run_seed: u64,
) -> Result<Splits, DataError> {
    let faults = Check::of(config);
    assert!(faults.is_empty(), "split_records: {faults:?}");
    let seed = config.seed.unwrap_or(run_seed);
    let shares = [
        1.0 - config.valid_fraction - config.test_fraction,
        config.valid_fraction,
        config.test_fraction,
    ];
    let names: Vec<String> = records
        .iter()
        .map(|r| stratum(r, config.stratify))
        .collect();
    let strata: BTreeMap<&str, usize> = {
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.into_iter().zip(0..).collect()
    };
    let mut joined = joined(&records, config);
    let roots: Vec<usize> = (0..records.len()).map(|i| joined.root(i)).collect();
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let mut clusters: Vec<Cluster> = Vec::new();
    let cluster_of: Vec<usize> = roots
        .iter()
        .map(|root| {
            *numbers.entry(*root).or_insert_with(|| {
                clusters.push(Cluster {
                    key: u64::MAX,
                    counts: BTreeMap::new(),
                });
                clusters.len() - 1
            })
        })
        .collect();
    for (i, record) in records.iter().enumerate() {
        let cluster = &mut clusters[cluster_of[i]];
        let key = Seed(seed).key(Stream::Split, 0, 2, content_key(record));
        cluster.key = cluster.key.min(key);
        *cluster.counts.entry(strata[&*names[i]]).or_default() += 1;
    }
    let wanted = shares.iter().filter(|share| **share > 0.0).count();
    if clusters.len() < wanted {
        return Err(DataError::SplitTooSmall {
            records: records.len(),
            clusters: clusters.len(),
            wanted,
        });
    }
    let split_of = share_out(&clusters, shares);
    let sizes = clusters
        .iter()
        .map(|cluster| cluster.counts.values().sum::<usize>());
    let largest_cluster = sizes.max().unwrap_or(0) as u64;
    let mut counts = vec![[0; 3]; strata.len()];
    for (name, cluster) in names.iter().zip(&cluster_of) {
        counts[strata[&**name]][split_of[*cluster]] += 1;
    }
    let shares_by_stratum: Vec<SplitShares> = strata
        .keys()
        .zip(counts)
        .map(|(stratum, [train, valid, test])| SplitShares {
            stratum: (*stratum).to_owned(),
            train,
            valid,
            test,
        })
        .collect();
    let mut warnings = missing(&shares_by_stratum, shares);
    warnings.extend(large(largest_cluster, records.len()));
    let labels = label_counts(&records);
    if let (1, Some((label, _))) = (labels.len(), labels.first_key_value()) {
        warnings.push(format!(
            "all labelled records are `{label}`; a classifier needs two classes"
        ));
    }
    let mut parts = [const { Vec::new() }; 3];
    for (record, cluster) in records.into_iter().zip(&cluster_of) {
        parts[split_of[*cluster]].push(record);
    }
    let [train, valid, test] = parts;
    Ok(Splits {
        train,
        valid,
        test,
        config: SplitConfig {
            seed: Some(seed),
            ..config.clone()
        },
        shares: shares_by_stratum,
        clusters: clusters.len() as u64,
        largest_cluster,
        warnings,
    })
}

/// The training records that stand together with none of those held out, by the rules of a split, and how
/// many did.
pub(crate) fn without_leaks(
    train: Vec<Record>,
    held_out: &[Record],
    config: &SplitConfig,
) -> (Vec<Record>, u64) {
    let count = train.len();
    let mut all = train;
    all.extend_from_slice(held_out);
    let mut joined = joined(&all, config);
    let taken: HashSet<usize> = (count..all.len()).map(|i| joined.root(i)).collect();
    all.truncate(count);
    let leaks: Vec<bool> = (0..count)
        .map(|i| taken.contains(&joined.root(i)))
        .collect();
    let mut leaks = leaks.into_iter();
    all.retain(|_| !leaks.next().unwrap_or(false));
    let leaked = count - all.len();
    (all, leaked as u64)
}

/// Records that have to stay together.
fn joined(records: &[Record], config: &SplitConfig) -> JoinedSets {
    let mut sets = JoinedSets::new(records.len());
    let texts = |i: usize| records[i].texts();
    NearIndex::new(records.len(), texts, config.ngram, config.near_threshold).join(&mut sets);
    if config.group_prompts {
        let mut first: HashMap<String, usize> = HashMap::new();
        for (i, record) in records.iter().enumerate() {
            if let Some(prompt) = prompt_key(record) {
                sets.join(i, *first.entry(prompt).or_insert(i));
            }
        }
    }
    sets
}

/// What a record asks, folded; none where nothing is asked.
fn prompt_key(record: &Record) -> Option<String> {
    let contents = |messages: &[ChatMessage]| -> Vec<String> {
        messages
            .iter()
            .map(|message| message.content.clone())
            .collect()
    };
    let parts = match &record.body {
        Body::Instruction {
            instruction, input, ..
        } => vec![instruction.clone(), input.clone()],
        Body::Completion { prompt, .. } => vec![prompt.clone()],
        Body::Preference { prompt, .. } => contents(prompt),
        Body::Chat { messages } => {
            let answer = messages
                .iter()
                .position(|message| message.role == "assistant");
            contents(&messages[..answer.unwrap_or(messages.len())])
        }
        Body::Labelled { .. } => return None,
    };
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_blank = parts.iter().all(|part| part.trim().is_empty());
    (!is_blank).then(|| text_key(&parts))
}

/// Strata that a wanted split lacks, which its figures will say nothing about.
fn missing(strata: &[SplitShares], shares: [f64; 3]) -> Vec<String> {
    let wanted = (0..3).filter(|split| shares[*split] > 0.0);
    let lacking = wanted.filter_map(|split| {
        let counts = |s: &SplitShares| [s.train, s.valid, s.test];
        let lacking: Vec<&SplitShares> = strata.iter().filter(|s| counts(s)[split] == 0).collect();
        let first = lacking.first()?;
        let (name, count) = (SPLITS[split], counts(first).iter().sum::<u64>());
        let others = match lacking.len() - 1 {
            0 => String::new(),
            more => format!(", nor any of {more} others"),
        };
        Some(format!(
            "the {name} set has no record of `{}` ({count} in all){others}",
            first.stratum
        ))
    });
    lacking.collect()
}

fn large(cluster: u64, records: usize) -> Option<String> {
    let share = cluster as f64 / records.max(1) as f64;
    (cluster > 2 && share > LARGE_CLUSTER).then(|| {
        format!(
            "{cluster} of {records} records are near-duplicates of each other or share a prompt and \
             stay together; remove duplicates first, or raise near_threshold for records made from templates"
        )
    })
}

#[cfg(test)]
mod tests;
