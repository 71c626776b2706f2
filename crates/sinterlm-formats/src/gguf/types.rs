//! ggml's numbers for tensor types (`enum ggml_type` in `ggml.h`).

use crate::{BlockType, Dtype, TensorType};

/// Each supported type with its number.
const TYPES: [(u32, TensorType); 18] = [
    (0, TensorType::Plain(Dtype::F32)),
    (1, TensorType::Plain(Dtype::F16)),
    (2, TensorType::Blocks(BlockType::Q4_0)),
    (3, TensorType::Blocks(BlockType::Q4_1)),
    (6, TensorType::Blocks(BlockType::Q5_0)),
    (7, TensorType::Blocks(BlockType::Q5_1)),
    (8, TensorType::Blocks(BlockType::Q8_0)),
    (10, TensorType::Blocks(BlockType::Q2K)),
    (11, TensorType::Blocks(BlockType::Q3K)),
    (12, TensorType::Blocks(BlockType::Q4K)),
    (13, TensorType::Blocks(BlockType::Q5K)),
    (14, TensorType::Blocks(BlockType::Q6K)),
    (24, TensorType::Plain(Dtype::I8)),
    (25, TensorType::Plain(Dtype::I16)),
    (26, TensorType::Plain(Dtype::I32)),
    (27, TensorType::Plain(Dtype::I64)),
    (28, TensorType::Plain(Dtype::F64)),
    (30, TensorType::Plain(Dtype::BF16)),
];

/// The type with this number, or the name to report it by.
pub(super) fn from_number(number: u32) -> Result<TensorType, String> {
    if let Some((_, dtype)) = TYPES.iter().find(|(known, _)| *known == number) {
        return Ok(*dtype);
    }
    let name = match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return Err(format!("ggml type {number}")),
    };
    Err(name.to_owned())
}

/// The number of a type, `None` if ggml has none.
pub(super) fn to_number(dtype: TensorType) -> Option<u32> {
    let found = TYPES.iter().find(|(_, known)| *known == dtype);
    found.map(|(number, _)| *number)
}
