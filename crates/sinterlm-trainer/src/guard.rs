//! The memory of steps without a usable gradient and of jumps of the loss; part of a run's state.

use serde_json::{Value, json};
use sinterlm_model::Precision;

use crate::config::TrainerConfig;
use crate::loss_scale::LossScale;
use crate::spikes::Spikes;
use crate::state::TrainState;

/// What the trainer remembers to judge a step by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Guard {
    /// Steps without an update, over the whole run.
    pub(crate) skipped: u64,
    /// Those since the last update that the loss scale is not to blame for.
    pub(crate) in_a_row: u64,
    /// In half precision alone.
    pub(crate) loss_scale: Option<LossScale>,
    pub(crate) spikes: Spikes,
}

impl Guard {
    pub(crate) fn new(config: &TrainerConfig) -> Self {
        Self {
            loss_scale: (config.precision == Precision::F16).then(LossScale::new),
            ..Self::default()
        }
    }

    /// Factor on the loss.
    pub(crate) fn scale(&self) -> f32 {
        self.loss_scale.map_or(1.0, |scale| scale.scale)
    }

    pub(crate) fn save(&self, state: &mut TrainState) {
        let mut put = |key: &str, value: Value| state.scalars.insert(key.to_owned(), value);
        put("skipped_steps", json!(self.skipped));
        put("skipped_in_a_row", json!(self.in_a_row));
        put("loss_spikes", json!(self.spikes.count));
        put("loss_window", json!(self.spikes.window));
        if let Some(LossScale { scale, good_steps }) = self.loss_scale {
            put("loss_scale", json!(scale));
            put("loss_scale_good_steps", json!(good_steps));
        }
    }

    /// Takes over what was saved; what an older checkpoint lacks starts anew.
    pub(crate) fn load(&mut self, state: &TrainState) {
        self.skipped = state.number("skipped_steps");
        self.in_a_row = state.number("skipped_in_a_row");
        self.spikes.count = state.number("loss_spikes");
        let window = state.scalars.get("loss_window").and_then(Value::as_array);
        let losses = window.into_iter().flatten().filter_map(Value::as_f64);
        self.spikes.window = losses.map(|loss| loss as f32).collect();
        let scale = state.scalars.get("loss_scale").and_then(Value::as_f64);
        if let (Some(own), Some(scale)) = (&mut self.loss_scale, scale) {
            *own = LossScale {
                scale: scale as f32,
                good_steps: state.number("loss_scale_good_steps"),
            };
        }
    }
}
