//! Sums over whole tensors that have the same bits for any thread count, fingerprints, and in-place
//! addition.
//! Norms of groups of tensors, clipping and accumulation itself are left to the trainer.

use burn::tensor::{DType, FloatDType, Tensor};

use crate::Route;
#[cfg(feature = "flex")]
use crate::blend;

/// `Σ x²` of a plain tensor (without autodiff); not finite if an element is not.
///
/// The native form squares and adds in f64, in fixed blocks combined in a fixed order: the same
/// bits for any thread count and instruction set. Elsewhere one reduction on the device in f32
/// (f64 for f64 tensors) and one sync.
///
/// # Example
/// ```
/// # use burn::tensor::{Device, Tensor};
/// let x = Tensor::<1>::from_data([3.0, 4.0], &Device::flex());
/// assert_eq!(sinterlm_kernels::sum_of_squares(x), 25.0);
/// ```
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> f64 {
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::sum_of_squares(x),
        _ => {
            let wide = if x.dtype() == DType::F64 {
                x
            } else {
                x.cast(FloatDType::F32)
            };
            wide.square().sum().into_scalar::<f64>()
        }
    }
}

/// A hash of the values of a plain tensor (without autodiff) as f32, which another bit anywhere
/// changes; for telling whether a tensor was touched, not against forgery.
///
/// The same for any route, thread count and instruction set. Away from flex it reads the tensor from
/// its device.
///
/// # Example
/// ```
/// # use burn::tensor::{Device, Tensor};
/// # use sinterlm_kernels::fingerprint;
/// let x = Tensor::<1>::from_data([3.0, 4.0], &Device::flex());
/// assert_eq!(fingerprint(x.clone()), fingerprint(x.clone()));
/// assert_ne!(fingerprint(x.clone()), fingerprint(x * -1.0));
/// ```
pub fn fingerprint<const D: usize>(x: Tensor<D>) -> u64 {
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::fingerprint(x),
        _ => {
            let data = x.into_data().convert::<f32>();
            let values = data.as_slice::<f32>().expect("just converted to f32");
            mixed(values.chunks(HASH_BLOCK).map(block_hash))
        }
    }
}

/// Values that are hashed in one piece.
const HASH_BLOCK: usize = 1 << 14;

/// Combines the hashes of blocks.
fn mixed(blocks: impl Iterator<Item = u64>) -> u64 {
    let mix = |hash: u64, block: u64| (hash ^ block).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    blocks.fold(1, |hash, block| mix(hash, block).rotate_left(29))
}

/// Side by side in lanes, so that it runs at the speed of memory.
#[inline(always)]
#[allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set
fn block_hash(values: &[f32]) -> u64 {
    const LANES: usize = 32;
    const ODD: u32 = 0x9e37_79b1; // from the golden ratio: spreads neighbouring values
    let mut lanes = [1u32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_mul(ODD).wrapping_add(value.to_bits());
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = lane.wrapping_mul(ODD).wrapping_add(value.to_bits());
    }
    mixed(lanes.into_iter().map(u64::from))
}

/// `a + b` of plain tensors, written into the buffer of `a` if nothing else holds it.
///
/// # Panics
/// If the shapes differ.
pub fn add_in_place<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    assert_eq!(
        a.dims(),
        b.dims(),
        "add_in_place: both tensors must have one shape"
    );
    match Route::of(&a.device(), a.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if b.dtype() == DType::F32 => blend(a, 1.0, b, 1.0),
        _ => a + b,
    }
}

#[cfg(feature = "flex")]
#[allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set
mod native {
    use burn::tensor::Tensor;
    use rayon::prelude::*;

    use crate::{
        buffer,
        isa::{Kernel, vectorized},
    };

    /// Values per partial sum.
    const BLOCK: usize = 1 << 14;
    /// Sums kept side by side within a block.
    const LANES: usize = 16;

    pub(super) fn sum_of_squares<const D: usize>(x: Tensor<D>) -> f64 {
        let x = buffer::whole(x);
        let blocks = x.storage::<f32>().par_chunks(BLOCK);
        let partial: Vec<f64> = blocks.map(|block| vectorized(BlockSum(block))).collect();
        partial.iter().sum()
    }

