//! Inverted dropout with a mask that is a function of a key: the public function, the mask and the
//! composed form. The CPU form stands in `native`.

#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

#[cfg(feature = "flex")]
mod native;

use burn::tensor::{Tensor, TensorData};

use crate::Route;

/// Sets each element to 0 with probability `p` and divides the others by `1 − p`.
///
/// Srivastava et al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>. Whether an element is
/// kept is a function of `key` and of its index in row-major order alone: the same bits on every
/// backend and for any number of threads, and nothing is stored for the backward pass. `p` is
/// rounded to a multiple of 2⁻³².
///
/// # Shapes
/// - `x`: any, float
/// - returns the shape and dtype of `x`; `x` itself where `p` is 0
///
/// # Panics
/// If `p` is not in `[0, 1)`.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<1>::ones([1000], &Device::flex());
/// let y = sinterlm_kernels::dropout(x, 0.5, 42).to_data().try_to_vec::<f32>().unwrap();
/// assert!(y.iter().all(|&v| v == 0.0 || v == 2.0));
/// ```
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, key: u64) -> Tensor<D> {
    assert!(
        (0.0..1.0).contains(&p),
        "dropout: p is {p}; it must be in [0, 1)"
    );
    if p == 0.0 {
        return x;
    }
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::dropout(x, p, key),
        _ => composed(x, p, key),
    }
}

fn composed<const D: usize>(x: Tensor<D>, p: f64, key: u64) -> Tensor<D> {
    let (threshold, scale) = (threshold(p), scale(p));
    let mask = (0..x.shape().num_elements() as u64)
        .map(|index| {
            if is_kept(key, index, threshold) {
                scale
            } else {
                0.0
            }
        })
        .collect::<Vec<f32>>();
    let (device, dtype) = (x.device(), x.dtype());
    let mask = Tensor::<D>::from_data(TensorData::new(mask, x.shape()), (&device, dtype));
    x * mask
}

/// Elements whose random bits lie below this are dropped.
fn threshold(p: f64) -> u32 {
    (p * 4_294_967_296.0).round().min(4_294_967_295.0) as u32
}

/// What the kept elements are multiplied by.
fn scale(p: f64) -> f32 {
    (1.0 / (1.0 - p)) as f32
}

#[inline(always)]
fn is_kept(key: u64, index: u64, threshold: u32) -> bool {
    random_bits(key, index) >= threshold
}

/// 32 random bits as a function of a key and an index.
///
/// Two rounds of the 32-bit mixer `lowbias32` (C. Wellons, <https://nullprogram.com/blog/2018/07/31/>)
/// with half of the scrambled key before each: 32-bit operations alone depend on the index, so that
/// they fill vector registers.
#[inline(always)]
pub(crate) fn random_bits(key: u64, index: u64) -> u32 {
    let key = scramble(key);
    let first = mix((index as u32) ^ (key as u32));
    mix(first ^ ((key >> 32) as u32).wrapping_add(mix((index >> 32) as u32)))
}

#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The finaliser of SplitMix64 (Steele et al. 2014), so that keys 0, 1, 2 serve as well as hashes.
#[inline(always)]
fn scramble(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
