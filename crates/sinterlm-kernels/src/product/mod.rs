//! Matrix products of f32 matrices, of small blocks on the calling thread and of whole matrices on
//! all threads: by the `gemm` crate that burn's flex backend is built on, and by the loops in `bf16`
//! where operands are to be rounded and the CPU has instructions for it. The call of `gemm` and the
//! memory that it takes are the business of `wide`.
#![allow(unsafe_code)] // both take raw pointers

#[cfg(target_arch = "x86_64")]
mod bf16;
mod wide;

use crate::MatmulPrecision;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Isa, available};

/// A matrix in a slice: element `(i, j)` is at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The first `rows` and `cols` of a row-major matrix whose rows are `row_stride` apart.
    pub(crate) fn new(values: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows > 0 && cols > 0 && (rows - 1) * row_stride + cols <= values.len());
        Self {
            values,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// A matrix with any strides.
    pub(crate) fn strided(
        values: &'a [f32],
        [rows, cols]: [usize; 2],
        [row_stride, col_stride]: [usize; 2],
    ) -> Self {
        let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
        assert!(rows > 0 && cols > 0 && last < values.len());
        Self {
            values,
            rows,
            cols,
            row_stride,
            col_stride,
        }
    }

    /// `count` rows from `first`.
    pub(crate) fn row_range(self, first: usize, count: usize) -> Self {
        assert!(count > 0 && first + count <= self.rows);
        Self {
            values: &self.values[first * self.row_stride..],
            rows: count,
            ..self
        }
    }

    /// `count` columns from `first`.
    pub(crate) fn col_range(self, first: usize, count: usize) -> Self {
        self.transposed().row_range(first, count).transposed()
    }

    /// The same memory with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// What is done with a product, and how it is computed.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Elements between the rows of the result.
    stride: usize,
    /// Whether the product is added to the result.
    accumulate: bool,
    /// Multiplies the product.
    factor: f32,
    precision: MatmulPrecision,
    /// Whether all threads of the current pool take part.
    threaded: bool,
}

/// `out = factor · a b`, or `out += factor · a b` if `accumulate`, on the calling thread; `out` is
/// row-major with rows `stride` apart.
///
/// # Panics
/// If the matrices do not fit each other or `out`.
pub(crate) fn product(
    (out, stride): (&mut [f32], usize),
    accumulate: bool,
    a: Matrix,
    b: Matrix,
    factor: f32,
    precision: MatmulPrecision,
) {
    assert!(b.cols <= stride && (a.rows - 1) * stride + b.cols <= out.len());
    let plan = Plan {
        stride,
        accumulate,
        factor,
        precision,
        threaded: false,
    };
    // SAFETY: the assertion bounds every index into `out`, which is borrowed exclusively.
    unsafe { run(out.as_mut_ptr(), a, b, plan) };
}

/// Multiply-adds from which a product is divided among threads: 20 µs of one core's work.
const THREADED_FROM: usize = 1 << 20;

/// `out = a b`, or `out += a b` if `accumulate`, on all threads of the current pool; `out` is
/// row-major. The bits do not depend on the number of threads: each element is summed by one.
///
/// # Panics
/// If the matrices do not fit each other or `out`.
pub(crate) fn threaded_product(
    out: &mut [f32],
    accumulate: bool,
    a: Matrix,
    b: Matrix,
    precision: MatmulPrecision,
) {
    assert_eq!(
        out.len(),
        a.rows * b.cols,
        "product: out must be [rows, cols]"
    );
    let plan = whole(a, b, accumulate, precision);
    // SAFETY: `out` is borrowed exclusively and has the length that is asked for.
    unsafe { run(out.as_mut_ptr(), a, b, plan) };
}

/// `a b` in a new buffer, on all threads of the current pool.
///
/// # Panics
/// If the matrices do not fit each other.
pub(crate) fn new_product(a: Matrix, b: Matrix, precision: MatmulPrecision) -> Vec<f32> {
    let mut out = Vec::new();
    append_product(&mut out, a, b, precision);
    out
}

/// Appends `a b`, row-major, on all threads of the current pool.
///
/// # Panics
/// If the matrices do not fit each other.
pub(crate) fn append_product(out: &mut Vec<f32>, a: Matrix, b: Matrix, precision: MatmulPrecision) {
    let len = a.rows * b.cols;
    out.reserve(len);
    // SAFETY: the buffer has room for `len` more elements; without accumulation they are written
    // and not read, all of them, since neither matrix is empty.
    unsafe {
        let end = out.as_mut_ptr().add(out.len());
        run(end, a, b, whole(a, b, false, precision));
        out.set_len(out.len() + len);
    }
}

fn whole(a: Matrix, b: Matrix, accumulate: bool, precision: MatmulPrecision) -> Plan {
    Plan {
        stride: b.cols,
        accumulate,
        factor: 1.0,
        precision,
        threaded: a.rows * b.cols * a.cols >= THREADED_FROM,
    }
}

/// # Safety
/// `out` must be valid for writes of `a.rows` rows of `b.cols` elements, `plan.stride` apart, and
/// initialised if `plan.accumulate`.
unsafe fn run(out: *mut f32, a: Matrix, b: Matrix, plan: Plan) {
    assert_eq!(a.cols, b.rows, "product: the inner sizes must agree");
    #[cfg(target_arch = "x86_64")]
    if plan.precision == MatmulPrecision::Bf16 && available() >= Isa::Avx512Bf16 {
        // SAFETY: the CPU has the instructions; the rest is the caller's promise.
        return unsafe { bf16::run(out, a, b, plan) };
    }
    // SAFETY: the caller's promise.
    unsafe { wide::run(out, a, b, plan) };
}

/// The nearest bf16 number, ties to even; NaN stays.
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        (bits >> 16) as u16 | 0x40
    } else {
        (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
    }
}

#[cfg(test)]
mod tests;
