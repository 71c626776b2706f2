//! Tensors that no parameter takes because the model has the same anyway: whether they are the same.
//! Which names may be passed over is left to the families.

use sinterlm_formats::{Dtype, StoredTensor, TensorType};

use super::values::decoded;
use crate::gpt::{GptConfig, RopeScaling, rope_frequencies};

/// What stands in the model in place of a tensor of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InPlace {
    /// A table that was compared when the model was described, or metadata that was read.
    Compared,
    /// Each position sees itself and those before it.
    CausalMask,
    /// What scores of later positions become: next to nothing.
    MaskedScore,
    /// No bias.
    Zeros,
    /// The rotation's frequencies, plain or scaled.
    Frequencies,
}

/// Largest score that masks, that of the first files.
const MASKED: f32 = -1e4;
/// Frequencies may have been rounded to bf16.
const FREQUENCY_ERROR: f32 = 1e-2;

impl InPlace {
    /// Whether a stored tensor is what the model has in its place.
    pub(super) fn equals(self, stored: &StoredTensor, config: &GptConfig) -> bool {
        if self == Self::Compared {
            return true;
        }
        let Some(numbers) = numbers(stored) else {
            return false;
        };
        match self {
            Self::Compared => true,
            Self::CausalMask => is_causal(&numbers, &stored.shape),
            Self::MaskedScore => numbers.iter().all(|score| *score <= MASKED),
            Self::Zeros => numbers.iter().all(|bias| *bias == 0.0),
            Self::Frequencies => {
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= FREQUENCY_ERROR * b.abs();
                let equals = |scaling: &RopeScaling| {
                    let expected = rope_frequencies(config, scaling);
                    expected.len() == numbers.len() && numbers.iter().zip(&expected).all(near)
                };
                equals(&RopeScaling::None) || equals(&config.rope_scaling)
            }
        }
    }
}

/// Whether two tensors of one file hold the same numbers, as `==` sees them, in whatever type.
pub(super) fn same_numbers(a: &StoredTensor, b: &StoredTensor) -> bool {
    if a.shape != b.shape {
        return false;
    }
    if a.dtype == b.dtype && *a.bytes == *b.bytes {
        return true;
    }
    if !a.dtype.is_float() || !b.dtype.is_float() {
        return false;
    }
    decoded(a) == decoded(b)
}

fn is_causal(mask: &[f32], shape: &[usize]) -> bool {
    let &[.., rows, cols] = shape else {
        return false;
    };
    rows == cols
        && mask.len() == rows * cols
        && mask
            .chunks_exact(cols.max(1))
            .enumerate()
            .all(|(row, seen)| {
                let expected = |col: usize| if col <= row { 1.0 } else { 0.0 };
                seen.iter()
                    .enumerate()
                    .all(|(col, seen)| seen.total_cmp(&expected(col)).is_eq())
            })
}

fn numbers(stored: &StoredTensor) -> Option<Vec<f32>> {
    match stored.dtype {
        TensorType::Plain(Dtype::Bool | Dtype::U8) => {
            Some(stored.bytes.iter().map(|byte| f32::from(*byte)).collect())
        }
        dtype => dtype.is_float().then(|| decoded(stored)),
    }
}
