//! Element types of stored tensors; converting them to a framework's types is left to others.

use std::fmt;

/// The element type of a stored tensor, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dtype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 16-bit integer.
    I16,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of an f32.
    BF16,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
    /// IEEE 754 single precision.
    F32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// IEEE 754 double precision.
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The name in safetensors headers: `F32`, `BF16`, `BOOL`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::U16 => "U16",
            Self::I16 => "I16",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::U32 => "U32",
            Self::I32 => "I32",
            Self::F32 => "F32",
            Self::U64 => "U64",
            Self::I64 => "I64",
            Self::F64 => "F64",
        }
    }

    /// The dtype of a safetensors name, `None` where this crate does not know it.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Dtype; 13] = [
            Dtype::Bool,
            Dtype::U8,
            Dtype::I8,
            Dtype::U16,
            Dtype::I16,
            Dtype::F16,
            Dtype::BF16,
            Dtype::U32,
            Dtype::I32,
            Dtype::F32,
            Dtype::U64,
            Dtype::I64,
            Dtype::F64,
        ];
        ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The `safetensors` crate's word for this dtype.
    pub(crate) const fn to_safetensors(self) -> safetensors::Dtype {
        match self {
            Self::Bool => safetensors::Dtype::BOOL,
            Self::U8 => safetensors::Dtype::U8,
            Self::I8 => safetensors::Dtype::I8,
            Self::U16 => safetensors::Dtype::U16,
            Self::I16 => safetensors::Dtype::I16,
            Self::F16 => safetensors::Dtype::F16,
            Self::BF16 => safetensors::Dtype::BF16,
            Self::U32 => safetensors::Dtype::U32,
            Self::I32 => safetensors::Dtype::I32,
            Self::F32 => safetensors::Dtype::F32,
            Self::U64 => safetensors::Dtype::U64,
            Self::I64 => safetensors::Dtype::I64,
            Self::F64 => safetensors::Dtype::F64,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
