//! The step `exact_duplicates`: records with the texts of an earlier one go.

use std::collections::HashSet;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::action::{Action, Loss};
use super::canonical::text_key;

/// Settings of step `exact_duplicates`.
///
/// Texts are equal after folding: NFKC, lower case, white space collapsed, no control characters. Labels, roles, tasks and
/// weights do not count: of equal texts with conflicting labels the first stays, and the conflict is
/// reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExactDuplicatesStep {
    /// Whether texts are folded before they are compared; otherwise they have to agree byte for byte.
    pub fold: bool,
}

impl Default for ExactDuplicatesStep {
    fn default() -> Self {
        Self { fold: true }
    }
}

impl ExactDuplicatesStep {
    pub(super) fn action(&self) -> Action {
        let fold = self.fold;
        Action::Select(Box::new(move |records| {
            let keys: Vec<[u8; 32]> = records
                .par_iter()
                .map(|record| {
                    let texts = record.texts();
                    let key = if fold {
                        text_key(&texts)
                    } else {
                        texts.join("\0")
                    };
                    Sha256::digest(key).into()
                })
                .collect();
            let mut seen = HashSet::with_capacity(keys.len());
            let losses = keys.into_iter().map(|key| {
                let is_new = seen.insert(key);
                (!is_new).then(|| Loss::new("equal texts", ""))
            });
            losses.collect()
        }))
    }
}
