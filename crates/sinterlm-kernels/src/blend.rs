//! A weighted sum of two tensors, written over the first.

use burn::tensor::Tensor;

use crate::Route;

/// `keep · a + share · b` of plain tensors (without autodiff), in the dtype of `a`. The native form
/// is one pass, written into the buffer of `a` if nothing else holds it.
///
/// # Panics
/// If the shapes differ.
///
/// # Example
/// ```
/// # use burn::tensor::{Device, Tensor};
/// let of = |x: f32| Tensor::<1>::from_data([x], &Device::flex());
/// let x = sinterlm_kernels::blend(of(4.0), 0.5, of(3.0), -1.0);
/// assert_eq!(x.into_scalar::<f32>(), -1.0);
/// ```
pub fn blend<const D: usize>(a: Tensor<D>, keep: f64, b: Tensor<D>, share: f64) -> Tensor<D> {
    assert_eq!(
        a.dims(),
        b.dims(),
        "blend: both tensors must have one shape"
    );
    match Route::of(&a.device(), a.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if b.dtype() == a.dtype() => native::blend(a, keep as f32, b, share as f32),
        _ => a.mul_scalar(keep) + b.mul_scalar(share),
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

    /// Values per task: two blocks of 64 KiB stay in a core's second-level cache.
    const TASK: usize = 1 << 14;

    pub(super) fn blend<const D: usize>(
        a: Tensor<D>,
        keep: f32,
        b: Tensor<D>,
        share: f32,
    ) -> Tensor<D> {
        let (mut a, b) = (buffer::whole(a), buffer::whole(b));
        let tasks = a.storage_mut::<f32>().par_chunks_mut(TASK);
        tasks
            .zip(b.storage::<f32>().par_chunks(TASK))
            .for_each(|(a, b)| vectorized(Blend { a, keep, b, share }));
        buffer::tensor(a)
    }

    struct Blend<'a> {
        a: &'a mut [f32],
        keep: f32,
        b: &'a [f32],
        share: f32,
    }

    impl Kernel for Blend<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            for (a, b) in self.a.iter_mut().zip(self.b) {
                *a = self.keep * *a + self.share * b;
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::check::{assert_routes_agree, fill, values};

    #[test]
    fn both_routes_agree_on_a_view_too() {
        let of = |seed| fill::<2>([300, 70], seed, &Device::flex(), DType::F32);
        assert_routes_agree(1e-6, || {
            let sum = blend(of(1), 0.9, of(2), -0.25);
            let view = blend(of(1).transpose(), 0.9, of(2).transpose(), -0.25);
            vec![values(sum), values(view)]
        });
    }

    #[test]
    fn other_handles_keep_their_values() {
        let ones = || Tensor::<1>::ones([3], &Device::flex());
        let held = ones();
        let sum = blend(held.clone(), 2.0, ones(), 1.0);
        assert_eq!(held.into_data(), ones().into_data());
        assert_eq!(sum.into_data(), ones().mul_scalar(3.0).into_data());
    }
}
