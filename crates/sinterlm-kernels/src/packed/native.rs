//! Packed weights on flex: sums straight from the blocks for few rows, where reading the weights is
//! what takes time; for many rows parts of the weights are unpacked for a matrix product.
#![allow(unsafe_code)] // calls of code for AVX-512
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{DType, Int, Tensor},
};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{BLOCK, PackedFormat, PackedMatrix};
use crate::{
    FEW_ROWS, MatmulPrecision, buffer,
    isa::{Isa, Kernel, available, vectorized},
    product::{Matrix, product},
};

/// Rows of `x` that share one reading of a block under AVX-512; their sums stay in registers.
const TOGETHER: usize = 4;
/// Bytes of packed weights of one task: a few microseconds of reading.
const TASK_BYTES: usize = 1 << 15;
/// Rows of `W` that are unpacked at a time for a product.
const PANEL: usize = 48;

type Lanes = [f32; BLOCK];

pub(super) fn linear(x: Tensor<2>, weight: &PackedMatrix, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [rows, d_in] = x.dims();
    let d_out = weight.shape[0];
    let (x, words) = (buffer::whole(x), words(weight));
    let x = &x.storage::<f32>()[..rows * d_in];
    let bytes = bytes(&words, weight);
    let mut columns = vec![0.0; d_out * rows]; // [d_out, rows]
    if !columns.is_empty() && d_in > 0 {
        let row_bytes = d_in / BLOCK * weight.format.block_bytes();
        let share = if rows > FEW_ROWS {
            PANEL
        } else {
            (TASK_BYTES / row_bytes).max(1)
        };
        columns
            .par_chunks_mut(share * rows)
            .zip(bytes.par_chunks(share * row_bytes))
            .for_each(|(out, bytes)| {
                let part = Part {
                    x,
                    rows,
                    d_in,
                    bytes,
                    out,
                };
                part.run(weight.format);
            });
    }
    let bias = bias.map(buffer::whole);
    let bias = bias.as_ref().map(|bias| &bias.storage::<f32>()[..d_out]);
    let y = with_bias(transposed(columns, d_out, rows), bias);
    buffer::tensor(buffer::from_vec(y, [rows, d_out]))
}

pub(super) fn unpack(weight: &PackedMatrix) -> Tensor<2> {
    let words = words(weight);
    let mut out = vec![0.0; weight.shape[0] * weight.shape[1]];
    let block_bytes = weight.format.block_bytes();
    let blocks = TASK_BYTES / block_bytes;
    out.par_chunks_mut(blocks * BLOCK)
        .zip(bytes(&words, weight).par_chunks(blocks * block_bytes))
        .for_each(|(out, bytes)| unpack_into(bytes, out, weight.format));
    buffer::tensor(buffer::from_vec(out, weight.shape))
}

pub(super) fn rows(weight: &PackedMatrix, ids: Tensor<2, Int>) -> Tensor<3> {
    let [batch, seq] = ids.dims();
    let [d_out, d_in] = weight.shape;
    let words = words(weight);
    let bytes = bytes(&words, weight);
    let row_bytes = d_in / BLOCK * weight.format.block_bytes();
    let ids: Vec<i64> = ids.into_data().iter::<i64>().collect();
    let mut out = vec![0.0; batch * seq * d_in];
    for (out, id) in out.chunks_exact_mut(d_in.max(1)).zip(ids) {
        let row = usize::try_from(id).unwrap_or(usize::MAX);
        assert!(row < d_out, "embedding: id {id} is not below vocab {d_out}");
        unpack_into(&bytes[row * row_bytes..][..row_bytes], out, weight.format);
    }
    buffer::tensor(buffer::from_vec(out, [batch, seq, d_in]))
}

fn words(weight: &PackedMatrix) -> FlexTensor {
    let primitive = weight.words.clone().try_into_primitive::<Flex>();
    primitive
        .expect("the native route is taken on flex")
        .to_contiguous()
}

/// The bytes of the blocks.
fn bytes<'a>(words: &'a FlexTensor, weight: &PackedMatrix) -> &'a [u8] {
    debug_assert_eq!(words.dtype(), DType::I32);
    let blocks = weight.shape[0] * weight.shape[1] / BLOCK;
    &words.bytes()[..blocks * weight.format.block_bytes()]
}

/// `[d_in, rows]` to `[rows, d_in]`.
fn transposed(columns: Vec<f32>, d_out: usize, rows: usize) -> Vec<f32> {
    if rows <= 1 {
        return columns;
    }
    let mut out = vec![0.0; columns.len()];
    out.par_chunks_mut(d_out)
        .enumerate()
        .for_each(|(row, out)| {
            for (out, column) in out.iter_mut().zip(columns.chunks_exact(rows)) {
                *out = column[row];
            }
        });
    out
}

fn with_bias(mut y: Vec<f32>, bias: Option<&[f32]>) -> Vec<f32> {
    if let Some(bias) = bias.filter(|bias| !bias.is_empty()) {
        for row in y.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    }
    y
}

/// Products of all rows of `x` with some rows of the weight.
struct Part<'a> {
    x: &'a [f32],
    rows: usize,
    d_in: usize,
    /// The weight's rows.
    bytes: &'a [u8],
    /// `[rows of the weight, rows of x]`.
    out: &'a mut [f32],
}

