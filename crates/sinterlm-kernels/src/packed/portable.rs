//! Packed weights in plain Rust, for instruction sets without a form of their own: what the blocks
//! mean, products and unpacking. The order of tasks is left to `native`.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use super::{BLOCK, part::Part};
use crate::{isa::Kernel, lanes::lane_sum};

/// The weights of a block.
pub(super) trait Unpack<const BYTES: usize>: Copy {
    fn unpack(self, block: &[u8; BYTES]) -> [f32; BLOCK];
}

/// Products of a part.
pub(super) struct Dots<'a, const BYTES: usize, F: Unpack<BYTES>>(pub(super) Part<'a>, pub(super) F);

impl<const BYTES: usize, F: Unpack<BYTES>> Kernel for Dots<'_, BYTES, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(
            Part {
                x,
                rows,
                d_in,
                bytes,
                out,
            },
            format,
        ) = self;
        let mut line = vec![0.0; d_in];
        let packed_lines = bytes.chunks_exact(d_in / BLOCK * BYTES);
        for (out, packed) in out.chunks_exact_mut(rows).zip(packed_lines) {
            let (numbers, _) = line.as_chunks_mut::<BLOCK>();
            for (numbers, block) in numbers.iter_mut().zip(packed.as_chunks::<BYTES>().0) {
                *numbers = format.unpack(block);
            }
            for (x, out) in x.chunks_exact(d_in).zip(out) {
                *out = lane_sum([x, &line], |[a, b]| a * b);
            }
        }
    }
}

/// The weights of blocks, written behind each other.
pub(super) struct Whole<'a, const BYTES: usize, F: Unpack<BYTES>>(
    pub(super) &'a [u8],
    pub(super) &'a mut [f32],
    pub(super) F,
);

impl<const BYTES: usize, F: Unpack<BYTES>> Kernel for Whole<'_, BYTES, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(bytes, out, format) = self;
        let (blocks, _) = bytes.as_chunks::<BYTES>();
        let (out, _) = out.as_chunks_mut::<BLOCK>();
        for (out, block) in out.iter_mut().zip(blocks) {
            *out = format.unpack(block);
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct F16;
#[derive(Clone, Copy)]
pub(super) struct Bf16;
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the format's name")]
pub(super) struct Q8_0;
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the format's name")]
pub(super) struct Q4_0;
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the format's name")]
pub(super) struct Q4_1;

// Plain loops over arrays of constant length: closures and iterators are not always inlined, and what
// is not keeps the baseline's instructions.

impl Unpack<64> for F16 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 64]) -> [f32; BLOCK] {
        let mut out = [0.0; BLOCK];
        for i in 0..BLOCK {
            out[i] = half([block[2 * i], block[2 * i + 1]]);
        }
        out
    }
}

impl Unpack<64> for Bf16 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 64]) -> [f32; BLOCK] {
        let mut out = [0.0; BLOCK];
        for i in 0..BLOCK {
            let bits = u16::from_le_bytes([block[2 * i], block[2 * i + 1]]);
            out[i] = f32::from_bits(u32::from(bits) << 16);
        }
        out
    }
}

impl Unpack<34> for Q8_0 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 34]) -> [f32; BLOCK] {
        let scale = half([block[0], block[1]]);
        let mut out = [0.0; BLOCK];
        for i in 0..BLOCK {
            out[i] = f32::from(block[2 + i].cast_signed()) * scale;
        }
        out
    }
}

impl Unpack<18> for Q4_0 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 18]) -> [f32; BLOCK] {
        let scale = half([block[0], block[1]]);
        let mut out = [0.0; BLOCK];
        for i in 0..BLOCK / 2 {
            let pair = i32::from(block[2 + i]);
            out[i] = ((pair & 15) - 8) as f32 * scale;
            out[BLOCK / 2 + i] = ((pair >> 4) - 8) as f32 * scale;
        }
        out
    }
}

impl Unpack<20> for Q4_1 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 20]) -> [f32; BLOCK] {
        let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
        let mut out = [0.0; BLOCK];
        for i in 0..BLOCK / 2 {
            let pair = i32::from(block[4 + i]);
            out[i] = (pair & 15) as f32 * scale + least;
            out[BLOCK / 2 + i] = (pair >> 4) as f32 * scale + least;
        }
        out
    }
}

/// The value of a half precision number, without branches, so that it becomes vector code.
#[inline(always)]
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = (bits & 0x7fff) << 13;
    // The exponent's bias is 15 there and 127 here; a product sets subnormal numbers right too.
    let scaled = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = u32::from(magnitude >= 0x0f80_0000).wrapping_neg() & 0x7f80_0000;
    f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
}
