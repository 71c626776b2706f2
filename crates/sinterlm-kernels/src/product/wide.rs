//! Products of f32 numbers by the `gemm` crate: of operands as they are, or rounded to a narrower format
//! first where the CPU has no instructions for that.
//!
//! `gemm` copies an operand whose neighbours lie far apart in memory into blocks, as large as the CPU's
//! third-level cache allows. A product with an operand of that kind that is long, as the gradient of a
//! vocabulary's weight is, is therefore divided here into parts that need little memory on any CPU.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use burn::tensor::f16;
use rayon::prelude::*;

use super::{Matrix, Plan, to_bf16};
use crate::{
    MatmulPrecision,
    isa::{Isa, Kernel, available, vectorized},
};

/// Inner depth of the blocks that `gemm` copies, with the first-level caches of today's CPUs.
const DEPTH: usize = 512;
/// Numbers of an operand that `gemm` may copy at a time, 8 MiB.
const MAX_COPIED: usize = 1 << 21;
/// Rows of a part: whole tiles and whole cache lines.
const PART_ROWS: usize = 192;
/// Most columns of a part with AVX-512.
const PART_COLS: usize = 128;
/// Rows and columns that are copied at a time; parts have whole tiles of columns.
const TILE: usize = 16;

/// # Safety
/// As [`super::run`].
pub(super) unsafe fn run(out: *mut f32, a: Matrix, b: Matrix, plan: Plan) {
    // `gemm` reads an operand where it is for two tiles of columns: 128 with AVX-512, of which parts are
    // made; 32 with narrower vectors, too few for a part. Rows are then copied here: in plain memory,
    // since `gemm` asks for aligned memory, whose rests leave gaps in the heap.
    let copies = plan.precision != MatmulPrecision::F32 || available() < Isa::Avx512;
    let is_copied = a.col_stride != 1 && b.cols > if copies { 32 } else { PART_COLS };
    let is_long = a.rows * a.cols.min(DEPTH) > MAX_COPIED;
    // SAFETY: the caller's promise.
    unsafe {
        if plan.threaded && is_copied && is_long {
            in_parts(out, a, b, plan, copies);
        } else {
            let [of_a, of_b] = [a, b].map(|matrix| rounded(matrix, plan.precision));
            multiply(
                out,
                compact(a, of_a.as_deref()),
                compact(b, of_b.as_deref()),
                plan,
            );
        }
    }
}

/// Memory that threads write, each its own part.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: a pointer alone; whoever writes through it answers for the parts being apart.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(self, at: usize) -> *mut f32 {
        self.0.wrapping_add(at)
    }
}

/// The product in parts, each computed by one thread: rows of `a` that are copied, with all columns of
/// `b`, or rows as they are, with so few columns that `gemm` does not copy either. The bits are those of
/// the whole: `gemm` sums an element in an order that depends on the inner size alone, unless rows and
/// columns are both 64 or fewer, or one of them is 1.
///
/// # Safety
/// As [`super::run`].
unsafe fn in_parts(out: *mut f32, a: Matrix, b: Matrix, plan: Plan, copies: bool) {
    let out = Shared(out);
    let down = (a.rows / PART_ROWS).max(1); // the last part takes the rest
    let tiles = b.cols.div_ceil(TILE);
    let across = if copies {
        1
    } else {
        tiles.div_ceil(PART_COLS / TILE)
    };
    let start_col = |part: usize| b.cols.min(part * tiles / across * TILE);
    let plan = Plan {
        threaded: false,
        ..plan
    };
    let of_b = rounded(b, plan.precision);
    let b = compact(b, of_b.as_deref());
    (0..down * across).into_par_iter().for_each(|part| {
        let (part_row, part_col) = (part / across, part % across);
        let row = part_row * PART_ROWS;
        let is_last = part_row + 1 == down;
        let rows = if is_last { a.rows - row } else { PART_ROWS };
        let col = start_col(part_col);
        let cols = start_col(part_col + 1) - col;
        let (a, b) = (a.row_range(row, rows), b.col_range(col, cols));
        let copy = copies.then(|| copy_of_rows(a, plan.precision));
        let a = match &copy {
            Some(values) => Matrix::new(values, a.rows, a.cols, a.cols),
            None => a,
        };
        // SAFETY: each part of the result is written by one thread; the rest is the caller's promise.
        unsafe { multiply(out.at(row * plan.stride + col), a, b, plan) };
    });
}

