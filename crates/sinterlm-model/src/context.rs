//! What a forward pass needs to know beside its tokens.

use serde::{Deserialize, Serialize};
use sinterlm_config::{Seed, Stream};
use sinterlm_kernels::MatmulPrecision;

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
}

impl Precision {
    /// What the kernels are told.
    pub fn matmul(self) -> MatmulPrecision {
        match self {
            Self::F32 => MatmulPrecision::F32,
            Self::Bf16 => MatmulPrecision::Bf16,
        }
    }
}

/// Settings of one forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardCtx {
    /// Number format of the matrix products.
    pub precision: Precision,
    /// Random key of this micro-batch's dropout masks; `None` switches dropout off.
    pub dropout_key: Option<u64>,
}

impl ForwardCtx {
    /// Settings for evaluation and generation: no dropout.
    pub fn evaluation(precision: Precision) -> Self {
        Self {
            precision,
            dropout_key: None,
        }
    }

    /// The key of one dropout site, where dropout is on.
    pub(crate) fn site_key(&self, site: u64) -> Option<u64> {
        self.dropout_key
            .map(|key| Seed(key).key(Stream::Dropout, 0, 0, site))
    }
}
