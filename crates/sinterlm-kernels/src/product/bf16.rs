//! Matrix products of f32 matrices rounded to bf16, with the dot products of AVX512-BF16. Blocks of
//! both operands are rounded and packed by all threads, then tiles of the result are computed side by
//! side (Goto and van de Geijn 2008, <https://doi.org/10.1145/1356052.1356053>). Each element is summed
//! in f32 by one thread, in an order that depends on the sizes alone.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _MM_HINT_ET0, _mm_prefetch, _mm512_add_ps,
    _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_dpbf16_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_epi32, _mm512_maskz_loadu_ps,
    _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_storeu_ps,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::cell::Cell;
use std::mem::transmute;

use rayon::prelude::*;

use super::{Matrix, Plan, to_bf16};
use crate::isa::{Kernel, with_avx512_bf16};

/// Lanes of a vector. A packed lane of 32 bits holds two bf16 numbers, neighbours along the inner
/// axis.
const LANES: usize = 16;
/// Rows of a tile of the result: 28 of the 32 vector registers hold its sums.
const TILE_ROWS: usize = 14;
/// Columns of a tile: two vectors.
const TILE_COLS: usize = 2 * LANES;
/// Lanes along the inner axis that are summed in registers: a panel of `b` of that depth and one
/// of `a` stay in the first-level cache.
const DEPTH: usize = 128;
/// Rows and columns of the result, and lanes along the inner axis, packed at a time: up to 6 MiB
/// for each operand.
const BLOCK_ROWS: usize = 112 * TILE_ROWS;
const BLOCK_COLS: usize = 48 * TILE_COLS;
const BLOCK_DEPTH: usize = 1024;
/// Rows and columns of one task: its part of `a` stays in the second-level cache.
const TASK_ROWS: usize = 10 * TILE_ROWS;
const TASK_COLS: usize = 12 * TILE_COLS;
/// A block of fewer tasks is divided into ones of fewer rows, so that no thread waits long for the
/// other's last one.
const TASKS: usize = 32;
const MIN_TASK_ROWS: usize = 2 * TILE_ROWS;

thread_local! {
    /// Memory of packed blocks, kept for the next product.
    static SCRATCH: Cell<[Vec<u32>; 2]> = const { Cell::new([const { Vec::new() }; 2]) };
}

/// Memory that several threads write, each its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: a pointer alone; whoever writes through it answers for the parts being apart.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// `at` must lie within the memory.
    unsafe fn at(&self, at: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(at) }
    }
}

/// # Safety
/// As [`super::run`]; and the CPU must have AVX512-BF16.
pub(super) unsafe fn run(out: *mut f32, a: Matrix, b: Matrix, plan: Plan) {
    let (rows, cols) = (a.rows, b.cols);
    // The columns of `b` are the rows of its transpose: both operands are packed alike.
    let b = b.transposed();
    let lanes = a.cols.div_ceil(2);
    let [mut of_a, mut of_b] = SCRATCH.take();
    let depth = BLOCK_DEPTH.min(lanes);
    let memory = [
        memory::<TILE_ROWS>(&mut of_a, BLOCK_ROWS.min(rows), depth),
        memory::<TILE_COLS>(&mut of_b, BLOCK_COLS.min(cols), depth),
    ];
    let out = Shared(out);
    let mut held = None;
    for col in (0..cols).step_by(BLOCK_COLS) {
        for lane in (0..lanes).step_by(BLOCK_DEPTH) {
            let depth = BLOCK_DEPTH.min(lanes - lane);
            for row in (0..rows).step_by(BLOCK_ROWS) {
                let block = Block {
                    at: [row, col],
                    size: [BLOCK_ROWS.min(rows - row), BLOCK_COLS.min(cols - col)],
                    lane,
                    depth,
                    memory,
                    out,
                    plan,
                };
                // SAFETY: the memory has room for both packed blocks; the caller's promise.
                unsafe {
                    block.pack([a, b], [held != Some((row, lane)), row == 0]);
                    block.multiply();
                }
                held = Some((row, lane));
            }
        }
    }
    SCRATCH.set([of_a, of_b]);
}

/// Room for whole panels of `R` rows.
fn memory<const R: usize>(buffer: &mut Vec<u32>, rows: usize, depth: usize) -> Shared<u32> {
    buffer.clear();
    buffer.reserve(rows.next_multiple_of(R) * depth);
    Shared(buffer.as_mut_ptr())
}

