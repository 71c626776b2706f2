//! Gates: figures that a run has to reach, as they stand in a config.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use sinterlm_run::Gate;

use crate::error::PipelineError;

/// A figure that a run has to reach. A missed gate is `passed: false` in `summary.json` and no error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The figure by its metric name, `valid/loss`.
    pub metric: String,
    /// The most that it may be; give this or `at_least`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// The least that it may be; give this or `at_most`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

impl GateConfig {
    /// A gate that lower figures pass.
    pub fn at_most(metric: &str, target: f64) -> Self {
        Self {
            metric: metric.to_owned(),
            at_most: Some(target),
            at_least: None,
        }
    }

    /// A gate that higher figures pass.
    pub fn at_least(metric: &str, target: f64) -> Self {
        Self {
            metric: metric.to_owned(),
            at_most: None,
            at_least: Some(target),
        }
    }

    /// The figure held against the gate. Its name in a summary is that of the metric, without `valid/`.
    pub(crate) fn judge(&self, value: f64) -> Gate {
        let name = self.metric.strip_prefix("valid/").unwrap_or(&self.metric);
        match (self.at_most, self.at_least) {
            (Some(target), _) => Gate::at_most(name, value, target),
            (None, target) => Gate::at_least(name, value, target.unwrap_or(f64::NAN)),
        }
    }
}

impl Validate for GateConfig {
    fn validate(&self, check: &mut Check) {
        let targets = u8::from(self.at_most.is_some()) + u8::from(self.at_least.is_some());
        let mut given = [self.at_most, self.at_least].into_iter().flatten();
        check.require(given.all(f64::is_finite), "", || {
            "a target is no finite number; give one that the metric can reach".to_owned()
        });
        check.require(targets == 1, "", || {
            format!("{targets} targets; give one of at_most and at_least")
        });
    }
}

/// Refuses gates about figures that nobody measures.
pub(crate) fn check_metrics(gates: &[GateConfig], known: &[String]) -> Result<(), PipelineError> {
    let mut numbered = gates.iter().enumerate();
    let unknown = numbered.find(|(_, gate)| !known.contains(&gate.metric));
    unknown.map_or(Ok(()), |(number, gate)| {
        Err(PipelineError::UnknownMetric {
            number,
            metric: gate.metric.clone(),
            known: known.to_vec(),
        })
    })
}

/// Holds `eval.best` against the figures that the run measures.
pub(crate) fn check_best(metric: &str, known: &[String]) -> Result<(), PipelineError> {
    // Test records are looked at once, at the end.
    let known = known
        .iter()
        .filter(|name| !name.starts_with("test/") && !name.starts_with("held_out/"));
    let known: Vec<String> = known.cloned().collect();
    if known.iter().any(|name| name == metric) {
        return Ok(());
    }
    Err(PipelineError::UnknownBest {
        metric: metric.to_owned(),
        known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_has_one_target_and_is_judged_by_it() {
        let most = GateConfig::at_most("valid/loss", 2.0);
        assert!(Check::of(&most).is_empty());
        assert!(most.judge(2.0).passed && !most.judge(2.1).passed);
        assert!(!most.judge(f64::NAN).passed);
        assert_eq!(most.judge(1.0).name, "loss");
        let least = GateConfig::at_least("test/accuracy", 0.5);
        assert!(least.judge(0.5).passed && !least.judge(0.4).passed);
        assert_eq!(least.judge(1.0).name, "test/accuracy");
        let both = GateConfig {
            at_least: Some(1.0),
            ..most.clone()
        };
        let none = GateConfig {
            at_most: None,
            ..most
        };
        for gate in [both, none] {
            assert!(Check::of(&gate)[0].message.contains("give one of at_most"));
        }
    }
}
