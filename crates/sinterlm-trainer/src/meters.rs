//! How far a run is and what the open line of metrics has gathered; part of its state.

use serde_json::Value;

use crate::figures::Named;
use crate::state::TrainState;

/// Where figures of the open interval stand in the state.
const INTERVAL: &str = "interval_figures";

/// Where the run is; part of its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Meters {
    /// Finished optimizer steps.
    pub(crate) steps: u64,
    /// Trained tokens.
    pub(crate) tokens: f64,
    /// Seconds spent, over all sessions of the run.
    pub(crate) seconds: f64,
    /// Tokens since the last line of metrics, and their summed loss.
    pub(crate) interval_tokens: f64,
    pub(crate) interval_nats: f64,
    /// What the objective reported since then.
    pub(crate) interval: Named,
    /// The objective has ended the run.
    pub(crate) is_over: bool,
}

impl Meters {
    pub(crate) fn save(&self, state: &mut TrainState) {
        let scalars = [
            ("step", Value::from(self.steps)),
            ("is_over", Value::from(self.is_over)),
        ];
        let named = scalars.map(|(key, value)| (key.to_owned(), value));
        state.scalars.extend(named);
        state.put_float("tokens", self.tokens);
        state.put_float("seconds", self.seconds);
        state.put_float("interval_tokens", self.interval_tokens);
        state.put_float("interval_nats", self.interval_nats);
        self.interval.save(INTERVAL, state);
    }

    pub(crate) fn load(state: &TrainState) -> Self {
        let float = |key: &str| state.float(key).unwrap_or_default();
        Self {
            steps: state.number("step"),
            tokens: float("tokens"),
            seconds: float("seconds"),
            interval_tokens: float("interval_tokens"),
            interval_nats: float("interval_nats"),
            interval: Named::load(INTERVAL, state),
            is_over: state.scalars.get("is_over") == Some(&Value::Bool(true)),
        }
    }
}
