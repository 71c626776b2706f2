//! How stored tensors are encoded, and decoding them to f32; where the bytes come from is left to
//! the containers.

use std::fmt;

use half::{bf16, f16, slice::HalfFloatSliceExt};

use crate::{BlockType, Dtype};

/// How the elements of a stored tensor are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TensorType {
    /// One number after the other.
    Plain(Dtype),
    /// Blocks of numbers that share their scales, as GGUF files hold them.
    Blocks(BlockType),
}

impl TensorType {
    /// Elements of the smallest unit that can be decoded alone; 1 for plain numbers.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Plain(_) => 1,
            Self::Blocks(block) => block.len(),
        }
    }

    /// Bytes of that unit.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Plain(dtype) => dtype.size_bytes(),
            Self::Blocks(block) => block.size_bytes(),
        }
    }

    /// Bytes of a tensor of this shape; `None` where the innermost axis is not whole blocks, or the
    /// axes, those of length 0 left out, multiply to more than fits.
    pub fn size_bytes(self, shape: &[u64]) -> Option<u64> {
        let block_len = self.block_len() as u64;
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(block_len) {
            return None;
        }
        // No product of some of the axes may overflow, in whatever order a reader takes it.
        let all = shape
            .iter()
            .try_fold(self.block_bytes() as u64, |size, n| {
                size.checked_mul((*n).max(1))
            })?;
        if shape.contains(&0) {
            Some(0)
        } else {
            Some(all / block_len)
        }
    }

    /// Whether the elements are real numbers, so that [`decode`](Self::decode) may be used.
    pub const fn is_float(self) -> bool {
        match self {
            Self::Plain(dtype) => {
                matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
            }
            Self::Blocks(_) => true,
        }
    }

    /// Decodes whole units from `bytes` into `out`: half floats are widened, F64 is rounded, blocks
    /// are multiplied out as by ggml's `dequantize_row_*` functions.
    ///
    /// Rows are whole units, so the rows of a matrix may be decoded apart and in parallel.
    ///
    /// # Panics
    /// If the type is no float, or `bytes` and `out` are not the same number of whole units.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        self.assert_whole_blocks(bytes, out);
        match self {
            Self::Plain(Dtype::F32) => convert(bytes, out, f32::from_le_bytes),
            Self::Plain(Dtype::F16) => widen_f16(bytes, out),
            // As ggml: the upper half of an f32, whatever it holds.
            Self::Plain(Dtype::BF16) => convert(bytes, out, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
            }),
            Self::Plain(Dtype::F64) => convert(bytes, out, |b| f64::from_le_bytes(b) as f32),
            Self::Plain(dtype) => panic!("decode: {dtype} is no float"),
            Self::Blocks(block) => block.decode(bytes, out),
        }
    }
}

/// Encoding.
impl TensorType {
    /// Whether [`encode`](Self::encode) knows this type: F32, F16, BF16, F64 and the blocks of 32.
    pub const fn can_encode(self) -> bool {
        match self {
            Self::Plain(_) => self.is_float(),
            Self::Blocks(block) => block.can_encode(),
        }
    }

    /// Encodes `values` into `out`: half floats are rounded to nearest even, beyond their range to
    /// infinity; blocks are bit for bit those of ggml's `quantize_row_*_ref` functions.
    ///
    /// # Panics
    /// If the type cannot be encoded, see [`can_encode`](Self::can_encode), or `values` and `out`
    /// are not the same number of whole units.
    pub fn encode(self, values: &[f32], out: &mut [u8]) {
        self.assert_whole_blocks(out, values);
        match self {
            Self::Plain(Dtype::F32) => store(values, out, f32::to_le_bytes),
            Self::Plain(Dtype::F16) => narrow_f16(values, out),
            Self::Plain(Dtype::BF16) => store(values, out, |x| bf16::from_f32(x).to_le_bytes()),
            Self::Plain(Dtype::F64) => store(values, out, |x| f64::from(x).to_le_bytes()),
            Self::Plain(dtype) => panic!("encode: {dtype} is no float"),
            Self::Blocks(block) => block.encode(values, out),
        }
    }

    fn assert_whole_blocks(self, bytes: &[u8], values: &[f32]) {
        assert!(
            bytes.len().is_multiple_of(self.block_bytes())
                && bytes.len() / self.block_bytes() * self.block_len() == values.len(),
            "{self}: {} bytes and {} values are not the same number of whole blocks",
            bytes.len(),
            values.len()
        );
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(dtype) => dtype.fmt(f),
            Self::Blocks(block) => block.fmt(f),
        }
    }
}

impl From<Dtype> for TensorType {
    fn from(dtype: Dtype) -> Self {
        Self::Plain(dtype)
    }
}

impl From<BlockType> for TensorType {
    fn from(block: BlockType) -> Self {
        Self::Blocks(block)
    }
}

/// Elements converted at once, on the stack.
const HALVES: usize = 256;

/// In pieces, for which `half` has the processor's own instructions.
fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks(2 * HALVES).zip(out.chunks_mut(HALVES)) {
        let mut halves = [f16::ZERO; HALVES];
        let halves = &mut halves[..out.len()];
        for (half, element) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*element);
        }
        halves.convert_to_f32_slice(out);
    }
}

fn narrow_f16(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.chunks(HALVES).zip(out.chunks_mut(2 * HALVES)) {
        let mut halves = [f16::ZERO; HALVES];
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        for (half, element) in halves.iter().zip(out.as_chunks_mut().0) {
            *element = half.to_le_bytes();
        }
    }
}

fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    for (value, element) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = read(*element);
    }
}

fn store<const N: usize>(values: &[f32], out: &mut [u8], write: impl Fn(f32) -> [u8; N]) {
    for (value, element) in values.iter().zip(out.as_chunks_mut().0) {
        *element = write(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_whole_blocks_of_each_row() {
        let q8 = TensorType::from(BlockType::Q8_0);
        assert_eq!(q8.size_bytes(&[3, 64]), Some(3 * 2 * 34));
        assert_eq!(q8.size_bytes(&[64, 3]), None);
        let plain = TensorType::from(Dtype::BF16);
        assert_eq!(plain.size_bytes(&[]), Some(2));
        assert_eq!(plain.size_bytes(&[5, 0]), Some(0));
        assert_eq!(plain.size_bytes(&[u64::MAX, 2]), None);
        assert_eq!(plain.size_bytes(&[u64::MAX, 2, 0]), None);
        assert_eq!(plain.size_bytes(&[0, u64::MAX, 2]), None);
    }

    #[test]
    fn every_f16_widens_and_narrows_to_itself() {
        let dtype = TensorType::from(Dtype::F16);
        let bytes: Vec<_> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut values = vec![0.0; 1 << 16];
        dtype.decode(&bytes, &mut values);
        let exact = [values[0x3c01], values[1]].map(f32::to_bits);
        assert_eq!(
            exact,
            [1.0 + 1.0 / 1024.0, 2.0f32.powi(-24)].map(f32::to_bits)
        );
        let mut again = vec![0; bytes.len()];
        dtype.encode(&values, &mut again);
        for (bits, value) in values.iter().enumerate() {
            let found = u16::from_le_bytes([again[2 * bits], again[2 * bits + 1]]);
            assert!(usize::from(found) == bits || value.is_nan(), "{bits:#06x}");
        }
    }

    #[test]
    #[should_panic(expected = "whole blocks")]
    fn a_buffer_of_the_wrong_length_is_refused() {
        TensorType::from(Dtype::F32).decode(&[0; 8], &mut [0.0; 3]);
    }
}
