//! From the parts of a row to the weight of each token in the loss.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::rendered::{Field, RenderedRow, Span};
use super::weights::WeightRun;
use crate::Record;

/// Which tokens are trained, and how much each counts in the loss.
///
/// A token's weight is that of its part, times the task's, times the record's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelsConfig {
    /// The parts that are trained.
    pub train: MaskPolicy,
    /// Weight of what is read and not answered, 0 where absent (1 with `train = "all"`); 0.01 to 0.1
    /// helps with short answers (Huerta-Enochian and Ko 2024).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_weight: Option<f32>,
    /// Weights by the role that speaks, which count before the policy: `user = 0.1`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, f32>,
    /// Weights by the field of an instruction record, which count before those of roles.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<Field, f32>,
    /// Factors by task; 1 for those that are not named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, f32>,
}

/// The parts of a row that are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaskPolicy {
    /// What the model has to write, with the token that ends it.
    #[default]
    Answers,
    /// Everything.
    All,
    /// The last answer of a conversation.
    LastTurn,
}

impl Validate for LabelsConfig {
    fn validate(&self, check: &mut Check) {
        let named = [("roles", &self.roles), ("tasks", &self.tasks)];
        let named = named.into_iter().flat_map(|(table, weights)| {
            let entries = weights.iter();
            entries.map(move |(name, weight)| (format!("labels.{table}.{name}"), *weight))
        });
        let prompt = self.prompt_weight.iter();
        let prompt = prompt.map(|weight| ("labels.prompt_weight".to_owned(), *weight));
        let fields = self.fields.iter().map(|(field, weight)| {
            let name = format!("{field:?}").to_lowercase();
            (format!("labels.fields.{name}"), *weight)
        });
        for (key, weight) in named.chain(prompt).chain(fields) {
            check.require(weight.is_finite() && weight >= 0.0, &key, || {
                format!("{weight} is no weight; use 0 or more")
            });
        }
    }
}

impl LabelsConfig {
    /// Whether the parts of a prompt must be told apart.
    pub(super) fn needs_parts(&self) -> bool {
        !self.fields.is_empty() || self.roles.keys().any(|role| role != "assistant")
    }

    /// The weights of a row's tokens. `last` is the number of the record's last answer.
    pub(super) fn weights(
        &self,
        row: &RenderedRow,
        record: &Record,
        last: Option<usize>,
    ) -> Vec<WeightRun> {
        let task = record.task.as_deref().and_then(|task| self.tasks.get(task));
        let factor = record.weight * task.copied().unwrap_or(1.0);
        let mut runs: Vec<WeightRun> = Vec::with_capacity(row.spans.len());
        for span in &row.spans {
            let weight = self.weight(span, last) * factor;
            let end = span.tokens.end as u32;
            match runs.last_mut() {
                Some(run) if run.weight.to_bits() == weight.to_bits() => run.end = end,
                _ => runs.push(WeightRun { end, weight }),
            }
        }
        runs
    }

    /// The weight of each token of a rendered row, as in [`RowSet`](crate::RowSet).
    pub fn token_weights(&self, row: &RenderedRow, record: &Record) -> Vec<f32> {
        let last = row.answers().checked_sub(1);
        let runs = self.weights(row, record, last);
        let mut weights = Vec::with_capacity(row.ids.len());
        for run in runs {
            weights.resize(run.end as usize, run.weight);
        }
        weights
    }

    fn weight(&self, span: &Span, last: Option<usize>) -> f32 {
        let field = span.field.and_then(|field| self.fields.get(&field));
        let role = self.roles.get(&*span.role);
        match span.answer {
            Some(_) if self.train == MaskPolicy::LastTurn && span.answer != last => 0.0,
            Some(_) => field.or(role).copied().unwrap_or(1.0),
            None => {
                // The header of an answer is prompt: the weight of answers is not for it.
                let role = role.filter(|_| &*span.role != "assistant");
                let all = f32::from(u8::from(self.train == MaskPolicy::All));
                let prompt = self.prompt_weight.unwrap_or(all);
                field.or(role).copied().unwrap_or(prompt)
            }
        }
    }
}
