//! The `[optimizer]` table of a run config.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

/// Which rule updates the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// AdamW (Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>).
    #[default]
    AdamW,
    /// Muon (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>) on the matrices of
    /// the blocks, AdamW on everything else.
    Muon,
    /// Adafactor (Shazeer and Stern 2018, <https://arxiv.org/abs/1804.04235>) without relative steps.
    Adafactor,
    /// Lion (Chen et al. 2023, <https://arxiv.org/abs/2302.06675>).
    Lion,
}

/// The update rule and its numbers; the schedule scales both rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `adam_w`, `muon`, `adafactor` or `lion`.
    pub kind: OptimizerKind,
    /// Highest learning rate; with `muon` that of the parameters AdamW updates. GPT-2 124M: 6e-4.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub peak_lr: f64,
    /// Decoupled weight decay of matrices, never of biases and norms. GPT-3: 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
    /// Decay of the first moment. GPT-3: 0.9.
    #[schemars(range(min = 0.0, max = 0.9999))]
    pub beta1: f64,
    /// Decay of the second moment. GPT-3: 0.95.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub beta2: f64,
    /// Added to the root of the second moment, in (0, 1e-2). GPT-3: 1e-8.
    pub eps: f64,
    /// Highest learning rate of the matrices that Muon updates.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub muon_lr: f64,
    /// Decay of Muon's momentum.
    #[schemars(range(min = 0.0, max = 0.9999))]
    pub muon_momentum: f64,
    /// Newton-Schulz steps of Muon's orthogonalisation.
    #[schemars(range(min = 1, max = 20))]
    pub muon_steps: usize,
    /// Decoupled weight decay of the matrices that Muon updates.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub muon_weight_decay: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            peak_lr: 6e-4,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            muon_lr: 0.02,
            muon_momentum: 0.95,
            muon_steps: 5,
            muon_weight_decay: 0.0,
        }
    }
}

impl Validate for OptimizerConfig {
    fn validate(&self, check: &mut Check) {
        check.require(self.peak_lr > 0.0, "peak_lr", || {
            format!("{} trains nothing; use 6e-4 for GPT-2's size", self.peak_lr)
        });
        check.require(self.eps > 0.0 && self.eps < 1e-2, "eps", || {
            format!("{} is not between 0 and 0.01; use 1e-8", self.eps)
        });
    }
}

impl OptimizerConfig {
    /// Bytes of state for that many parameters, for memory estimates: an upper bound over the groups.
    pub fn state_bytes(&self, parameters: u64) -> u64 {
        let values = match self.kind {
            OptimizerKind::AdamW | OptimizerKind::Muon => 2,
            OptimizerKind::Lion | OptimizerKind::Adafactor => 1,
        };
        4 * values * parameters
    }
}
