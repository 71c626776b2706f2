//! The parts of a run config that say how records become rows and batches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::labels::LabelsConfig;
use super::truncation::Truncation;

/// The place of an instruction in a prompt.
pub(super) const INSTRUCTION: &str = "{instruction}";
/// The place of an input.
pub(super) const INPUT: &str = "{input}";

/// How records become rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RowsConfig {
    /// How a record is written.
    pub template: PromptTemplate,
    /// Which tokens are trained, and how much each counts.
    pub labels: LabelsConfig,
    /// The most tokens of a row.
    #[schemars(range(min = 2))]
    pub max_seq_len: usize,
    /// What becomes of longer rows.
    pub truncation: Truncation,
    /// What becomes of records that a template refuses or of which no token is trained.
    pub unusable: Unusable,
}

impl Default for RowsConfig {
    fn default() -> Self {
        Self {
            template: PromptTemplate::default(),
            labels: LabelsConfig::default(),
            max_seq_len: 1024,
            truncation: Truncation::default(),
            unusable: Unusable::default(),
        }
    }
}

impl Validate for RowsConfig {
    fn validate(&self, check: &mut Check) {
        check.require(self.max_seq_len >= 2, "max_seq_len", || {
            format!("{} leaves nothing to predict; use 1024", self.max_seq_len)
        });
        self.template.validate(check);
        self.labels.validate(check);
    }
}

/// How a record is written for a model. Each form writes records of every kind: a conversation's
/// messages become instructions and the other way round, a completion's prompt stands as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PromptTemplate {
    /// The prompt of Stanford Alpaca (Taori et al. 2023), with and without an input.
    #[default]
    Alpaca,
    /// `Instruction: ...`, `Input: ...`, `Response: ...`, each on a line.
    PlainInstruction,
    /// `<|user|>` and `<|assistant|>` on lines of their own before what each says.
    Roles,
    /// The chat template that belongs to the model.
    Chat,
    /// A form of one's own. `{instruction}` and `{input}` stand for a record's fields; names of special
    /// tokens are read as such.
    Own {
        /// The prompt of a record with an input, up to the answer.
        with_input: String,
        /// The prompt of a record without one.
        without_input: String,
        /// What stands before each answer and is learnt with it, as a space.
        #[serde(default)]
        answer_start: String,
        /// What stands between an answer's end and the next prompt of a conversation.
        #[serde(default)]
        separator: String,
    },
}

impl Validate for PromptTemplate {
    fn validate(&self, check: &mut Check) {
        let Self::Own {
            with_input,
            without_input,
            ..
        } = self
        else {
            return;
        };
        let mut require = |text: &str, key: &str, places: &[&str]| {
            for place in places {
                check.require(text.contains(place), key, || {
                    format!("has no {place}; write it where the record's text belongs")
                });
            }
        };
        require(with_input, "template.with_input", &[INSTRUCTION, INPUT]);
        require(without_input, "template.without_input", &[INSTRUCTION]);
        check.require(
            !without_input.contains(INPUT),
            "template.without_input",
            || format!("has {INPUT}, which is empty there; take it out"),
        );
    }
}

/// What becomes of a record that cannot be trained on: one that a template refuses, or one without a
/// trained token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unusable {
    /// Stop and name the record.
    #[default]
    Error,
    /// Leave it out and count it.
    Drop,
}

/// How rows become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchesConfig {
    /// Whether each row of a batch holds one row of data or several.
    pub layout: Layout,
    /// Puts rows of like lengths into one step, which leaves less padding. Which steps are long and
    /// which are short stays random.
    pub group_by_length: bool,
    /// The length of a batch is its longest row's, rounded up to a multiple of this.
    #[schemars(range(min = 1))]
    pub pad_to_multiple: usize,
    /// How often the data is read at most; without end where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_epochs: Option<u64>,
    /// How often each set is drawn from.
    pub mixture: Mixture,
}

impl Default for BatchesConfig {
    fn default() -> Self {
        Self {
            layout: Layout::Padded,
            group_by_length: true,
            pad_to_multiple: 8,
            max_epochs: None,
            mixture: Mixture::BySize,
        }
    }
}

impl Validate for BatchesConfig {
    fn validate(&self, check: &mut Check) {
        check.require(self.pad_to_multiple >= 1, "pad_to_multiple", || {
            "is 0; use 1 for no rounding, or 8".into()
        });
        check.require(self.max_epochs != Some(0), "max_epochs", || {
            "is 0, which trains nothing; leave it out or use 1".into()
        });
        if let Mixture::Weights(weights) = &self.mixture {
            let are_usable = weights.iter().all(|w| w.is_finite() && *w > 0.0);
            check.require(are_usable && !weights.is_empty(), "mixture.weights", || {
                format!("{weights:?} are no weights; give one above 0 for each set")
            });
        }
    }
}

/// How rows of data lie in the rows of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One in each, padded to the longest of the batch.
    #[default]
    Padded,
    /// As many as fit, each a segment that sees itself alone, with positions from 0.
    Packed,
}

/// How often each of several sets is drawn from. An epoch has as many rows as all sets together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mixture {
    /// Each row once an epoch.
    #[default]
    BySize,
    /// Shares of the sets in their order, of any sum. A set is read anew, in another order, where it
    /// ends before the epoch does.
    Weights(Vec<f64>),
}
