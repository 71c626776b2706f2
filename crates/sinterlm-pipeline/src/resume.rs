//! What `--set` may change on a run that goes on: nothing that would change its past.

use serde_json::Value;
use sinterlm_trainer::{MicroBatch, TrainerConfig};

use crate::error::PipelineError;
use crate::run_config::{RunConfig, Tables};

/// How the rows of a step are cut up, which changes no more than rounding.
const PIECES: [&str; 4] = [
    "trainer.micro_batch_size",
    "trainer.grad_accum_steps",
    "trainer.rows_per_step",
    "trainer.activation_checkpointing",
];

/// Holds the changed config of a run against the one it was started with; gives a line to be told
/// where the steps to come are computed in other pieces.
///
/// # Errors
/// Names every key whose change would make the finished `steps` another run.
pub(crate) fn check_changes<C: RunConfig>(
    old: &C,
    new: &C,
    steps: u64,
) -> Result<Option<String>, PipelineError> {
    let json = |config| serde_json::to_value(config).expect("configs are plain data");
    let mut changes = Vec::new();
    collect_changes("", [&json(old), &json(new)], C::FREE, &mut changes);
    let (old, new) = (old.tables(), new.tables());
    let same_rows = rows(old.trainer) == rows(new.trainer);
    let (pieces, mut faults): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| same_rows && PIECES.contains(&change.key.as_str()));
    let length = new.trainer.max_steps;
    let mut faults: Vec<String> = faults.drain(..).map(|change| change.told(length)).collect();

    let (before, after) = (old.trainer.max_steps, new.trainer.max_steps);
    // As bits: the past has to stay exactly what it was.
    let factor = |step, of: &Tables<'_>| {
        let factor = of.schedule.factor(step, of.trainer.max_steps);
        factor.to_bits()
    };
    if after < steps {
        faults.push(format!(
            "trainer.max_steps={after}: the run is beyond that; give at least {steps}"
        ));
    } else if old.schedule == new.schedule
        && (1..=steps).any(|step| factor(step, &old) != factor(step, &new))
    {
        faults.push(format!(
            "trainer.max_steps={after}: with {before} the steps that are done had other learning rates; only constant, inverse_sqrt and the stable part of warmup_stable_decay can be lengthened"
        ));
    }
    if !faults.is_empty() {
        return Err(PipelineError::ChangedPast { steps, faults });
    }
    let pieces: Vec<String> = pieces.iter().map(Change::to_string).collect();
    Ok((!pieces.is_empty()).then(|| {
        format!(
            "{}; the steps stay the same but for rounding and the masks of dropout",
            pieces.join(", ")
        )
    }))
}

/// Rows of an optimizer step.
fn rows(config: &TrainerConfig) -> u64 {
    match config.micro_batch_size {
        MicroBatch::Rows(rows) => rows * config.grad_accum_steps,
        MicroBatch::Auto(_) => config.rows_per_step,
    }
}

/// A key with another value.
#[derive(Debug)]
struct Change {
    key: String,
    old: Value,
    new: Value,
}

impl Change {
    /// Why it is refused in a run of so many steps.
    fn told(&self, max_steps: u64) -> String {
        if self.key == "trainer.budget_minutes" {
            return format!(
                "{}={}: time is turned into steps where a run begins, and this one has trainer.max_steps = {max_steps}; set that",
                self.key, self.new
            );
        }
        self.to_string()
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}: the run has ", self.key, self.new)?;
        match &self.old {
            Value::Null => f.write_str("none"),
            old => write!(f, "{old}"),
        }
    }
}

fn collect_changes(path: &str, [old, new]: [&Value; 2], free: &[&str], changes: &mut Vec<Change>) {
    if free.contains(&path) || old == new {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (old, new) {
        for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
            let path = match path {
                "" => key.clone(),
                table => format!("{table}.{key}"),
            };
            collect_changes(&path, [&old[key], &new[key]], free, changes);
        }
        return;
    }
    changes.push(Change {
        key: path.to_owned(),
        old: old.clone(),
        new: new.clone(),
    });
}

#[cfg(test)]
mod tests {
    use sinterlm_trainer::ScheduleKind;

    use super::*;
    use crate::gates::GateConfig;
    use crate::recipes::PretrainConfig;

    #[test]
    fn watching_may_change_and_the_past_may_not() {
        let old = PretrainConfig::default();
        let mut new = old.clone();
        new.log.every_steps = 3;
        new.checkpoint.every_steps = 7;
        new.trainer.early_stopping_patience = 2;
        new.data.cache_dir = Some("elsewhere".into());
        new.gates = vec![GateConfig::at_most("valid/loss", 3.0)];
        assert_eq!(check_changes(&old, &new, 10).unwrap(), None);
        new.optimizer.beta2 = 0.99;
        new.model.dropout = 0.5;
        let refused = check_changes(&old, &new, 10).unwrap_err().to_string();
        assert!(refused.starts_with("--set would change the 10 steps"));
        for change in [
            "\n  optimizer.beta2=0.99: the run has 0.95",
            "\n  model.dropout=0.5: the run has 0.0",
        ] {
            assert!(refused.contains(change), "{refused}");
        }
        assert_eq!(refused.lines().count(), 3, "{refused}");
    }

    #[test]
    fn a_budget_is_refused_with_what_to_set_instead() {
        let old = PretrainConfig::default();
        let mut new = old.clone();
        new.trainer.budget_minutes = Some(5.0);
        new.weights = Some("other".into());
        let refused = check_changes(&old, &new, 10).unwrap_err().to_string();
        let steps = old.trainer.max_steps;
        let told = format!(
            "trainer.budget_minutes=5.0: time is turned into steps where a run begins, and this one has trainer.max_steps = {steps}; set that"
        );
        assert!(refused.contains(&told), "{refused}");
        assert!(
            refused.contains("weights=\"other\": the run has none"),
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
        old.schedule.kind = ScheduleKind::Constant;
        assert!(check_changes(&old, &longer(&old), 500).is_ok(), "constant");
    }

    #[test]
    fn the_rows_of_a_step_may_be_cut_up_in_another_way() {
        let mut old = PretrainConfig::default();
        old.trainer.micro_batch_size = MicroBatch::Rows(8);
        let mut new = old.clone();
        new.trainer.micro_batch_size = MicroBatch::Rows(2);
        new.trainer.grad_accum_steps = 4;
        let told = check_changes(&old, &new, 10).unwrap().unwrap();
        assert!(
            told.contains("trainer.grad_accum_steps=4: the run has 1"),
            "{told}"
        );
        assert!(told.contains("rounding"), "{told}");
        new.trainer.grad_accum_steps = 5;
        let refused = check_changes(&old, &new, 10).unwrap_err().to_string();
        assert_eq!(refused.lines().count(), 3, "{refused}");
    }
}
