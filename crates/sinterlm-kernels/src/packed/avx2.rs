//! Products of a few rows with packed lines under AVX2, as `avx512` has them with wider vectors. The
//! order of tasks is left to `native`.
#![allow(unsafe_code)] // vector intrinsics
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::arch::x86_64::{
    __m128i, __m256, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cvtss_f32,
    _mm_loadl_epi64, _mm_loadu_si128, _mm_movehdup_ps, _mm_movehl_ps, _mm_prefetch, _mm_set1_epi8,
    _mm_set1_epi16, _mm_srli_epi16, _mm_unpackhi_epi64, _mm256_add_ps, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_storeu_ps, _mm256_sub_ps,
};

use super::{
    BLOCK,
    portable::{Bf16, F16, Q4_0, Q4_1, Q8_0},
};

// Loops and functions in place of closures: a closure that is not inlined would be compiled without
// the instructions, and each intrinsic become a call.

/// How far ahead memory is asked for: a hundred blocks.
const PREFETCHED_BYTES: usize = 2048;

/// A format whose blocks can be made four vectors of 8 weights.
pub(super) trait Vectors {
    const BYTES: usize;

    /// The weights of a block.
    ///
    /// # Safety
    /// `block` must be readable for `BYTES` bytes, and the code be inlined where AVX2, FMA and F16C
    /// are on.
    unsafe fn weights(block: *const u8) -> [__m256; 4];
}

/// The dot product of each row of `x` with a line of blocks, in an order of summing that does not
/// depend on `R`.
///
/// # Safety
/// Rows must be equally long and whole blocks, the line must hold as many blocks as they.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dots<F: Vectors, const R: usize>(x: [&[f32]; R], line: &[u8]) -> [f32; R] {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for block in 0..x[0].len() / BLOCK {
        // SAFETY: the line holds this block.
        let at = unsafe { line.as_ptr().add(block * F::BYTES) };
        // Ahead of what the processor fetches by itself, which ends with a page; may not exist.
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCHED_BYTES).cast());
        // SAFETY: as above.
        let weights = unsafe { F::weights(at) };
        for row in 0..R {
            for (part, weights) in weights.into_iter().enumerate() {
                // SAFETY: the row holds the block's 32 numbers.
                let x = unsafe { _mm256_loadu_ps(x[row].as_ptr().add(block * BLOCK + 8 * part)) };
                sums[row][part % 2] = _mm256_fmadd_ps(x, weights, sums[row][part % 2]);
            }
        }
    }
    let mut dots = [0.0; R];
    for row in 0..R {
        let sum = _mm256_add_ps(sums[row][0], sums[row][1]);
        let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        dots[row] = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    dots
}

/// Writes the weights of blocks.
///
/// # Safety
/// `blocks` must hold a block for each 32 of `out`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn unpack<F: Vectors>(blocks: &[u8], out: &mut [f32]) {
    for (at, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        // SAFETY: there is a block for it.
        let weights = unsafe { F::weights(blocks.as_ptr().add(at * F::BYTES)) };
        for (part, weights) in weights.into_iter().enumerate() {
            // SAFETY: the four parts fill 32 numbers.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(8 * part), weights) };
        }
    }
}

impl Vectors for F16 {
    const BYTES: usize = 64;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m256; 4] {
        let mut weights = [zero(); 4];
        for (part, weights) in weights.iter_mut().enumerate() {
            // SAFETY: within the block.
            *weights = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(block.add(16 * part).cast())) };
        }
        weights
    }
}

impl Vectors for Bf16 {
    const BYTES: usize = 64;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m256; 4] {
        let mut weights = [zero(); 4];
        for (part, weights) in weights.iter_mut().enumerate() {
            // SAFETY: within the block.
            *weights = unsafe {
                let halves = _mm_loadu_si128(block.add(16 * part).cast());
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
            };
        }
        weights
    }
}

impl Vectors for Q8_0 {
    const BYTES: usize = 34;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m256; 4] {
        // SAFETY: within the block.
        unsafe {
            let scale = half(block);
            let mut weights = [scale; 4];
            for (part, weights) in weights.iter_mut().enumerate() {
                let codes = _mm_loadl_epi64(block.add(2 + 8 * part).cast());
                let codes = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
                *weights = _mm256_mul_ps(codes, scale);
            }
            weights
        }
    }
}

impl Vectors for Q4_0 {
    const BYTES: usize = 18;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m256; 4] {
        // SAFETY: within the block.
        unsafe {
            let scale = half(block);
            let middle = _mm256_set1_ps(8.0);
            let mut weights = codes(block.add(2));
            for weight in &mut weights {
                *weight = _mm256_mul_ps(_mm256_sub_ps(*weight, middle), scale);
            }
            weights
        }
    }
}

impl Vectors for Q4_1 {
    const BYTES: usize = 20;

    #[inline(always)]
    unsafe fn weights(block: *const u8) -> [__m256; 4] {
        // SAFETY: within the block.
        unsafe {
            let (scale, least) = (half(block), half(block.add(2)));
            let mut weights = codes(block.add(4));
            for weight in &mut weights {
                *weight = _mm256_fmadd_ps(*weight, scale, least);
            }
            weights
        }
    }
}

#[inline(always)]
fn zero() -> __m256 {
    // SAFETY: all bits zero are eight zeros.
    unsafe { std::mem::zeroed() }
}

/// The half precision number at the start of `block`, in every lane.
#[inline(always)]
unsafe fn half(block: *const u8) -> __m256 {
    // SAFETY: the caller's block has it.
    unsafe { _mm256_cvtph_ps(_mm_set1_epi16(block.cast::<i16>().read_unaligned())) }
}

/// The 32 codes of four bits in 16 bytes: low halves, then high ones.
#[inline(always)]
unsafe fn codes(bytes: *const u8) -> [__m256; 4] {
    // SAFETY: 16 bytes of codes end every such block.
    unsafe {
        let pairs = _mm_loadu_si128(bytes.cast());
        let mask = _mm_set1_epi8(15);
        let low = _mm_and_si128(pairs, mask);
        let high = _mm_and_si128(_mm_srli_epi16::<4>(pairs), mask);
        [
            eight(low),
            eight(_mm_unpackhi_epi64(low, low)),
            eight(high),
            eight(_mm_unpackhi_epi64(high, high)),
        ]
    }
}

/// The first eight bytes as numbers.
#[inline(always)]
unsafe fn eight(codes: __m128i) -> __m256 {
    // SAFETY: the caller's code is compiled for AVX2.
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes)) }
}
