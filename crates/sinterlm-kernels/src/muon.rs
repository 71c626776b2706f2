//! Muon's momentum. The orthogonalisation is in `orthogonalize`, rates and scales are left to the
//! optimizer.

use burn::tensor::Tensor;

use crate::{Moment, Route};

/// A moving average of gradients and Nesterov's look ahead, as in `torch.optim.Muon` (Jordan et al.
/// 2024, <https://kellerjordan.github.io/posts/muon/>); returns the look ahead, which is to be
/// orthogonalised, and the average.
///
/// With `g = grad_scale · grad`:
/// ```text
/// average ← momentum·average + (1 − momentum)·g
/// ahead   = momentum·average + (1 − momentum)·g
/// ```
/// The native form is one pass, over the buffers of `grad` and `average` where nothing else holds
/// them. `grad` is plain (without autodiff); `ahead` reads the average before it is rounded.
///
/// # Shapes
/// - `grad`: any; `average`: as many values
/// - returns `ahead` in the shape of `grad`
///
/// # Panics
/// If the sizes differ.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{Moment, MomentFormat, MomentKind, muon_momentum};
///
/// let device = Device::flex();
/// let grad = Tensor::<1>::from_data([8.0], &device);
/// let zero = Moment::zeros(1, MomentKind::First, MomentFormat::F32, &device);
/// let (ahead, average) = muon_momentum(grad, zero, 0.75, 1.0);
/// assert_eq!(average.into_values().into_scalar::<f32>(), 2.0);
/// assert_eq!(ahead.into_scalar::<f32>(), 2.0 + 1.5);
/// ```
pub fn muon_momentum<const D: usize>(
    grad: Tensor<D>,
    average: Moment,
    momentum: f64,
    grad_scale: f64,
) -> (Tensor<D>, Moment) {
    assert_eq!(
        average.len(),
        grad.dims().iter().product::<usize>(),
        "muon_momentum: average must have as many values as grad"
    );
    let share = grad_scale * (1.0 - momentum);
    match Route::of(&grad.device(), grad.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if average.is_native() => {
            native::momentum(grad, average, momentum as f32, share as f32)
        }
        _ => {
            let shape = grad.dims();
            let grad = grad.mul_scalar(share);
            let (average, ahead) = average.update(shape, |average| {
                let average = average.mul_scalar(momentum) + grad.clone();
                (average.clone(), grad + average.mul_scalar(momentum))
            });
            (ahead, average)
        }
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
        moments::{
            BLOCK, Moment,
            native::{Buffers, Piece, TASK},
        },
    };

    pub(super) fn momentum<const D: usize>(
        grad: Tensor<D>,
        average: Moment,
        decay: f32,
        share: f32,
    ) -> (Tensor<D>, Moment) {
        let mut grad = buffer::whole(grad);
        let mut average = Buffers::new(average);
        let tasks = grad.storage_mut::<f32>().par_chunks_mut(TASK);
        tasks.zip(average.pieces()).for_each(|(grad, average)| {
            vectorized(Step {
                grad,
                average,
                decay,
                share,
            });
        });
        (buffer::tensor(grad), average.into_moment())
    }

    /// Leaves the look ahead in place of the gradient.
    struct Step<'a> {
        grad: &'a mut [f32],
        average: Piece<'a>,
        decay: f32,
        share: f32,
    }

    impl Kernel for Step<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            let mut average = match self.average {
                Piece::F32(average) => {
                    return update(self.grad, average, self.decay, self.share);
                }
                compact => compact,
            };
            let mut values = [0.0; BLOCK];
            for (at, grad) in self.grad.chunks_mut(BLOCK).enumerate() {
                average.read(at, &mut values);
                let len = grad.len();
                update(grad, &mut values[..len], self.decay, self.share);
                average.write(at, &values);
            }
        }
    }

    #[inline(always)]
    fn update(grad: &mut [f32], average: &mut [f32], decay: f32, share: f32) {
        for (grad, average) in grad.iter_mut().zip(average) {
            let new = share * *grad;
            *average = decay * *average + new;
            *grad = new + decay * *average;
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::{
        MomentFormat, MomentKind,
        check::{assert_routes_agree, fill, values, with_threads},
    };

    fn three_steps(format: MomentFormat, shape: [usize; 2]) -> Vec<Vec<f64>> {
        let device = Device::flex();
        let len = shape[0] * shape[1];
        let mut average = Moment::zeros(len, MomentKind::First, format, &device);
        let mut ahead = Tensor::zeros(shape, &device);
        for step in 0..3 {
            let grad = fill::<2>(shape, step, &device, DType::F32);
            (ahead, average) = muon_momentum(grad, average, 0.95, 0.5);
        }
        vec![values(ahead), values(average.into_values())]
    }

    #[test]
    fn both_routes_agree_in_each_format() {
        assert_routes_agree(1e-6, || three_steps(MomentFormat::F32, [70, 300]));
        assert_routes_agree(0.01, || three_steps(MomentFormat::Bf16, [70, 300]));
        assert_routes_agree(0.04, || three_steps(MomentFormat::Int8, [70, 300]));
    }

    #[test]
    fn the_thread_count_leaves_every_bit() {
        for format in [MomentFormat::F32, MomentFormat::Bf16, MomentFormat::Int8] {
            let run = |threads| with_threads(threads, || three_steps(format, [130, 150]));
            assert_eq!(run(1), run(2), "{format:?}");
        }
    }
}
