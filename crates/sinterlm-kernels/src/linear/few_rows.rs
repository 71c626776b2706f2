//! The affine map of a few rows, as in generation, where a weight is read from memory for a handful
//! of tokens: each line of the weight is read once, by one thread, as fast as memory gives it.
//!
//! Every output is one dot product summed in an order of its own, so its bits depend neither on the
//! other rows nor on the number of threads. Packed weights have a form of their own in `packed`.
#![allow(unsafe_code)] // tasks write disjoint columns of one buffer; vector intrinsics
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use crate::{
    buffer::{filled, from_vec},
    isa::{Isa, Kernel, available, vectorized},
    lanes::lane_sum,
};

/// Lines of the weight that are multiplied at a time.
const LINES: usize = 4;

/// Numbers of the weight that one task reads, 64 KiB: small enough to even out two threads, large
/// enough to hide the hand-over.
const TASK_NUMBERS: usize = 1 << 14;

/// Multiply-adds below which the calling thread does it all: a hand-over takes longer.
const THREADED_FROM: usize = 1 << 16;

/// `x weightᵀ + bias` for contiguous or other views; `x` is `[rows, d_in]`.
pub(super) fn linear(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> FlexTensor {
    let [x, weight] = [x, weight].map(FlexTensor::to_contiguous);
    let bias = bias.map(FlexTensor::to_contiguous);
    let (rows, d_in) = (x.layout().shape()[0], x.layout().shape()[1]);
    let d_out = weight.layout().shape()[0];
    let whole = "to_contiguous leaves f32 numbers in order";
    let product = Product {
        x: x.as_slice().expect(whole),
        weight: weight.as_slice().expect(whole),
        bias: bias.as_ref().map(|bias| bias.as_slice().expect(whole)),
        d_in,
        d_out,
    };
    // SAFETY: `run` writes every element.
    let y = unsafe { filled(rows * d_out, |y| product.run(y)) };
    from_vec(y, [rows, d_out])
}

/// Row-major operands.
struct Product<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    d_in: usize,
    d_out: usize,
}

/// The result's memory, of which each task writes columns of its own.
struct Columns(*mut MaybeUninit<f32>);
// SAFETY: tasks write disjoint elements and read none.
unsafe impl Send for Columns {}
// SAFETY: as above.
unsafe impl Sync for Columns {}

