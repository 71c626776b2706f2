//! Products of a few rows with packed lines under AVX-512: blocks become numbers in registers, where
//! some rows of `x` share them. The order of tasks is left to `native`.
#![allow(unsafe_code)] // vector intrinsics
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_loadu_si256, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm512_add_ps, _mm512_castsi512_ps, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_movehdup_ps, _mm512_moveldup_ps, _mm512_mul_ps,
    _mm512_permutexvar_ps, _mm512_reduce_add_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    _mm512_srli_epi32, _mm512_storeu_ps,
};

use super::{
    BLOCK,
    portable::{Bf16, F16, Q4_0, Q4_1, Q8_0},
};

// Functions in place of closures: a closure that is not inlined would be compiled without the
// instructions, and each intrinsic become a call.

/// A format whose blocks can be made two vectors of 16 weights.
pub(super) trait Vectors {
    const BYTES: usize;

    /// The weights of a block.
    ///
    /// # Safety
    /// `block` must be readable for `BYTES` bytes, and the code be inlined where AVX-512 F is on.
    unsafe fn weights(block: *const u8) -> [__m512; 2];
}

/// How far ahead memory is asked for: a hundred blocks.
const PREFETCHED_BYTES: usize = 2048;
/// Sums of a dot product, so that additions overlap.
const SUMS: usize = 4;

/// The dot product of each row of `x` with a line of blocks, in an order of summing that does not
/// depend on `R`.
///
/// # Safety
/// Rows must be equally long and whole blocks, the line must hold as many blocks as they.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn dots<F: Vectors, const R: usize>(x: [&[f32]; R], line: &[u8]) -> [f32; R] {
    let mut sums = [[_mm512_setzero_ps(); SUMS]; R];
    let blocks = x[0].len() / BLOCK;
    let whole = blocks / SUMS * SUMS;
    for first in (0..whole).step_by(SUMS) {
        for at in 0..SUMS {
            // SAFETY: rows and line hold this block.
            unsafe { add::<F, R>(&x, line, first + at, &mut sums, at) };
        }
    }
    for block in whole..blocks {
        // SAFETY: as above.
        unsafe { add::<F, R>(&x, line, block, &mut sums, 0) };
    }
    let mut dots = [0.0; R];
    for row in 0..R {
        let [a, b, c, d] = sums[row];
        let sum = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
        dots[row] = _mm512_reduce_add_ps(sum);
    }
    dots
}

/// Adds the products of a block to the sum number `at` of each row.
///
/// # Safety
/// Rows and line must hold the block.
#[inline(always)]
unsafe fn add<F: Vectors, const R: usize>(
    x: &[&[f32]; R],
    line: &[u8],
    block: usize,
    sums: &mut [[__m512; SUMS]; R],
    at: usize,
) {
    // SAFETY: the line holds this block. A prefetch may ask for what does not exist; it is ahead of
    // what the processor fetches by itself, which ends with a page.
    let [low, high] = unsafe {
        let block = line.as_ptr().add(block * F::BYTES);
        _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(PREFETCHED_BYTES).cast());
        F::weights(block)
    };
    for row in 0..R {
        // SAFETY: the row holds the block's 32 numbers.
        unsafe {
            let x = x[row].as_ptr().add(block * BLOCK);
            let (x_low, x_high) = (_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(BLOCK / 2)));
            let sum = _mm512_fmadd_ps(x_low, low, sums[row][at]);
            sums[row][at] = _mm512_fmadd_ps(x_high, high, sum);
        }
    }
}

/// Writes the weights of blocks.
///
/// # Safety
/// `blocks` must hold a block for each 32 of `out`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn unpack<F: Vectors>(blocks: &[u8], out: &mut [f32]) {
    for (at, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        // SAFETY: there is a block for it, and both halves are within its 32 numbers.
        unsafe {
            let [low, high] = F::weights(blocks.as_ptr().add(at * F::BYTES));
            _mm512_storeu_ps(out.as_mut_ptr(), low);
            _mm512_storeu_ps(out.as_mut_ptr().add(BLOCK / 2), high);
        }
    }
}

impl Vectors for F16 {
    const BYTES: usize = 64;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m512; 2] {
        // SAFETY: within the block.
        unsafe {
            let (low, high) = (block.cast(), block.add(32).cast());
            [
                _mm512_cvtph_ps(_mm256_loadu_si256(low)),
                _mm512_cvtph_ps(_mm256_loadu_si256(high)),
            ]
        }
    }
}

impl Vectors for Bf16 {
    const BYTES: usize = 64;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m512; 2] {
        // SAFETY: within the block.
        unsafe { [bf16(block), bf16(block.add(32))] }
    }
}

impl Vectors for Q8_0 {
    const BYTES: usize = 34;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m512; 2] {
        // SAFETY: within the block.
        unsafe {
            let scale = scale(block);
            let (low, high) = (block.add(2).cast(), block.add(18).cast());
            let low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(low)));
            let high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(high)));
            [_mm512_mul_ps(low, scale), _mm512_mul_ps(high, scale)]
        }
    }
}

/// The numbers that four bits stand for.
const CODES: [f32; 16] = codes(0.0);
const CENTRED: [f32; 16] = codes(-8.0);

const fn codes(first: f32) -> [f32; 16] {
    let mut codes = [first; 16];
    let mut at = 1;
    while at < 16 {
        codes[at] = codes[at - 1] + 1.0;
        at += 1;
    }
    codes
}

impl Vectors for Q4_0 {
    const BYTES: usize = 18;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m512; 2] {
        // SAFETY: within the block.
        unsafe {
            let table = _mm512_mul_ps(_mm512_loadu_ps(CENTRED.as_ptr()), scale(block));
            looked_up(block.add(2), table)
        }
    }
}

impl Vectors for Q4_1 {
    const BYTES: usize = 20;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m512; 2] {
        // SAFETY: within the block.
        unsafe {
            let pair = block.cast::<i32>().read_unaligned();
            // Scale and minimum in turn.
            let pairs = _mm512_cvtph_ps(_mm256_set1_epi32(pair));
            let (scale, least) = (_mm512_moveldup_ps(pairs), _mm512_movehdup_ps(pairs));
            let table = _mm512_fmadd_ps(_mm512_loadu_ps(CODES.as_ptr()), scale, least);
            looked_up(block.add(4), table)
        }
    }
}

/// 16 numbers in bfloat16: upper halves of f32.
#[inline(always)]
unsafe fn bf16(halves: *const u8) -> __m512 {
    // SAFETY: the caller's block has them.
    unsafe {
        let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(halves.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
    }
}

/// The half precision number at the start of a block, in every lane.
#[inline(always)]
unsafe fn scale(block: *const u8) -> __m512 {
    // SAFETY: the caller's block has it.
    unsafe { _mm512_cvtph_ps(_mm256_set1_epi16(block.cast::<i16>().read_unaligned())) }
}

/// The weights of 32 codes of four bits by a table of the 16 weights there are: a permutation reads
/// the low four bits of its indices alone.
#[inline(always)]
unsafe fn looked_up(codes: *const u8, table: __m512) -> [__m512; 2] {
    // SAFETY: 16 bytes of codes end every such block.
    unsafe {
        let codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.cast()));
        [
            _mm512_permutexvar_ps(codes, table),
            _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(codes), table),
        ]
    }
}
