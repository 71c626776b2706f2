//! The dtype that composed forms compute in where the stored one would lose too much. Which form
//! runs is left to `route`.

use burn::tensor::DType;

/// f32 at least: norms, softmax, rotations and losses of f16 and bf16 input are computed in it.
pub(crate) fn computing_dtype(stored: DType) -> DType {
    if stored == DType::F64 {
        DType::F64
    } else {
        DType::F32
    }
}
