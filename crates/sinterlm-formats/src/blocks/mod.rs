//! The block types of GGUF files: sizes, names, and the way to each type's decoder and encoder.
//!
//! Layouts: the `block_*` structures of ggml's `ggml-common.h`; arithmetic: the reference functions
//! of its `ggml-quants.c` (<https://github.com/ggml-org/ggml/tree/master/src>). All numbers are
//! little-endian, scales are F16.

mod k_quants;
mod legacy;

use std::fmt;

/// A type of blocks in which some numbers share their scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockType {
    /// 32 numbers of 4 bits, `d * (q - 8)`.
    Q4_0,
    /// 32 numbers of 4 bits, `d * q + m`.
    Q4_1,
    /// 32 numbers of 5 bits, `d * (q - 16)`.
    Q5_0,
    /// 32 numbers of 5 bits, `d * q + m`.
    Q5_1,
    /// 32 numbers of 8 bits, `d * q`.
    Q8_0,
    /// 256 numbers of 2 bits in 16 groups with scale and minimum of 4 bits each.
    Q2K,
    /// 256 numbers of 3 bits in 16 groups with scales of 6 bits.
    Q3K,
    /// 256 numbers of 4 bits in 8 groups with scale and minimum of 6 bits each.
    Q4K,
    /// 256 numbers of 5 bits in 8 groups with scale and minimum of 6 bits each.
    Q5K,
    /// 256 numbers of 6 bits in 16 groups with scales of 8 bits.
    Q6K,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Numbers in a block.
    #[allow(clippy::len_without_is_empty, reason = "no block is empty")]
    pub const fn len(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => legacy::LEN,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => k_quants::LEN,
        }
    }

    /// Bytes of a block.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// ggml's name: `Q4_0`, `Q6_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Whether the type can be written.
    pub(crate) const fn can_encode(self) -> bool {
        matches!(
            self,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0
        )
    }

    /// Encodes whole blocks; the public way is `TensorType::encode`, which checks the lengths.
    pub(crate) fn encode(self, values: &[f32], out: &mut [u8]) {
        match self {
            Self::Q4_0 => each(values, out, legacy::encode_q4_0),
            Self::Q4_1 => each(values, out, legacy::encode_q4_1),
            Self::Q5_0 => each(values, out, legacy::encode_q5_0),
            Self::Q5_1 => each(values, out, legacy::encode_q5_1),
            Self::Q8_0 => each(values, out, legacy::encode_q8_0),
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => {
                panic!("encode: {self} is only read; write Q8_0, Q5_1, Q5_0, Q4_1 or Q4_0")
            }
        }
    }

    /// Decodes whole blocks; the public way is `TensorType::decode`, which checks the lengths.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::Q4_0 => each_block(bytes, out, legacy::decode_q4_0),
            Self::Q4_1 => each_block(bytes, out, legacy::decode_q4_1),
            Self::Q5_0 => each_block(bytes, out, legacy::decode_q5_0),
            Self::Q5_1 => each_block(bytes, out, legacy::decode_q5_1),
            Self::Q8_0 => each_block(bytes, out, legacy::decode_q8_0),
            Self::Q2K => each_block(bytes, out, k_quants::decode_q2_k),
            Self::Q3K => each_block(bytes, out, k_quants::decode_q3_k),
            Self::Q4K => each_block(bytes, out, k_quants::decode_q4_k),
            Self::Q5K => each_block(bytes, out, k_quants::decode_q5_k),
            Self::Q6K => each_block(bytes, out, k_quants::decode_q6_k),
        }
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn each_block<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let blocks = bytes.as_chunks::<BYTES>().0;
    for (block, values) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
        decode(block, values);
    }
}

fn each<const BYTES: usize, const LEN: usize>(
    values: &[f32],
    out: &mut [u8],
    encode: impl Fn(&[f32; LEN], &mut [u8; BYTES]),
) {
    let blocks = out.as_chunks_mut::<BYTES>().0;
    for (values, block) in values.as_chunks::<LEN>().0.iter().zip(blocks) {
        encode(values, block);
    }
}
