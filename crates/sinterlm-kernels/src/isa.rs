//! The choice of instruction set for loops that the compiler vectorises: the same Rust code,
//! compiled once per set and chosen at run time. Holds no kernel.
#![allow(unsafe_code)] // calling a function compiled for an instruction set the CPU was asked for
#![cfg_attr(not(feature = "flex"), allow(dead_code))] // without native kernels only the cap is left
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::sync::atomic::{AtomicU8, Ordering};

/// Instruction sets with a compiled form of their own, narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the target always has (SSE2 on x86-64, NEON on aarch64).
    Baseline,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors: AVX-512 F, VL, BW and DQ.
    Avx512,
    /// Also dot products of bf16 numbers, which matrix products use where that precision is asked
    /// for.
    Avx512Bf16,
}

impl Isa {
    /// The widest one that the CPU has and [`set_max_isa`] allows: what this crate's loops use.
    pub fn in_use() -> Self {
        available()
    }
}

static MAX: AtomicU8 = AtomicU8::new(Isa::Avx512Bf16 as u8);

/// Caps the instruction set of this crate's own loops, products in bf16 among them, for the whole
/// process; for tests. Products in f32 are the `gemm` crate's, which chooses for itself.
pub fn set_max_isa(max: Isa) {
    MAX.store(max as u8, Ordering::Relaxed);
}

/// Work that [`vectorized`] compiles once per instruction set. `run` must be `#[inline(always)]`
/// and call nothing else: what is not inlined keeps the baseline's instructions.
///
/// A closure is a kernel too, but one that the compiler may decline to inline when it is large.
pub(crate) trait Kernel {
    type Output;
    fn run(self) -> Self::Output;
}

impl<R, F: FnOnce() -> R> Kernel for F {
    type Output = R;
    #[inline(always)]
    fn run(self) -> R {
        self()
    }
}

/// Asks memory for the line of the first of some numbers that will be read soon.
#[inline(always)]
pub(crate) fn prefetch(numbers: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, which changes nothing and faults nowhere.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(numbers.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// The widest allowed instruction set that the CPU has.
#[inline]
pub(crate) fn available() -> Isa {
    let max = MAX.load(Ordering::Relaxed);
    #[cfg(target_arch = "x86_64")]
    {
        if max >= Isa::Avx512 as u8
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("fma")
        {
            return if max >= Isa::Avx512Bf16 as u8 && is_x86_feature_detected!("avx512bf16") {
                Isa::Avx512Bf16
            } else {
                Isa::Avx512
            };
        }
        if max >= Isa::Avx2 as u8
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
        {
            return Isa::Avx2;
        }
    }
    let _ = max;
    Isa::Baseline
}

/// Runs `kernel` compiled for the widest allowed instruction set.
#[inline]
pub(crate) fn vectorized<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    match available() {
        // SAFETY: the CPU has just been found to have every enabled feature.
        Isa::Avx512 | Isa::Avx512Bf16 => return unsafe { with_avx512(kernel) },
        // SAFETY: as above.
        Isa::Avx2 => return unsafe { with_avx2(kernel) },
        Isa::Baseline => {}
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
pub(crate) fn with_avx512_bf16<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
