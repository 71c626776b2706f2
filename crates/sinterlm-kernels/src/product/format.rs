//! How operands are packed and multiplied with AVX-512: f32 numbers, or pairs of bf16 numbers. The
//! loops around them are in `packed`.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_or_si512,
    _mm512_slli_epi32,
};
use std::mem::transmute;

use super::to_bf16;
use crate::isa::{Kernel, with_avx512, with_avx512_bf16};

/// A packed operand is made of 32-bit lanes with one or more neighbours along the inner axis each.
pub(super) trait Format {
    /// Elements of a lane.
    const PER_LANE: usize;

    /// Runs `kernel` compiled for what the other functions need.
    ///
    /// # Safety
    /// The CPU must have it.
    unsafe fn enabled<K: Kernel>(kernel: K) -> K::Output;

    /// Sixteen lanes of one row from its next elements: 16 of them in `low`, 16 more in `high`
    /// where a lane holds two.
    ///
    /// # Safety
    /// Only within [`Format::enabled`]; so the two below.
    unsafe fn along(low: __m512, high: __m512) -> __m512i;

    /// One lane each of 16 rows: their elements at one place in `low`, at the next in `high`.
    unsafe fn across(low: __m512, high: __m512) -> __m512i;

    /// `sum + a b`, lane by lane.
    unsafe fn multiply_add(sum: __m512, a: __m512i, b: __m512i) -> __m512;

    /// One lane.
    fn lane(low: f32, high: f32) -> u32;
}

/// f32 numbers, multiplied and added without rounding in between.
pub(super) struct F32;

impl Format for F32 {
    const PER_LANE: usize = 1;

    #[inline(always)]
    unsafe fn enabled<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller knows that the CPU has AVX-512.
        unsafe { with_avx512(kernel) }
    }

    #[inline(always)]
    unsafe fn along(low: __m512, _: __m512) -> __m512i {
        // SAFETY: within `enabled`.
        unsafe { _mm512_castps_si512(low) }
    }

    #[inline(always)]
    unsafe fn across(low: __m512, _: __m512) -> __m512i {
        // SAFETY: within `enabled`.
        unsafe { _mm512_castps_si512(low) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: within `enabled`.
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) }
    }

    #[inline(always)]
    fn lane(low: f32, _: f32) -> u32 {
        low.to_bits()
    }
}

/// f32 numbers rounded to bf16, two to a lane; products are added in f32.
pub(super) struct Bf16;

impl Format for Bf16 {
    const PER_LANE: usize = 2;

    #[inline(always)]
    unsafe fn enabled<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller knows that the CPU has AVX512-BF16.
        unsafe { with_avx512_bf16(kernel) }
    }

    #[inline(always)]
    unsafe fn along(low: __m512, high: __m512) -> __m512i {
        // SAFETY: within `enabled`; both types are 512 bits without meaning of their own.
        unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
    }

    #[inline(always)]
    unsafe fn across(low: __m512, high: __m512) -> __m512i {
        // SAFETY: within `enabled`; both types are 256 bits without meaning of their own.
        unsafe {
            let [low, high] =
                [low, high].map(|x| _mm512_cvtepu16_epi32(transmute(_mm512_cvtneps_pbh(x))));
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
        }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: within `enabled`; the types are 512 bits without meaning of their own.
        unsafe {
            let [a, b] = [a, b].map(|x| transmute::<__m512i, __m512bh>(x));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }

    #[inline(always)]
    fn lane(low: f32, high: f32) -> u32 {
        u32::from(to_bf16(low)) | u32::from(to_bf16(high)) << 16
    }
}