impl Part<'_> {
    fn run(self, format: PackedFormat) {
        if self.rows > FEW_ROWS {
            let count = self.out.len() / self.rows;
            let mut panel = vec![0.0; count * self.d_in];
            unpack_into(self.bytes, &mut panel, format);
            let weight = Matrix::new(&panel, count, self.d_in, self.d_in);
            let x = Matrix::new(self.x, self.rows, self.d_in, self.d_in).transposed();
            let precision = MatmulPrecision::F32;
            product((self.out, self.rows), false, weight, x, 1.0, precision);
            return;
        }
        match format {
            PackedFormat::F16 => self.dots(F16),
            PackedFormat::Bf16 => self.dots(Bf16),
            PackedFormat::Q8_0 => self.dots(Q8_0),
            PackedFormat::Q4_0 => self.dots(Q4_0),
            PackedFormat::Q4_1 => self.dots(Q4_1),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn dots<const BYTES: usize, F: Unpack<BYTES>>(self, format: F) {
        vectorized(Dots(self, format));
    }

    #[cfg(target_arch = "x86_64")]
    fn dots<const BYTES: usize, F: Unpack<BYTES> + avx512::Vectors>(self, format: F) {
        if available() < Isa::Avx512 {
            vectorized(Dots(self, format));
            return;
        }
        let (rows, d_in) = (self.rows, self.d_in);
        let line_bytes = d_in / BLOCK * BYTES;
        let mut row = 0;
        // A few rows of `x` stay in the cache beside the task's lines, all would not.
        while row < rows {
            let together = if row + TOGETHER <= rows { TOGETHER } else { 1 };
            let x = |at: usize| &self.x[(row + at) * d_in..][..d_in];
            let groups = self.bytes.chunks(avx512::LINES * line_bytes);
            for (out, group) in self.out.chunks_mut(avx512::LINES * rows).zip(groups) {
                // The last group repeats its last line.
                let last = group.len() / line_bytes - 1;
                let lines =
                    std::array::from_fn(|at| &group[at.min(last) * line_bytes..][..line_bytes]);
                let mut store = |row: usize, dots: [f32; avx512::LINES]| {
                    for (out, dot) in out.chunks_exact_mut(rows).zip(dots) {
                        out[row] = dot;
                    }
                };
                if together == TOGETHER {
                    let x: [_; TOGETHER] = std::array::from_fn(x);
                    // SAFETY: the CPU has AVX-512; rows and lines are whole and alike.
                    let dots = unsafe { avx512::dots::<F, TOGETHER>(x, lines) };
                    for (at, dots) in dots.into_iter().enumerate() {
                        store(row + at, dots);
                    }
                } else {
                    // SAFETY: as above.
                    let [dots] = unsafe { avx512::dots::<F, 1>([x(0)], lines) };
                    store(row, dots);
                }
            }
            row += together;
        }
    }
}

/// The weights of a block.
trait Unpack<const BYTES: usize>: Copy {
    fn unpack(self, block: &[u8; BYTES]) -> Lanes;
}

struct Dots<'a, const BYTES: usize, F: Unpack<BYTES>>(Part<'a>, F);

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
        let weights = bytes.chunks_exact(d_in / BLOCK * BYTES);
        for (out, weight) in out.chunks_exact_mut(rows).zip(weights) {
            let (blocks, _) = weight.as_chunks::<BYTES>();
            for (x, out) in x.chunks_exact(d_in).zip(out) {
                *out = dot(format, blocks, x.as_chunks().0);
            }
        }
    }
}

/// The product of a row of blocks with a row of `x`.
#[inline(always)]
fn dot<const BYTES: usize, F: Unpack<BYTES>>(
    format: F,
    blocks: &[[u8; BYTES]],
    x: &[Lanes],
) -> f32 {
    let mut sums = [0.0; BLOCK];
    for (block, x) in blocks.iter().zip(x) {
        let weights = format.unpack(block);
        for lane in 0..BLOCK {
            sums[lane] += weights[lane] * x[lane];
        }
    }
    let mut width = BLOCK / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

fn unpack_into(bytes: &[u8], out: &mut [f32], format: PackedFormat) {
    match format {
        PackedFormat::F16 => vectorized(Whole(bytes, out, F16)),
        PackedFormat::Bf16 => vectorized(Whole(bytes, out, Bf16)),
        PackedFormat::Q8_0 => vectorized(Whole(bytes, out, Q8_0)),
        PackedFormat::Q4_0 => vectorized(Whole(bytes, out, Q4_0)),
        PackedFormat::Q4_1 => vectorized(Whole(bytes, out, Q4_1)),
    }
}

struct Whole<'a, const BYTES: usize, F: Unpack<BYTES>>(&'a [u8], &'a mut [f32], F);

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

impl Unpack<64> for F16 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 64]) -> Lanes {
        let (pairs, _) = block.as_chunks::<2>();
        std::array::from_fn(|i| half(pairs[i]))
    }
}

impl Unpack<64> for Bf16 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 64]) -> Lanes {
        let (pairs, _) = block.as_chunks::<2>();
        std::array::from_fn(|i| f32::from_bits(u32::from(u16::from_le_bytes(pairs[i])) << 16))
    }
}

impl Unpack<34> for Q8_0 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 34]) -> Lanes {
        let scale = half([block[0], block[1]]);
        std::array::from_fn(|i| f32::from(block[2 + i].cast_signed()) * scale)
    }
}

impl Unpack<18> for Q4_0 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 18]) -> Lanes {
        let scale = half([block[0], block[1]]);
        nibbles(&block[2..], |q| (f32::from(q) - 8.0) * scale)
    }
}

impl Unpack<20> for Q4_1 {
    #[inline(always)]
    fn unpack(self, block: &[u8; 20]) -> Lanes {
        let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
        nibbles(&block[4..], |q| f32::from(q) * scale + least)
    }
}

#[inline(always)]
fn nibbles(pairs: &[u8], value: impl Fn(u8) -> f32) -> Lanes {
    let mut out = [0.0; BLOCK];
    for i in 0..BLOCK / 2 {
        out[i] = value(pairs[i] & 15);
        out[BLOCK / 2 + i] = value(pairs[i] >> 4);
    }
    out
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