/// A block of the result and the part of the inner axis that is being added to it.
struct Block {
    /// First row and column.
    at: [usize; 2],
    /// Rows and columns.
    size: [usize; 2],
    /// First lane along the inner axis.
    lane: usize,
    /// Lanes along the inner axis.
    depth: usize,
    /// The packed parts of `a` and `b`: panels of [`TILE_ROWS`] and [`TILE_COLS`] rows.
    memory: [Shared<u32>; 2],
    out: Shared<f32>,
    plan: Plan,
}

impl Block {
    /// Packs those of the operands that are `stale`.
    ///
    /// # Safety
    /// The memory must have room for them.
    unsafe fn pack(&self, [a, b]: [Matrix; 2], stale: [bool; 2]) {
        let panels = |i: usize, rows: usize| {
            if stale[i] {
                self.size[i].div_ceil(rows)
            } else {
                0
            }
        };
        let (of_a, of_b) = (panels(0, TILE_ROWS), panels(1, TILE_COLS));
        let pack = |panel: usize| {
            // SAFETY: each panel has its own part of the memory.
            unsafe {
                if panel < of_a {
                    self.pack_panel::<TILE_ROWS>(0, a, panel);
                } else {
                    self.pack_panel::<TILE_COLS>(1, b, panel - of_a);
                }
            }
        };
        if self.plan.threaded {
            (0..of_a + of_b)
                .into_par_iter()
                .with_min_len(4)
                .for_each(pack);
        } else {
            (0..of_a + of_b).for_each(pack);
        }
    }

    unsafe fn pack_panel<const R: usize>(&self, operand: usize, matrix: Matrix, panel: usize) {
        let first = panel * R;
        // SAFETY: `run` was told that the CPU has what the format needs; the panel lies within
        // the memory.
        unsafe {
            let into = self.memory[operand].at(first * self.depth);
            with_avx512_bf16(Pack::<R> {
                into,
                matrix,
                first: self.at[operand] + first,
                rows: R.min(self.size[operand] - first),
                lane: self.lane,
                depth: self.depth,
            });
        }
    }

    /// # Safety
    /// Both operands must be packed.
    unsafe fn multiply(&self) {
        let across = self.size[1].div_ceil(TASK_COLS);
        let task_rows = if self.plan.threaded {
            (self.size[0] * across / TASKS)
                .next_multiple_of(TILE_ROWS)
                .clamp(MIN_TASK_ROWS, TASK_ROWS)
        } else {
            TASK_ROWS
        };
        let tasks = self.size[0].div_ceil(task_rows) * across;
        let task = |task: usize| {
            let (row, col) = (task / across * task_rows, task % across * TASK_COLS);
            // SAFETY: each task has its own part of the result; `run` was told of the CPU.
            unsafe {
                with_avx512_bf16(Task {
                    block: self,
                    rows: [row, self.size[0].min(row + task_rows)],
                    cols: [col, self.size[1].min(col + TASK_COLS)],
                });
            }
        };
        if self.plan.threaded {
            (0..tasks).into_par_iter().with_max_len(1).for_each(task);
        } else {
            (0..tasks).for_each(task);
        }
    }
}

/// Some whole tiles of a block.
struct Task<'a> {
    block: &'a Block,
    rows: [usize; 2],
    cols: [usize; 2],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Block {
            at, depth, plan, ..
        } = *self.block;
        let [of_a, of_b] = &self.block.memory;
        for from in (0..depth).step_by(DEPTH) {
            let accumulate = plan.accumulate || self.block.lane + from > 0;
            for col in (self.cols[0]..self.cols[1]).step_by(TILE_COLS) {
                for row in (self.rows[0]..self.rows[1]).step_by(TILE_ROWS) {
                    let size = [
                        TILE_ROWS.min(self.rows[1] - row),
                        TILE_COLS.min(self.cols[1] - col),
                    ];
                    // SAFETY: panels start at multiples of their rows and are `depth` deep; the
                    // tile lies within the result.
                    unsafe {
                        let tile = Tile {
                            a: of_a.at(row * depth + from * TILE_ROWS),
                            b: of_b.at(col * depth + from * TILE_COLS),
                            depth: DEPTH.min(depth - from),
                            factor: plan.factor,
                        };
                        let place = (at[0] + row) * plan.stride + at[1] + col;
                        let out = self.block.out.at(place);
                        if size == [TILE_ROWS, TILE_COLS] {
                            tile.multiply(out, plan.stride, accumulate);
                        } else {
                            tile.multiply_part(out, plan.stride, accumulate, size);
                        }
                    }
                }
            }
        }
    }
}

/// Panels of `a` and `b` whose product is one tile.
struct Tile {
    a: *const u32,
    b: *const u32,
    depth: usize,
    factor: f32,
}

