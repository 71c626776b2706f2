//! What a forward pass needs to know beside its tokens.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use sinterlm_config::{Seed, Stream};
use sinterlm_kernels::MatmulPrecision;

use crate::checkpointing::Checkpointing;
use crate::probe::Probe;

/// Number format of the matrix products; weights, activations, norms, softmax and loss stay in f32.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// Operands of each matrix product are rounded to bfloat16; sums stay in f32.
    Bf16,
    /// Operands are rounded to IEEE half precision; sums stay in f32 on the CPU. Training then scales
    /// its loss, since small gradients would vanish (Micikevicius et al. 2018,
    /// <https://arxiv.org/abs/1710.03740>). For devices without bf16.
    F16,
    /// `Bf16` where that is known to be faster, else `F32`: see [`Precision::on`].
    Auto,
}

impl Precision {
    /// The choice made for a device: never `Auto`, which never becomes `F16`.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        match self {
            Self::Auto if MatmulPrecision::fastest(device) == MatmulPrecision::Bf16 => Self::Bf16,
            Self::Auto => Self::F32,
            chosen => chosen,
        }
    }

    /// What the kernels are told; f32 for `Auto` that no device has decided.
    pub fn matmul(self) -> MatmulPrecision {
        match self {
            Self::F32 | Self::Auto => MatmulPrecision::F32,
            Self::Bf16 => MatmulPrecision::Bf16,
            Self::F16 => MatmulPrecision::F16,
        }
    }
}

/// Settings of one forward pass.
#[derive(Clone, Debug, Default)]
pub struct ForwardCtx {
    /// Number format of the matrix products.
    pub precision: Precision,
    /// Random key of this micro-batch's dropout masks; `None` switches dropout off.
    pub dropout_key: Option<u64>,
    /// Where a training pass puts the parts that its backward pass computes again; `None` keeps
    /// all activations instead. Not for passes with a cache.
    pub checkpointing: Option<Checkpointing>,
    /// Which low-rank deltas count.
    pub adapters: Adapters,
    /// Looks at each named activation, which is slow: for a pass that is to be understood.
    pub probe: Option<Probe>,
}

/// Which of the low-rank deltas in a model's linear layers a forward pass adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Adapters {
    /// All of them.
    #[default]
    All,
    /// None: the base model, which is the reference of a policy that is trained by adapters.
    None,
    /// Those of the adapters with these names.
    Named(Arc<[String]>),
}

impl Adapters {
    /// Whether the deltas of the adapter called `name` count.
    pub fn include(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Named(names) => names.iter().any(|chosen| chosen == name),
        }
    }
}

impl ForwardCtx {
    /// Settings for evaluation and generation: no dropout.
    pub fn evaluation(precision: Precision) -> Self {
        Self {
            precision,
            ..Self::default()
        }
    }

    /// Shows an activation to the probe, where there is one. Names follow the modules:
    /// `blocks.0.attn.q`.
    pub fn see<const D: usize>(&self, name: impl FnOnce() -> String, activation: &Tensor<D>) {
        if let Some(probe) = &self.probe {
            probe.see(&name(), activation);
        }
    }

    /// The key of one dropout site, where dropout is on.
    pub(crate) fn site_key(&self, site: u64) -> Option<u64> {
        self.dropout_key
            .map(|key| Seed(key).key(Stream::Dropout, 0, 0, site))
    }
}

/// Dropout where a pass has a key for it.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, p: f64, key: Option<u64>) -> Tensor<D> {
    match key {
        Some(key) if p > 0.0 => sinterlm_kernels::dropout(x, p, key),
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_decided_by_the_device_and_a_choice_stays() {
        let device = Device::flex();
        let fastest = MatmulPrecision::fastest(&device);
        assert_eq!(Precision::Auto.on(&device).matmul(), fastest);
        assert!(Precision::Auto.on(&device) != Precision::Auto);
        for chosen in [Precision::F32, Precision::Bf16, Precision::F16] {
            assert_eq!(chosen.on(&device), chosen);
        }
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            fastest == MatmulPrecision::Bf16,
            is_x86_feature_detected!("avx512bf16")
        );
    }
}
