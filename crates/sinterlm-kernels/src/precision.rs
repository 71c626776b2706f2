//! The number format of matrix products.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    Route,
    isa::{Isa, available},
};

/// What the operands of a matrix product are rounded to; sums are in f32 either way, and tensors
/// keep their own dtype.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatmulPrecision {
    /// Operands as they are.
    #[default]
    F32,
    /// Operands rounded to bfloat16 (8 bits of significand). On CPUs with AVX512-BF16 twice as fast
    /// as f32; on other CPUs not faster.
    Bf16,
    /// Operands rounded to IEEE half precision (11 bits of significand), infinite from 65520 on. For
    /// backends that have it and not bf16; on CPUs not faster than f32.
    F16,
}

impl MatmulPrecision {
    /// [`MatmulPrecision::Bf16`] where it is known to be faster than f32: on flex with AVX512-BF16.
    /// Never [`MatmulPrecision::F16`], which needs a scaled loss.
    pub fn fastest(device: &Device) -> Self {
        match Route::of(device, DType::F32) {
            Route::Native if available() >= Isa::Avx512Bf16 => Self::Bf16,
            _ => Self::F32,
        }
    }

    /// Whether a product on this CPU multiplies rounded copies of its operands, for want of instructions
    /// that round as they multiply.
    pub fn rounds_copies(self) -> bool {
        match self {
            Self::F32 => false,
            Self::Bf16 => available() < Isa::Avx512Bf16,
            Self::F16 => true,
        }
    }

    /// An operand in the dtype to multiply in, for the composed forms.
    pub(crate) fn operand<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => tensor,
            Self::Bf16 => tensor.cast(DType::BF16),
            Self::F16 => tensor.cast(DType::F16),
        }
    }
}