impl Tile {
    /// # Safety
    /// Within [`with_avx512_bf16`]; `out` must be valid for a tile of rows `stride` apart.
    #[inline(always)]
    unsafe fn multiply(&self, out: *mut f32, stride: usize, accumulate: bool) {
        // SAFETY: the panels are `depth` lanes deep; the rest is the caller's promise.
        unsafe {
            // The tile is fetched while its sums are formed.
            for row in 0..TILE_ROWS {
                let out = out.add(row * stride);
                _mm_prefetch::<_MM_HINT_ET0>(out.cast());
                _mm_prefetch::<_MM_HINT_ET0>(out.add(LANES).cast());
            }
            let mut sums = [[_mm512_setzero_ps(); 2]; TILE_ROWS];
            for lane in 0..self.depth {
                let b = self.b.add(lane * TILE_COLS);
                let b = [b, b.add(LANES)].map(|b| bf16s(_mm512_loadu_si512(b.cast())));
                let a = self.a.add(lane * TILE_ROWS);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = bf16s(_mm512_set1_epi32((*a.add(row)).cast_signed()));
                    sums[0] = _mm512_dpbf16_ps(sums[0], a, b[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], a, b[1]);
                }
            }
            let factor = _mm512_set1_ps(self.factor);
            for (row, sums) in sums.iter().enumerate() {
                for (half, &sum) in sums.iter().enumerate() {
                    let out = out.add(row * stride + half * LANES);
                    let sum = _mm512_mul_ps(sum, factor);
                    let sum = if accumulate {
                        _mm512_add_ps(_mm512_loadu_ps(out), sum)
                    } else {
                        sum
                    };
                    _mm512_storeu_ps(out, sum);
                }
            }
        }
    }

    /// The first rows and columns of the tile, at the border of the result.
    ///
    /// # Safety
    /// As [`Tile::multiply`], for that part.
    #[inline(never)]
    unsafe fn multiply_part(
        &self,
        out: *mut f32,
        stride: usize,
        accumulate: bool,
        [rows, cols]: [usize; 2],
    ) {
        struct Whole<'a>(&'a Tile, &'a mut [f32]);
        impl Kernel for Whole<'_> {
            type Output = ();
            #[inline(always)]
            fn run(self) {
                // SAFETY: the slice is one tile.
                unsafe {
                    self.0.multiply(self.1.as_mut_ptr(), TILE_COLS, false);
                }
            }
        }
        let mut whole = [0.0; TILE_ROWS * TILE_COLS];
        // SAFETY: called within `with_avx512_bf16`, so the CPU has what it takes; the part lies within
        // the result.
        unsafe {
            with_avx512_bf16(Whole(self, &mut whole));
            for (row, sums) in whole.chunks_exact(TILE_COLS).take(rows).enumerate() {
                for (col, sum) in sums[..cols].iter().enumerate() {
                    let out = out.add(row * stride + col);
                    *out = if accumulate { *out + sum } else { *sum };
                }
            }
        }
    }
}

/// Packs `rows` rows of a matrix as a panel of `R`: lane `l` of row `i` goes to `into[l * R + i]`,
/// zero beyond the matrix.
struct Pack<'a, const R: usize> {
    into: *mut u32,
    matrix: Matrix<'a>,
    first: usize,
    rows: usize,
    lane: usize,
    depth: usize,
}

impl<const R: usize> Kernel for Pack<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // SAFETY: run within `with_avx512_bf16`, and the panel has room for `depth * R` lanes.
        unsafe {
            if self.matrix.row_stride == 1 {
                self.columns();
            } else if self.matrix.col_stride == 1 {
                self.lines();
            } else {
                self.single();
            }
        }
    }
}

