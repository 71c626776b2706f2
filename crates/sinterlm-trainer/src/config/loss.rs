//! The `[loss]` table of pipelines that predict tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use sinterlm_losses::CrossEntropyOptions;

/// Terms of the cross-entropy of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Share of the target probability spread over the vocabulary, 0 to 0.5.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub label_smoothing: f64,
    /// Weight of the squared log of the softmax denominator; PaLM: 1e-4.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub z_loss: f64,
    /// NEFTune: uniform noise on the embeddings of training rows, of at most this over the root of tokens
    /// times width (Jain et al. 2023, <https://arxiv.org/abs/2310.05914>, who take 5 to 15); 0 = none.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub neftune_alpha: f64,
}

impl LossConfig {
    /// As the loss takes it.
    pub fn options(&self) -> CrossEntropyOptions {
        CrossEntropyOptions {
            label_smoothing: self.label_smoothing as f32,
            z_loss: self.z_loss as f32,
            ..CrossEntropyOptions::default()
        }
    }
}

impl Validate for LossConfig {
    fn validate(&self, _check: &mut Check) {}
}
