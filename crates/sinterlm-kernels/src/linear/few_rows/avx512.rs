//! Tiles of vectors of 16 lanes, under AVX-512.
#![allow(unsafe_code)] // vector intrinsics

use std::arch::x86_64::{
    __m256, __m512, _MM_HINT_T0, _MM_HINT_T1, _mm_add_ps, _mm_prefetch, _mm_storeu_ps,
    _mm256_add_ps, _mm256_castpd_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_hadd_ps,
    _mm512_castps_pd, _mm512_castps512_ps256, _mm512_extractf64x4_pd, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_setzero_ps,
};

use super::{FAR, LINES, Tiles};

/// Numbers of a vector.
const LANES: usize = 16;

pub(super) struct Lanes16;

impl Tiles for Lanes16 {
    #[target_feature(enable = "avx512f")]
    unsafe fn dots<const R: usize>(x: [&[f32]; R], lines: [&[f32]; LINES]) -> [[f32; LINES]; R] {
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

    #[target_feature(enable = "avx512f")]
    unsafe fn dots_ahead<const R: usize, const AHEAD: usize>(
        x: [&[f32]; R],
        lines: [&[f32]; LINES],
        next: *const f32,
    ) -> [[f32; LINES]; R] {
        // SAFETY: as the caller promises.
        let sums = unsafe { sums_of::<R, LINES, AHEAD>(x, lines, next) };
        sums.map(|sums| across(sums))
    }
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
                let block = unsafe { _mm512_maskz_loadu_ps(rest, lines[line].as_ptr().add(whole)) };
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
