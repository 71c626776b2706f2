//! The `[optimizer]` table of a run config.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use sinterlm_kernels::MomentFormat;

use super::group::ParamGroup;

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

/// Number format of the optimizer's moving averages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Moments {
    /// 4 bytes a value, 8 a parameter with AdamW.
    #[default]
    F32,
    /// 2 bytes a value; for `beta2` up to 0.99.
    Bf16,
    /// 1 byte a value and one scale for 256 of them (Dettmers et al. 2022,
    /// <https://arxiv.org/abs/2110.02861>, with another code).
    Int8,
}

/// Tensors of fewer values keep their moments in f32: biases and norms, a thousandth of a model.
const COMPACT_FROM: usize = 1024;

/// The update rule and its numbers; the schedule scales both rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `adam_w`, `muon`, `adafactor` or `lion`.
    pub kind: OptimizerKind,
    /// Number format of the state: `f32`, `bf16` or `int8`. Tensors of fewer than 1,024 values and
    /// Adafactor keep f32.
    pub moments: Moments,
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
    /// Parameters with rates of their own; where several groups select one, the last counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ParamGroup>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            moments: Moments::F32,
            peak_lr: 6e-4,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            muon_lr: 0.02,
            muon_momentum: 0.95,
            muon_steps: 5,
            muon_weight_decay: 0.0,
            groups: Vec::new(),
        }
    }
}

impl Validate for OptimizerConfig {
    fn validate(&self, check: &mut Check) {
        for (number, group) in self.groups.iter().enumerate() {
            check.section(&format!("groups.{number}"), group);
        }
        check.require(self.peak_lr > 0.0, "peak_lr", || {
            format!("{} trains nothing; use 6e-4 for GPT-2's size", self.peak_lr)
        });
        check.require(self.eps > 0.0 && self.eps < 1e-2, "eps", || {
            format!("{} is not between 0 and 0.01; use 1e-8", self.eps)
        });
        let follows = self.moments != Moments::Bf16 || self.beta2 <= 0.99;
        check.require(follows, "moments", || {
            let beta2 = self.beta2;
            format!("bf16 rounds off what a step changes at beta2 {beta2}; use int8, f32 or a beta2 of at most 0.99")
        });
    }
}

impl OptimizerConfig {
    /// The format of a state vector of that many values.
    pub(super) fn format(&self, len: usize) -> MomentFormat {
        match self.moments {
            _ if self.kind == OptimizerKind::Adafactor || len < COMPACT_FROM => MomentFormat::F32,
            Moments::F32 => MomentFormat::F32,
            Moments::Bf16 => MomentFormat::Bf16,
            Moments::Int8 => MomentFormat::Int8,
        }
    }
}
