//! The step `near_duplicates`: records that are nearly an earlier one go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::action::{Action, Loss};
use super::near_index::NearIndex;

/// Settings of step `near_duplicates`.
///
/// Two records are alike where the Jaccard similarity of their word n-grams reaches the threshold;
/// case and punctuation do not count. The first of a kind stays: a record goes if it is like an
/// earlier one that stays, so that a chain of small changes is not swallowed whole. At least 99 % of
/// the pairs at the threshold are found, more of closer ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NearDuplicatesStep {
    /// Least Jaccard similarity of near-duplicates, from 0.2 to 1.
    #[schemars(range(min = 0.2, max = 1.0))]
    pub threshold: f64,
    /// Words of an n-gram. With longer ones a changed word counts more.
    #[schemars(range(min = 1))]
    pub ngram: usize,
}

impl Default for NearDuplicatesStep {
    fn default() -> Self {
        Self {
            threshold: 0.8,
            ngram: 3,
        }
    }
}

impl Validate for NearDuplicatesStep {
    fn validate(&self, check: &mut Check) {
        check.require((0.2..=1.0).contains(&self.threshold), "threshold", || {
            format!("{} is not from 0.2 to 1; use 0.8", self.threshold)
        });
        check.require(self.ngram > 0, "ngram", || "0 is no length; use 3".into());
    }
}

impl NearDuplicatesStep {
    pub(super) fn action(&self) -> Action {
        let Self { threshold, ngram } = *self;
        Action::Select(Box::new(move |records| {
            let texts = |i: usize| records[i].texts();
            let near = NearIndex::new(records.len(), texts, ngram, threshold).duplicates();
            let losses = near.into_iter().map(|near| {
                let near = near?;
                let earlier = records[near.earlier].texts().join(" ");
                // The beginning will do for an example.
                let end = earlier.floor_char_boundary(400);
                let detail = format!("Jaccard {:.2} with {}", near.jaccard, &earlier[..end]);
                Some(Loss::new("near-duplicates", detail))
            });
            losses.collect()
        }))
    }
}
