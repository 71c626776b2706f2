//! What `--set` may change on a run that goes on: nothing that would change its past.

use anyhow::{Result, bail};
use serde_json::Value;
use sinterlm::recipes::PretrainConfig;

/// Tables that only say what is watched and saved.
const FREE: [&str; 5] = ["eval", "sample", "checkpoint", "log", "trainer.max_steps"];

/// Holds the changed config of a run against the one it was started with.
///
/// # Errors
/// Names the first key whose change would make the finished `steps` another run.
pub(crate) fn check_changes(old: &PretrainConfig, new: &PretrainConfig, steps: u64) -> Result<()> {
    let json = |config| serde_json::to_value(config).expect("configs are plain data");
    if let Some(key) = first_change("", &json(old), &json(new)) {
        bail!(
            "--set {key}: would change the {steps} steps that are done; start a new run for it, or leave it as it was"
        );
    }
    let (before, after) = (old.trainer.max_steps, new.trainer.max_steps);
    if after < steps {
        bail!("--set trainer.max_steps={after}: the run has done {steps} steps already");
    }
    // As bits: the past has to stay exactly what it was.
    let factor = |step, config: &PretrainConfig| {
        let factor = config.schedule.factor(step, config.trainer.max_steps);
        factor.to_bits()
    };
    if (1..=steps).any(|step| factor(step, old) != factor(step, new)) {
        bail!(
            "--set trainer.max_steps={after}: the schedule of {before} steps had other learning rates in the {steps} steps that are done; only constant, inverse_sqrt and the stable part of warmup_stable_decay can be lengthened"
        );
    }
    Ok(())
}

fn first_change(path: &str, old: &Value, new: &Value) -> Option<String> {
    if FREE.contains(&path) || old == new {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (old, new) {
        let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
        return keys.into_iter().find_map(|key| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            first_change(&path, &old[key], &new[key])
        });
    }
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watching_may_change_and_the_past_may_not() {
        let old = PretrainConfig::default();
        let mut new = old.clone();
        new.log.every_steps = 3;
        new.checkpoint.every_steps = 7;
        assert!(check_changes(&old, &new, 10).is_ok());
        new.optimizer.beta2 = 0.99;
        let refused = check_changes(&old, &new, 10).unwrap_err().to_string();
        assert!(
            refused.starts_with("--set optimizer.beta2: would change"),
            "{refused}"
        );
    }

    #[test]
    fn a_run_is_lengthened_only_where_its_past_rates_stay() {
        let mut old = PretrainConfig::default();
        let longer = |old: &PretrainConfig| {
            let mut new = old.clone();
            new.trainer.max_steps *= 2;
            new
        };
        assert!(check_changes(&old, &longer(&old), 500).is_err(), "cosine");
        old.schedule.kind = sinterlm::trainer::ScheduleKind::Constant;
        assert!(check_changes(&old, &longer(&old), 500).is_ok(), "constant");
    }
}