impl Product<'_> {
    /// Writes every element of `y`, `[rows, d_out]`.
    fn run(&self, y: &mut [MaybeUninit<f32>]) {
        let rows = y.len() / self.d_out.max(1);
        let columns = Columns(y.as_mut_ptr());
        if self.d_in == 0 {
            y.fill(MaybeUninit::new(0.0));
            (0..y.len()).for_each(|at| self.write(&columns, at / self.d_out, at % self.d_out, 0.0));
            return;
        }
        let lines = (TASK_NUMBERS / self.d_in)
            .next_multiple_of(LINES)
            .max(LINES);
        let task = |number: usize| {
            let first = number * lines;
            self.task(&columns, rows, first, (first + lines).min(self.d_out));
        };
        let tasks = self.d_out.div_ceil(lines);
        if rows * self.d_out * self.d_in < THREADED_FROM {
            (0..tasks).for_each(task);
        } else {
            (0..tasks).into_par_iter().for_each(task);
        }
    }

    /// All rows at the outputs `first..end`.
    fn task(&self, columns: &Columns, rows: usize, first: usize, end: usize) {
        let mut line = first;
        while line < end {
            let lines = LINES.min(end - line);
            #[cfg(target_arch = "x86_64")]
            if available() >= Isa::Avx512 {
                // SAFETY: the CPU has the instructions.
                unsafe { self.block_avx512(columns, rows, line, lines) };
                line += lines;
                continue;
            }
            for (row, x) in self.x.chunks_exact(self.d_in).enumerate() {
                for line in line..line + lines {
                    let dot = vectorized(Dot {
                        a: x,
                        b: self.line(line),
                    });
                    self.write(columns, row, line, dot);
                }
            }
            line += lines;
        }
    }

    /// `lines` lines of the weight with all rows, as many rows at a time as there are registers.
    ///
    /// # Safety
    /// The CPU must have AVX-512.
    #[cfg(target_arch = "x86_64")]
    unsafe fn block_avx512(&self, columns: &Columns, rows: usize, line: usize, lines: usize) {
        // The last block repeats its last line.
        let block = std::array::from_fn(|at| self.line(line + at.min(lines - 1)));
        let bias: [f32; LINES] = std::array::from_fn(|at| {
            let bias = self.bias.and_then(|bias| bias.get(line + at));
            bias.copied().unwrap_or(0.0)
        });
        let store = |row: usize, dots: [f32; LINES]| {
            let sums: [f32; LINES] = std::array::from_fn(|at| dots[at] + bias[at]);
            let sums = sums.map(MaybeUninit::new);
            // SAFETY: within the buffer, as the row and the lines are; no other task has these lines.
            unsafe {
                let to = columns.0.add(row * self.d_out + line);
                to.copy_from_nonoverlapping(sums.as_ptr(), lines);
            }
        };
        let x = |row: usize| &self.x[row * self.d_in..][..self.d_in];
        let groups = rows / 4;
        // The first groups of rows share the next block among them.
        let each = LINES.div_ceil(groups.max(1));
        for group in 0..groups {
            let row = 4 * group;
            let x = [x(row), x(row + 1), x(row + 2), x(row + 3)];
            let after = (line + LINES + group * each) * self.d_in;
            let next = self.weight.as_ptr().wrapping_add(after); // asked for, not read
            // SAFETY: the CPU has the instructions, and all slices have one length.
            let dots = unsafe {
                match (groups, each) {
                    (1, _) => avx512::dots(x, block),
                    _ if group * each >= LINES => avx512::dots_ahead::<4, 0>(x, block, next),
                    (_, 1) => avx512::dots_ahead::<4, 1>(x, block, next),
                    _ => avx512::dots_ahead::<4, 2>(x, block, next),
                }
            };
            for (at, dots) in dots.into_iter().enumerate() {
                store(row + at, dots);
            }
        }
        let row = 4 * groups;
        for row in row..rows {
            // SAFETY: as above.
            let [dots] = unsafe { avx512::dots([x(row)], block) };
            store(row, dots);
        }
    }

    fn line(&self, line: usize) -> &[f32] {
        &self.weight[line * self.d_in..][..self.d_in]
    }

    fn write(&self, columns: &Columns, row: usize, line: usize, dot: f32) {
        let sum = dot + self.bias.map_or(0.0, |bias| bias[line]);
        // SAFETY: within the buffer, as `row` and `line` are; no other task has this line.
        unsafe {
            columns
                .0
                .add(row * self.d_out + line)
                .write(MaybeUninit::new(sum));
        }
    }
}

struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        lane_sum([self.a, self.b], |[a, b]| a * b)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m256, __m512, _MM_HINT_T0, _MM_HINT_T1, _mm_add_ps, _mm_prefetch, _mm_storeu_ps,
        _mm256_add_ps, _mm256_castpd_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
        _mm256_hadd_ps, _mm512_castps_pd, _mm512_castps512_ps256, _mm512_extractf64x4_pd,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_setzero_ps,
    };

    use super::LINES;

    /// Numbers of a vector.
    const LANES: usize = 16;

    /// How far ahead, in numbers, the second cache is filled (128 KiB): the first one alone can wait
    /// for too few lines at a time to keep memory busy.
    const FAR: usize = 1 << 15;

    /// The dot product of each row of `x` with each line, for lines that are yet in memory: they are
    /// read one after the other, since memory is twice as fast at one stream as at four that begin
    /// anew every few pages.
    ///
    /// # Safety
    /// All slices must have the same length.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn dots<const R: usize>(
        x: [&[f32]; R],
        lines: [&[f32]; LINES],
    ) -> [[f32; LINES]; R] {
        let mut sums = [[_mm512_setzero_ps(); LINES]; R];
        for (at, line) in lines.into_iter().enumerate() {
            // SAFETY: as the caller promises.
            let products = unsafe { sums_of::<R, 1, 0>(x, [line], line.as_ptr()) };
            for (sums, [product]) in sums.iter_mut().zip(products) {
                sums[at] = product;
            }
        }
        sums.map(|sums| across(sums))
    }

    /// As [`dots`] to the last bit, with the lines side by side, for rows enough to keep the processor
    /// busy while memory brings the next `AHEAD` lines, which lie from `next` on.
    ///
    /// # Safety
    /// All slices must have the same length.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn dots_ahead<const R: usize, const AHEAD: usize>(
        x: [&[f32]; R],
        lines: [&[f32]; LINES],
        next: *const f32,
    ) -> [[f32; LINES]; R] {
        // SAFETY: as the caller promises.
        let sums = unsafe { sums_of::<R, LINES, AHEAD>(x, lines, next) };
        sums.map(|sums| across(sums))
    }

    /// The products of each row with each line, summed in every lane; each sum in one register, so
    /// that its bits depend neither on `R` nor on `L`. Meanwhile memory is asked for `AHEAD` lines from
    /// `next` on, and for those that follow [`FAR`] behind them.
    ///
    /// # Safety
    /// All slices must have the same length.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sums_of<const R: usize, const L: usize, const AHEAD: usize>(
        x: [&[f32]; R],
        lines: [&[f32]; L],
        next: *const f32,
    ) -> [[__m512; L]; R] {
        let len = lines[0].len();
        let mut sums = [[_mm512_setzero_ps(); L]; R];
        let whole = len / LANES * LANES;
        let mut at = 0;
        while at < whole {
            for vector in 0..AHEAD {
                let next = next.wrapping_add(AHEAD * at + vector * LANES);
                _mm_prefetch::<_MM_HINT_T0>(next.cast());
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(FAR).cast());
            }
            let mut block = [_mm512_setzero_ps(); L];
            for line in 0..L {
                // SAFETY: a whole vector is left from `at` on.
                block[line] = unsafe { _mm512_loadu_ps(lines[line].as_ptr().add(at)) };
            }
            for row in 0..R {
                // SAFETY: as above.
                let x = unsafe { _mm512_loadu_ps(x[row].as_ptr().add(at)) };
                for line in 0..L {
                    sums[row][line] = _mm512_fmadd_ps(x, block[line], sums[row][line]);
                }
            }
            at += LANES;
        }
        if whole < len {
            let rest = (1_u16 << (len - whole)) - 1;
            for row in 0..R {
                // SAFETY: the mask ends with the slice.
                let x = unsafe { _mm512_maskz_loadu_ps(rest, x[row].as_ptr().add(whole)) };
                for line in 0..L {
                    // SAFETY: as above.
                    let block =
                        unsafe { _mm512_maskz_loadu_ps(rest, lines[line].as_ptr().add(whole)) };
                    sums[row][line] = _mm512_fmadd_ps(x, block, sums[row][line]);
                }
            }
        }
        sums
    }

    /// The sum of each vector: halves are folded, then neighbours.
    #[target_feature(enable = "avx512f")]
    fn across([a, b, c, d]: [__m512; LINES]) -> [f32; LINES] {
        let [a, b, c, d] = [half(a), half(b), half(c), half(d)];
        let both = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let low = _mm256_castps256_ps128(both);
        let sums = _mm_add_ps(low, _mm256_extractf128_ps::<1>(both));
        let mut dots = [0.0; LINES];
        // SAFETY: the results have the width of the vector.
        unsafe { _mm_storeu_ps(dots.as_mut_ptr(), sums) };
        dots
    }

    #[target_feature(enable = "avx512f")]
    fn half(sum: __m512) -> __m256 {
        let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum));
        _mm256_add_ps(_mm512_castps512_ps256(sum), _mm256_castpd_ps(high))
    }
}
