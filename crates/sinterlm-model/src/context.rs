//! What a forward pass needs to know beside its tokens.

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Seed, Stream};

use crate::checkpointing::Checkpointing;

/// Number format of the matrix products; weights, norms, softmax and loss stay in f32.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// Weights and inputs of each linear layer are rounded to bfloat16 for the product.
    Bf16,
}

impl Precision {
    /// The float type that products are computed in, where it is not f32.
    pub(crate) fn product_dtype(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
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
}

impl ForwardCtx {
    /// Settings for evaluation and generation: no dropout.
    pub fn evaluation(precision: Precision) -> Self {
        Self {
            precision,
            ..Self::default()
        }
    }

    /// The key of one dropout site, where dropout is on.
    pub(crate) fn site_key(&self, site: u64) -> Option<u64> {
        self.dropout_key
            .map(|key| Seed(key).key(Stream::Dropout, 0, 0, site))
    }
}
