//! Packed weights on flex: sums straight from the blocks for few rows, where reading the weights is
//! what takes time; for many rows, parts of the weights are unpacked and become dense.
#![allow(unsafe_code)] // calls of code for an instruction set

use std::ops::Range;

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{DType, Int, Tensor},
};
use rayon::prelude::*;

use super::part::Part;
use super::portable::{Bf16, Dots, F16, Q4_0, Q4_1, Q8_0, Unpack, Whole};
use super::{BLOCK, PackedFormat, PackedMatrix};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
#[cfg(target_arch = "x86_64")]
use crate::isa::{Isa, available};
use crate::{FEW_ROWS, MatmulPrecision, buffer, isa::vectorized, linear as linear_dense};

/// Rows of `x` that share one reading of a block; their sums stay in registers.
#[cfg(target_arch = "x86_64")]
const TOGETHER: usize = 4;
/// Bytes of packed weights of one task: a few microseconds of reading.
const TASK_BYTES: usize = 1 << 15;
/// Weights that are unpacked at a time for products with many rows, 32 MiB.
const UNPACKED_NUMBERS: usize = 1 << 23;

pub(super) fn linear(x: Tensor<2>, weight: &PackedMatrix, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [rows, d_in] = x.dims();
    let d_out = weight.shape[0];
    if rows > FEW_ROWS {
        return with_dense(&x, weight, bias);
    }
    let (x, words) = (buffer::whole(x), words(weight));
    let x = &x.storage::<f32>()[..rows * d_in];
    let bytes = bytes(&words, weight);
    let mut columns = vec![0.0; d_out * rows]; // [d_out, rows]
    if !columns.is_empty() && d_in > 0 {
        let row_bytes = d_in / BLOCK * weight.format.block_bytes();
        let share = (TASK_BYTES / row_bytes).max(1);
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

/// Products of many rows, for which unpacking takes little of the time.
fn with_dense(x: &Tensor<2>, weight: &PackedMatrix, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [d_out, d_in] = weight.shape;
    let lines = (UNPACKED_NUMBERS / d_in.max(1)).max(1);
    if lines >= d_out {
        return linear_dense(x.clone(), unpack(weight), bias, MatmulPrecision::F32);
    }
    let parts = (0..d_out).step_by(lines).map(|first| {
        let lines = lines.min(d_out - first);
        let numbers = unpack_lines(weight, first..first + lines);
        let numbers = buffer::tensor(buffer::from_vec(numbers, [lines, d_in]));
        let bias = bias.clone().map(|bias| bias.narrow(0, first, lines));
        linear_dense(x.clone(), numbers, bias, MatmulPrecision::F32)
    });
    Tensor::cat(parts.collect(), 1)
}

pub(super) fn unpack(weight: &PackedMatrix) -> Tensor<2> {
    let numbers = unpack_lines(weight, 0..weight.shape[0]);
    buffer::tensor(buffer::from_vec(numbers, weight.shape))
}

/// Some rows of the weight, row-major.
pub(super) fn unpack_lines(weight: &PackedMatrix, lines: Range<usize>) -> Vec<f32> {
    let d_in = weight.shape[1];
    let block_bytes = weight.format.block_bytes();
    let line_bytes = d_in / BLOCK * block_bytes;
    let words = words(weight);
    let bytes = &bytes(&words, weight)[lines.start * line_bytes..lines.end * line_bytes];
    let mut out = vec![0.0; lines.len() * d_in];
    let blocks = TASK_BYTES / block_bytes;
    out.par_chunks_mut(blocks * BLOCK)
        .zip(bytes.par_chunks(blocks * block_bytes))
        .for_each(|(out, bytes)| unpack_into(bytes, out, weight.format));
    out
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

impl Part<'_> {
    fn run(self, format: PackedFormat) {
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
    fn dots<const BYTES: usize, F>(self, format: F)
    where
        F: Unpack<BYTES> + avx2::Vectors + avx512::Vectors,
    {
        match available() {
            Isa::Avx512 | Isa::Avx512Bf16 => self.dots_avx512::<F>(),
            Isa::Avx2 if has_f16c() => self.dots_avx2::<F>(),
            _ => vectorized(Dots(self, format)),
        }
    }

    /// For a CPU with AVX-512.
    #[cfg(target_arch = "x86_64")]
    fn dots_avx512<F: avx512::Vectors>(self) {
        self.each_line(F::BYTES, |x, line, out| match x {
            // SAFETY: the CPU has AVX-512; rows and line are whole and alike.
            Rows::Four(x) => {
                out[..TOGETHER].copy_from_slice(&unsafe { avx512::dots::<F, TOGETHER>(x, line) });
            }
            // SAFETY: as above.
            Rows::One(x) => [out[0]] = unsafe { avx512::dots::<F, 1>([x], line) },
        });
    }

    /// For a CPU with AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    fn dots_avx2<F: avx2::Vectors>(self) {
        self.each_line(F::BYTES, |x, line, out| match x {
            // SAFETY: the CPU has the instructions; rows and line are whole and alike.
            Rows::Four(x) => {
                out[..TOGETHER].copy_from_slice(&unsafe { avx2::dots::<F, TOGETHER>(x, line) });
            }
            // SAFETY: as above.
            Rows::One(x) => [out[0]] = unsafe { avx2::dots::<F, 1>([x], line) },
        });
    }

    /// Some rows of `x` with each line, into what is left of the line's results from those rows on.
    /// A few rows of `x` stay in the cache beside the task's lines, all would not.
    #[cfg(target_arch = "x86_64")]
    fn each_line(self, block_bytes: usize, dots: impl Fn(Rows<'_>, &[u8], &mut [f32])) {
        let line_bytes = self.d_in / BLOCK * block_bytes;
        for (row, x) in together(self.x, self.d_in) {
            let lines = self.bytes.chunks_exact(line_bytes);
            for (out, line) in self.out.chunks_exact_mut(self.rows).zip(lines) {
                dots(x, line, &mut out[row..]);
            }
        }
    }
}

/// Rows of `x` that are multiplied at a time.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
enum Rows<'a> {
    Four([&'a [f32]; TOGETHER]),
    One(&'a [f32]),
}

/// All rows of `x` in fours and what is left one by one, each with the number of the first.
#[cfg(target_arch = "x86_64")]
fn together(x: &[f32], d_in: usize) -> impl Iterator<Item = (usize, Rows<'_>)> {
    let rows = x.len() / d_in;
    let row = move |row: usize| &x[row * d_in..][..d_in];
    let whole = rows / TOGETHER * TOGETHER;
    let fours = (0..whole)
        .step_by(TOGETHER)
        .map(move |first| (first, Rows::Four(std::array::from_fn(|at| row(first + at)))));
    fours.chain((whole..rows).map(move |at| (at, Rows::One(row(at)))))
}

fn unpack_into(bytes: &[u8], out: &mut [f32], format: PackedFormat) {
    match format {
        PackedFormat::F16 => unpack_as(F16, bytes, out),
        PackedFormat::Bf16 => unpack_as(Bf16, bytes, out),
        PackedFormat::Q8_0 => unpack_as(Q8_0, bytes, out),
        PackedFormat::Q4_0 => unpack_as(Q4_0, bytes, out),
        PackedFormat::Q4_1 => unpack_as(Q4_1, bytes, out),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn unpack_as<const BYTES: usize, F: Unpack<BYTES>>(format: F, bytes: &[u8], out: &mut [f32]) {
    vectorized(Whole(bytes, out, format));
}

#[cfg(target_arch = "x86_64")]
fn unpack_as<const BYTES: usize, F>(format: F, bytes: &[u8], out: &mut [f32])
where
    F: Unpack<BYTES> + avx2::Vectors + avx512::Vectors,
{
    assert_eq!(
        bytes.len() / BYTES,
        out.len() / BLOCK,
        "a block for each 32"
    );
    match available() {
        // SAFETY: the CPU has AVX-512, and the blocks are there.
        Isa::Avx512 | Isa::Avx512Bf16 => unsafe { avx512::unpack::<F>(bytes, out) },
        // SAFETY: the CPU has the instructions, and the blocks are there.
        Isa::Avx2 if has_f16c() => unsafe { avx2::unpack::<F>(bytes, out) },
        _ => vectorized(Whole(bytes, out, format)),
    }
}

/// Every CPU with AVX2 seems to have it.
#[cfg(target_arch = "x86_64")]
fn has_f16c() -> bool {
    is_x86_feature_detected!("f16c")
}