    pub(super) fn fingerprint<const D: usize>(x: Tensor<D>) -> u64 {
        let x = buffer::whole(x);
        let blocks = x.storage::<f32>().par_chunks(super::HASH_BLOCK);
        let hashes: Vec<u64> = blocks.map(|block| vectorized(BlockHash(block))).collect();
        super::mixed(hashes.into_iter())
    }

    struct BlockHash<'a>(&'a [f32]);

    impl Kernel for BlockHash<'_> {
        type Output = u64;

        #[inline(always)]
        fn run(self) -> u64 {
            super::block_hash(self.0)
        }
    }

    /// The square of an f32 is exact in f64, so a fused multiply-add changes no bit.
    struct BlockSum<'a>(&'a [f32]);

    impl Kernel for BlockSum<'_> {
        type Output = f64;

        #[inline(always)]
        fn run(self) -> f64 {
            let mut sums = [0.0f64; LANES];
            let (chunks, rest) = self.0.as_chunks::<LANES>();
            for chunk in chunks {
                for (sum, &value) in sums.iter_mut().zip(chunk) {
                    *sum += f64::from(value) * f64::from(value);
                }
            }
            for (sum, &value) in sums.iter_mut().zip(rest) {
                *sum += f64::from(value) * f64::from(value);
            }
            sums.iter().sum()
        }
    }
}

/// The sum of vectors of `len` values, added in their order.
#[cfg(feature = "flex")]
pub(crate) fn sum_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; len]);
    for part in parts {
        total.iter_mut().zip(&part).for_each(|(sum, x)| *sum += x);
    }
    total
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::with_route;

    fn fill(count: usize) -> Tensor<1> {
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.713).sin()).collect();
        Tensor::from_data(TensorData::new(values, [count]), &Device::flex())
    }

    #[test]
    fn the_thread_count_leaves_every_bit() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| sum_of_squares(fill(100_003))).to_bits()
        };
        assert_eq!(run(1), run(2));
    }

    #[test]
    fn a_fingerprint_shows_any_bit_and_is_the_same_on_both_routes() {
        let base: Vec<f32> = (0..20_000).map(|i| (i as f32 * 0.37).cos()).collect();
        let of = |values: &[f32]| fingerprint(Tensor::<1>::from_data(values, &Device::flex()));
        let hash = of(&base);
        assert_eq!(hash, with_route(Route::Composed, || of(&base)));
        for at in (0..20_000).step_by(97) {
            let mut other = base.clone();
            other[at] = f32::from_bits(other[at].to_bits() ^ 1 << (at % 32));
            assert_ne!(hash, of(&other), "value {at}");
        }
    }

    #[test]
    fn both_routes_agree_and_show_what_is_not_finite() {
        let native = sum_of_squares(fill(5000));
        let composed = with_route(Route::Composed, || sum_of_squares(fill(5000)));
        assert!(
            (native / composed - 1.0).abs() < 1e-5,
            "{native} is not {composed}"
        );
        for bad in [f32::NAN, f32::INFINITY] {
            let x = Tensor::<1>::from_data([1.0, bad], &Device::flex());
            assert!(!sum_of_squares(x).is_finite());
        }
    }

    #[test]
    fn a_view_counts_its_own_elements_alone() {
        let x = Tensor::<2>::from_data([[1.0, 2.0, 9.0], [3.0, 4.0, 9.0]], &Device::flex());
        let view = x.narrow(1, 0, 2).transpose();
        assert_eq!(sum_of_squares(view.clone()).to_bits(), 30f64.to_bits());
        let sum = add_in_place(view.clone(), view.transpose());
        let expected = Tensor::<2>::from_data([[2.0, 5.0], [5.0, 8.0]], &Device::flex());
        assert_eq!(sum.into_data(), expected.into_data());
    }

    #[test]
    fn adding_in_place_spares_other_handles() {
        let a = fill(40_000);
        let sum = add_in_place(a.clone(), fill(40_000));
        assert_eq!(a.clone().into_data(), fill(40_000).into_data());
        assert_eq!(sum.into_data(), (a * 2.0).into_data());
    }
}
