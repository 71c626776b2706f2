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
    isa::{Kernel, vectorized},
    lanes::lane_sum,
};

#[cfg(target_arch = "x86_64")]
use crate::isa::{Isa, available};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Lines of the weight that are multiplied at a time.
const LINES: usize = 4;

/// How far ahead, in numbers, the second cache is filled (128 KiB): the first one alone can wait for
/// too few lines at a time to keep memory busy.
#[cfg(target_arch = "x86_64")]
const FAR: usize = 1 << 15;

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
            {
                let is = available();
                if is >= Isa::Avx2 {
                    // SAFETY: the CPU has the instructions.
                    unsafe {
                        if is >= Isa::Avx512 {
                            self.block::<avx512::Lanes16>(columns, rows, line, lines);
                        } else {
                            self.block::<avx2::Lanes8>(columns, rows, line, lines);
                        }
                    }
                    line += lines;
                    continue;
                }
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
    /// The CPU must have the instructions of `T`.
    #[cfg(target_arch = "x86_64")]
    unsafe fn block<T: Tiles>(&self, columns: &Columns, rows: usize, line: usize, lines: usize) {
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
                    (1, _) => T::dots(x, block),
                    _ if group * each >= LINES => T::dots_ahead::<4, 0>(x, block, next),
                    (_, 1) => T::dots_ahead::<4, 1>(x, block, next),
                    _ => T::dots_ahead::<4, 2>(x, block, next),
                }
            };
            for (at, dots) in dots.into_iter().enumerate() {
                store(row + at, dots);
            }
        }
        let row = 4 * groups;
        for row in row..rows {
            // SAFETY: as above.
            let [dots] = unsafe { T::dots([x(row)], block) };
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

/// Dot products of rows with [`LINES`] lines at a time, in vectors. Each dot product is summed in one
/// order, whatever comes with it.
#[cfg(target_arch = "x86_64")]
trait Tiles {
    /// The dot product of each row of `x` with each line, for lines that are yet in memory: they are
    /// read one after the other, since memory is twice as fast at one stream as at four that begin
    /// anew every few pages.
    ///
    /// # Safety
    /// The CPU must have the instructions, and all slices the same length.
    unsafe fn dots<const R: usize>(x: [&[f32]; R], lines: [&[f32]; LINES]) -> [[f32; LINES]; R];

    /// As [`dots`](Self::dots) to the last bit, with the lines side by side, for rows enough to keep the
    /// processor busy while memory brings the next `AHEAD` lines, which lie from `next` on, and those
    /// that follow [`FAR`] behind them.
    ///
    /// # Safety
    /// As for [`dots`](Self::dots).
    unsafe fn dots_ahead<const R: usize, const AHEAD: usize>(
        x: [&[f32]; R],
        lines: [&[f32]; LINES],
        next: *const f32,
    ) -> [[f32; LINES]; R];
}
