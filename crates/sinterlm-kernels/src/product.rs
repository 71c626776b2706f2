//! Matrix products over the `gemm` crate that burn's flex backend is built on: of small row-major
//! blocks on the calling thread, and of whole matrices on all threads.
#![allow(unsafe_code)] // the `gemm` crate takes raw pointers

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

/// `out = factor · a b`, or `out += factor · a b` if `accumulate`; `out` is row-major with rows
/// `stride` apart.
///
/// # Panics
/// If the matrices do not fit each other or `out`.
pub(crate) fn product(
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
    a: Matrix,
    b: Matrix,
    factor: f32,
) {
    let (rows, cols, depth) = (a.rows, b.cols, a.cols);
    assert_eq!(depth, b.rows, "product: the inner sizes must agree");
    assert!(cols <= stride && (rows - 1) * stride + cols <= out.len());
    // SAFETY: the constructors and the assertions above bound every index by the slices' lengths,
    // and `out` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            depth,
            out.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.values.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Multiply-adds from which a product is divided among threads: 20 µs of one core's work.
const THREADED_FROM: usize = 1 << 20;

/// `out = a b`, or `out += a b` if `accumulate`, on all threads of the current pool; `out` is
/// row-major. The bits do not depend on the number of threads: each element is summed by one.
///
/// # Panics
/// If the matrices do not fit each other or `out`.
pub(crate) fn threaded_product(out: &mut [f32], accumulate: bool, a: Matrix, b: Matrix) {
    assert_eq!(
        out.len(),
        a.rows * b.cols,
        "product: out must be [rows, cols]"
    );
    // SAFETY: `out` is borrowed exclusively and has the length that is asked for.
    unsafe { threaded(out.as_mut_ptr(), accumulate, a, b) };
}

/// `a b` in a new buffer, on all threads of the current pool.
///
/// # Panics
/// If the matrices do not fit each other.
pub(crate) fn new_product(a: Matrix, b: Matrix) -> Vec<f32> {
    let len = a.rows * b.cols;
    let mut out = Vec::with_capacity(len);
    // SAFETY: the buffer has room for `len` elements; without accumulation they are written and
    // not read, all of them, since neither matrix is empty.
    unsafe {
        threaded(out.as_mut_ptr(), false, a, b);
        out.set_len(len);
    }
    out
}

/// # Safety
/// `out` must be valid for writes of `a.rows * b.cols` elements, and initialised if `accumulate`.
unsafe fn threaded(out: *mut f32, accumulate: bool, a: Matrix, b: Matrix) {
    let (rows, cols, depth) = (a.rows, b.cols, a.cols);
    assert_eq!(depth, b.rows, "product: the inner sizes must agree");
    let threads = if rows * cols * depth < THREADED_FROM {
        gemm::Parallelism::None
    } else {
        gemm::Parallelism::Rayon(0)
    };
    // SAFETY: the constructors bound every index into `a` and `b`, the caller those into `out`.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            depth,
            out,
            1,
            cols as isize,
            accumulate,
            a.values.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
