//! Tiles of vectors of 8 lanes, under AVX2: half as many registers hold half as many lines at a time.
#![allow(unsafe_code)] // vector intrinsics

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _MM_HINT_T1, _mm_add_ps, _mm_prefetch, _mm_storeu_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_hadd_ps,
    _mm256_loadu_ps, _mm256_setzero_ps,
};

use super::{FAR, LINES, Tiles};

/// Numbers of a vector.
const LANES: usize = 8;

/// Numbers of a line of the cache.
const CACHE_LINE: usize = 16;

pub(super) struct Lanes8;

impl Tiles for Lanes8 {
    #[target_feature(enable = "avx2,fma")]
    unsafe fn dots<const R: usize>(x: [&[f32]; R], lines: [&[f32]; LINES]) -> [[f32; LINES]; R] {
        let mut sums = [[_mm256_setzero_ps(); LINES]; R];
        for (at, line) in lines.into_iter().enumerate() {
            // SAFETY: as the caller promises.
            let products = unsafe { sums_of::<R, 1, 0>(x, [line], line.as_ptr()) };
            for (sums, [product]) in sums.iter_mut().zip(products) {
                sums[at] = product;
            }
        }
        finish(sums, x, lines)
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn dots_ahead<const R: usize, const AHEAD: usize>(
        x: [&[f32]; R],
        lines: [&[f32]; LINES],
        next: *const f32,
    ) -> [[f32; LINES]; R] {
        let [a, b, c, d] = lines;
        // SAFETY: as the caller promises.
        let (low, high) = unsafe {
            let low = sums_of::<R, 2, AHEAD>(x, [a, b], next);
            (low, sums_of::<R, 2, 0>(x, [c, d], next))
        };
        let mut sums = [[_mm256_setzero_ps(); LINES]; R];
        for row in 0..R {
            sums[row] = [low[row][0], low[row][1], high[row][0], high[row][1]];
        }
        finish(sums, x, lines)
    }
}

/// The products of each row with each line but those behind the last whole vector, summed in every lane;
/// each sum in one register, so that its bits depend neither on `R` nor on `L`. Meanwhile memory is asked
/// for `AHEAD` lines from `next` on, and for those that follow [`FAR`] behind them.
///
/// # Safety
/// All slices must have the same length.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sums_of<const R: usize, const L: usize, const AHEAD: usize>(
    x: [&[f32]; R],
    lines: [&[f32]; L],
    next: *const f32,
) -> [[__m256; L]; R] {
    let mut sums = [[_mm256_setzero_ps(); L]; R];
    for at in (0..lines[0].len() / LANES * LANES).step_by(LANES) {
        if AHEAD > 0 && at % CACHE_LINE == 0 {
            for line in 0..AHEAD {
                let next = next.wrapping_add(AHEAD * at + line * CACHE_LINE);
                _mm_prefetch::<_MM_HINT_T0>(next.cast());
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(FAR).cast());
            }
        }
        let mut block = [_mm256_setzero_ps(); L];
        for line in 0..L {
            // SAFETY: a whole vector is left from `at` on.
            block[line] = unsafe { _mm256_loadu_ps(lines[line].as_ptr().add(at)) };
        }
        for row in 0..R {
            // SAFETY: as above.
            let x = unsafe { _mm256_loadu_ps(x[row].as_ptr().add(at)) };
            for line in 0..L {
                sums[row][line] = _mm256_fmadd_ps(x, block[line], sums[row][line]);
            }
        }
    }
    sums
}

/// The sums across each vector, and the products behind the last whole one.
#[target_feature(enable = "avx2,fma")]
fn finish<const R: usize>(
    sums: [[__m256; LINES]; R],
    x: [&[f32]; R],
    lines: [&[f32]; LINES],
) -> [[f32; LINES]; R] {
    let mut dots = [[0.0; LINES]; R];
    for row in 0..R {
        dots[row] = across(sums[row]);
        for at in x[row].len() / LANES * LANES..x[row].len() {
            for line in 0..LINES {
                dots[row][line] = x[row][at].mul_add(lines[line][at], dots[row][line]);
            }
        }
    }
    dots
}

/// The sum of each vector: neighbours are added, then halves.
#[target_feature(enable = "avx2,fma")]
fn across([a, b, c, d]: [__m256; LINES]) -> [f32; LINES] {
    let both = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    let low = _mm256_castps256_ps128(both);
    let sums = _mm_add_ps(low, _mm256_extractf128_ps::<1>(both));
    let mut dots = [0.0; LINES];
    // SAFETY: the results have the width of the vector.
    unsafe { _mm_storeu_ps(dots.as_mut_ptr(), sums) };
    dots
}