impl<const R: usize> Pack<'_, R> {
    /// Element `k` of row `i` of the panel.
    #[inline(always)]
    fn element(&self, i: usize, k: usize) -> *const f32 {
        let Matrix {
            values,
            row_stride,
            col_stride,
            ..
        } = self.matrix;
        values
            .as_ptr()
            .wrapping_add((self.first + i) * row_stride + k * col_stride)
    }

    /// Neighbouring rows lie side by side.
    #[inline(always)]
    unsafe fn columns(&self) {
        for lane in 0..self.depth {
            let k = (self.lane + lane) * 2;
            for i in (0..R).step_by(LANES) {
                let rows = first_lanes(self.rows.saturating_sub(i));
                let second = if k + 1 < self.matrix.cols { rows } else { 0 };
                // SAFETY: the masks leave out what lies beyond the matrix and the panel.
                unsafe {
                    let low = _mm512_maskz_loadu_ps(rows, self.element(i, k));
                    let high = _mm512_maskz_loadu_ps(second, self.element(i, k + 1));
                    let into = self.into.add(lane * R + i);
                    _mm512_mask_storeu_epi32(into.cast(), first_lanes(R - i), across(low, high));
                }
            }
        }
    }

    /// Rows lie one after the other: 16 lanes of 16 rows at a time are loaded and transposed.
    #[inline(always)]
    unsafe fn lines(&self) {
        for lane in (0..self.depth).step_by(LANES) {
            let k = (self.lane + lane) * 2;
            let low_mask = first_lanes(self.matrix.cols - k);
            let high_mask = first_lanes((self.matrix.cols - k).saturating_sub(LANES));
            for i in (0..R).step_by(LANES) {
                // SAFETY: the masks leave out what lies beyond the matrix and the panel.
                unsafe {
                    let mut square = [_mm512_setzero_si512(); LANES];
                    let rows = self.rows.saturating_sub(i).min(LANES);
                    for (row, line) in square.iter_mut().enumerate().take(rows) {
                        let from = self.element(i + row, k);
                        let low = _mm512_maskz_loadu_ps(low_mask, from);
                        let high = _mm512_maskz_loadu_ps(high_mask, from.wrapping_add(LANES));
                        *line = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                    }
                    transpose(&mut square);
                    let count = LANES.min(self.depth - lane);
                    for (ahead, line) in square.iter().enumerate().take(count) {
                        let into = self.into.add((lane + ahead) * R + i);
                        _mm512_mask_storeu_epi32(into.cast(), first_lanes(R - i), *line);
                    }
                }
            }
        }
    }

    /// Any strides.
    #[inline(always)]
    unsafe fn single(&self) {
        let element = |i: usize, k: usize| {
            if i < self.rows && k < self.matrix.cols {
                // SAFETY: within the matrix.
                unsafe { *self.element(i, k) }
            } else {
                0.0
            }
        };
        for lane in 0..self.depth {
            let k = (self.lane + lane) * 2;
            for i in 0..R {
                // SAFETY: within the panel.
                unsafe { *self.into.add(lane * R + i) = lane_of(element(i, k), element(i, k + 1)) };
            }
        }
    }
}

/// A mask of the first `count` lanes.
#[inline(always)]
fn first_lanes(count: usize) -> u16 {
    if count >= LANES {
        u16::MAX
    } else {
        (1 << count) - 1
    }
}

/// Exchanges rows and columns.
///
/// # Safety
/// Only within [`with_avx512_bf16`].
#[inline(always)]
unsafe fn transpose(rows: &mut [__m512i; LANES]) {
    const EVEN: i32 = 0x88; // parts 0 and 2 of both vectors
    const ODD: i32 = 0xdd;
    // SAFETY: the caller's promise.
    unsafe {
        let mut pairs = [_mm512_setzero_si512(); LANES];
        for i in (0..LANES).step_by(2) {
            pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        // quads[4 g + c] holds, in its 128-bit part p, column 4 p + c of the rows 4 g to 4 g + 3.
        let mut quads = [_mm512_setzero_si512(); LANES];
        for i in (0..LANES).step_by(4) {
            quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
            quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
            quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
            quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
        }
        for c in 0..4 {
            let [top, bottom] = [[quads[c], quads[4 + c]], [quads[8 + c], quads[12 + c]]];
            let even = [top, bottom].map(|[a, b]| _mm512_shuffle_i32x4::<EVEN>(a, b));
            let odd = [top, bottom].map(|[a, b]| _mm512_shuffle_i32x4::<ODD>(a, b));
            rows[c] = _mm512_shuffle_i32x4::<EVEN>(even[0], even[1]);
            rows[4 + c] = _mm512_shuffle_i32x4::<EVEN>(odd[0], odd[1]);
            rows[8 + c] = _mm512_shuffle_i32x4::<ODD>(even[0], even[1]);
            rows[12 + c] = _mm512_shuffle_i32x4::<ODD>(odd[0], odd[1]);
        }
    }
}

/// The same bits as bf16 numbers.
#[inline(always)]
fn bf16s(lanes: __m512i) -> __m512bh {
    // SAFETY: both types are 512 bits without meaning of their own.
    unsafe { transmute::<__m512i, __m512bh>(lanes) }
}

/// One lane each of 16 rows, of their elements at two neighbouring places.
///
/// # Safety
/// Only within [`with_avx512_bf16`].
#[inline(always)]
unsafe fn across(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the caller's promise; 256 bits stay the same bits.
    unsafe {
        let [low, high] = [low, high].map(|x| {
            let rounded = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            _mm512_cvtepu16_epi32(rounded)
        });
        _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
    }
}

fn lane_of(low: f32, high: f32) -> u32 {
    u32::from(to_bf16(low)) | u32::from(to_bf16(high)) << 16
}