/// # Safety
/// As [`super::run`].
unsafe fn multiply(out: *mut f32, a: Matrix, b: Matrix, plan: Plan) {
    let parallelism = if plan.threaded {
        gemm::Parallelism::Rayon(0)
    } else {
        gemm::Parallelism::None
    };
    // SAFETY: the constructors bound every index into `a` and `b`, the caller those into `out`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            plan.stride as isize,
            plan.accumulate,
            a.values.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            plan.factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[inline(always)]
fn round(x: f32, precision: MatmulPrecision) -> f32 {
    match precision {
        MatmulPrecision::F32 => x,
        MatmulPrecision::Bf16 => f32::from_bits(u32::from(to_bf16(x)) << 16),
        MatmulPrecision::F16 => f16::from_f32(x).to_f32(),
    }
}

/// The rounded values of a matrix, lines one after the other; `None` where they are multiplied as they
/// are. Without a product of narrow numbers they are rounded and multiplied as f32: the same numbers up
/// to the order of sums, at no gain of speed.
fn rounded(matrix: Matrix, precision: MatmulPrecision) -> Option<Vec<f32>> {
    if precision == MatmulPrecision::F32 {
        return None;
    }
    let lines = if is_by_columns(matrix) {
        matrix.transposed()
    } else {
        matrix
    };
    let mut values = Vec::with_capacity(lines.rows * lines.cols);
    for row in 0..lines.rows {
        let line = &lines.values[row * lines.row_stride..];
        let line = line.iter().step_by(lines.col_stride).take(lines.cols);
        values.extend(line.map(|&x| round(x, precision)));
    }
    Some(values)
}

/// The matrix over the values that [`rounded`] made of it.
fn compact<'a>(matrix: Matrix<'a>, values: Option<&'a [f32]>) -> Matrix<'a> {
    match values {
        None => matrix,
        Some(values) if is_by_columns(matrix) => {
            Matrix::new(values, matrix.cols, matrix.rows, matrix.rows).transposed()
        }
        Some(values) => Matrix::new(values, matrix.rows, matrix.cols, matrix.cols),
    }
}

fn is_by_columns(matrix: Matrix) -> bool {
    matrix.row_stride == 1 && matrix.col_stride != 1
}

/// The values of a matrix row by row, rounded to `precision`.
fn copy_of_rows(matrix: Matrix, precision: MatmulPrecision) -> Vec<f32> {
    let mut rows = vec![0.0; matrix.rows * matrix.cols];
    vectorized(CopyRows {
        matrix,
        rows: &mut rows,
        precision,
    });
    rows
}

struct CopyRows<'a> {
    matrix: Matrix<'a>,
    rows: &'a mut [f32],
    precision: MatmulPrecision,
}

impl Kernel for CopyRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Matrix {
            values,
            rows,
            cols,
            row_stride,
            col_stride,
        } = self.matrix;
        for left in (0..cols).step_by(TILE) {
            for top in (0..rows).step_by(TILE) {
                let [height, width] = [TILE.min(rows - top), TILE.min(cols - left)];
                if row_stride == 1 && [height, width] == [TILE; 2] {
                    let mut tile = [[0.0; TILE]; TILE]; // a column of the matrix in each line
                    for (at, line) in tile.iter_mut().enumerate() {
                        line.copy_from_slice(&values[(left + at) * col_stride + top..][..TILE]);
                    }
                    let lines = self.rows[top * cols + left..].chunks_mut(cols).take(TILE);
                    for (row, line) in lines.enumerate() {
                        for (column, to) in tile.iter().zip(&mut line[..TILE]) {
                            *to = round(column[row], self.precision);
                        }
                    }
                    continue;
                }
                for row in top..top + height {
                    for col in left..left + width {
                        let value = values[row * row_stride + col * col_stride];
                        self.rows[row * cols + col] = round(value, self.precision);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::numbers;

    #[test]
    fn parts_have_the_bits_of_the_whole() {
        let fill = |len, seed| -> Vec<f32> {
            let values = numbers(len, seed).into_iter();
            values.map(|x| x as f32).collect()
        };
        let sizes = [
            [500, 600, 33],
            [191, 1100, 130],
            [450, 40, 200],
            [1000, 7, 1025],
        ];
        for [rows, depth, cols] in sizes {
            let (a, b) = (fill(depth * rows, 1), fill(depth * cols, 2));
            let a = Matrix::new(&a, depth, rows, rows).transposed();
            let b = Matrix::new(&b, depth, cols, cols);
            for precision in [MatmulPrecision::F32, MatmulPrecision::F16] {
                let plan = Plan {
                    stride: cols + 3,
                    accumulate: true,
                    factor: 1.0,
                    precision,
                    threaded: true,
                };
                let [of_a, of_b] = [a, b].map(|matrix| rounded(matrix, precision));
                let operands = [compact(a, of_a.as_deref()), compact(b, of_b.as_deref())];
                let mut whole = fill(rows * plan.stride, 3);
                // SAFETY: the buffer has `rows` rows that are `stride` apart.
                unsafe { multiply(whole.as_mut_ptr(), operands[0], operands[1], plan) };
                for copies in [true, false] {
                    if !copies && precision != MatmulPrecision::F32 {
                        continue; // rows as they are, not rounded
                    }
                    let mut parts = fill(rows * plan.stride, 3);
                    // SAFETY: as above.
                    unsafe { in_parts(parts.as_mut_ptr(), a, b, plan, copies) };
                    assert!(parts == whole, "{rows} x {depth} x {cols} {precision:?}");
                }
            }
        }
    }
}
