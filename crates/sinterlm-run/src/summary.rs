//! `summary.json`: the final figures of a run. A figure that was not measured is absent.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{RunError, json_file::write_json};

/// The final figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this layout: 1.
    pub schema: u32,
    /// What ran: `pretrain`, `generate`, `export`, `evaluate`, ...
    pub kind: String,
    /// Optimizer steps done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Tokens trained on, or generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Wall time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Tokens per second of wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// The most memory in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Figures over the validation set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<ValidFigures>,
    /// Figures over the test set; their names depend on the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Value>,
    /// Figures of a policy before its training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Figures of a policy after its training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// What the run had to reach.
    #[serde(default)]
    pub gates: Vec<Gate>,
}

/// Figures over the whole validation set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ValidFigures {
    /// Nats per token, weighted by tokens.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Total nats / ln 2 / UTF-8 bytes of the scored text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// `exp(total nats / GPT-2 tokens of the same text)`, comparable between vocabularies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_per_gpt2_token: Option<f64>,
    /// Tokens scored.
    pub tokens: u64,
    /// UTF-8 bytes of the scored text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A figure held against its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The figure's name.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// What was wanted.
    pub target: f64,
    /// Whether it was reached.
    pub passed: bool,
}

impl Summary {
    /// The summary of a `kind` of run in which nothing was measured yet.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            schema: 1,
            kind: kind.into(),
            steps: None,
            tokens: None,
            seconds: None,
            tokens_per_second: None,
            peak_memory_bytes: None,
            valid: None,
            test: None,
            before: None,
            after: None,
            gates: Vec::new(),
        }
    }

    /// Writes it as JSON in one step.
    ///
    /// # Errors
    /// [`RunError::Io`] or [`RunError::DiskFull`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), RunError> {
        write_json(path.as_ref(), self)
    }
}

impl Gate {
    /// Passed if `value` is at most `target`, as for losses; not-a-number fails.
    pub fn at_most(name: impl Into<String>, value: f64, target: f64) -> Self {
        Self {
            name: name.into(),
            value,
            target,
            passed: value <= target,
        }
    }

    /// Passed if `value` is at least `target`, as for accuracies; not-a-number fails.
    pub fn at_least(name: impl Into<String>, value: f64, target: f64) -> Self {
        Self {
            name: name.into(),
            value,
            target,
            passed: value >= target,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_full_summary_has_the_agreed_keys_and_values() {
        let mut summary = Summary::new("pretrain");
        summary.steps = Some(1200);
        summary.tokens = Some(2_457_600);
        summary.seconds = Some(301.2);
        summary.tokens_per_second = Some(8160.0);
        summary.peak_memory_bytes = Some(734_003_200);
        summary.valid = Some(ValidFigures {
            loss: 2.31,
            perplexity: 10.1,
            bits_per_byte: Some(0.92),
            perplexity_per_gpt2_token: Some(14.8),
            tokens: 61_234,
            bytes: Some(236_775),
        });
        summary.gates = vec![Gate::at_most("perplexity_per_gpt2_token", 14.8, 40.0)];
        let expected = json!({
            "schema": 1, "kind": "pretrain", "steps": 1200, "tokens": 2_457_600,
            "seconds": 301.2, "tokens_per_second": 8160.0, "peak_memory_bytes": 734_003_200,
            "valid": {"loss": 2.31, "perplexity": 10.1, "bits_per_byte": 0.92,
                "perplexity_per_gpt2_token": 14.8, "tokens": 61_234, "bytes": 236_775},
            "gates": [{"name": "perplexity_per_gpt2_token", "value": 14.8, "target": 40.0,
                "passed": true}]
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary.json");
        summary.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let value = serde_json::to_value(Summary::new("export")).unwrap();
        assert_eq!(value, json!({"schema": 1, "kind": "export", "gates": []}));
    }

    #[test]
    fn a_figure_that_is_no_number_passes_no_gate() {
        assert!(!Gate::at_most("loss", f64::NAN, 1.0).passed);
        assert!(!Gate::at_least("accuracy", f64::NAN, 0.0).passed);
    }
}
