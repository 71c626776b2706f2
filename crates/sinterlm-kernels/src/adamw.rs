//! One AdamW update of one tensor. Schedules, parameter groups and clipping are left to the
//! trainer, which folds the clip factor into `grad_scale`.

use burn::tensor::{DType, Tensor};

use crate::Route;

/// The numbers of one AdamW update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// Decoupled weight decay: the weight shrinks by `lr * weight_decay` of itself.
    pub weight_decay: f64,
    /// Number of this update, from 1; drives the bias correction.
    pub step: u64,
    /// Factor on the gradient: clipping and one over the token count.
    pub grad_scale: f32,
}

/// Factors of the update that depend on the step alone, rounded once from f64.
struct Factors {
    decay: f32,
    beta1: f32,
    beta2: f32,
    /// `1 - beta`, rounded after the subtraction, as in PyTorch.
    rest1: f32,
    rest2: f32,
    /// `lr / (1 - beta1^step)`
    step_size: f32,
    /// `1 / sqrt(1 - beta2^step)`
    inv_root_correction: f32,
    eps: f32,
    grad_scale: f32,
}

impl Factors {
    fn new(step: &AdamWStep) -> Self {
        let t = step.step as f64;
        Self {
            decay: (1.0 - step.lr * step.weight_decay) as f32,
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            rest1: (1.0 - step.beta1) as f32,
            rest2: (1.0 - step.beta2) as f32,
            step_size: (step.lr / (1.0 - step.beta1.powf(t))) as f32,
            inv_root_correction: (1.0 / (1.0 - step.beta2.powf(t)).sqrt()) as f32,
            eps: step.eps as f32,
            grad_scale: step.grad_scale,
        }
    }
}

/// One update of `weight` and its moments; returns `(weight, m, v)`.
///
/// With `g = grad_scale · grad`, in PyTorch's order and meaning (Loshchilov and Hutter 2019,
/// <https://arxiv.org/abs/1711.05101>):
/// ```text
/// w ← w · (1 − lr·weight_decay)
/// m ← beta1·m + (1 − beta1)·g        v ← beta2·v + (1 − beta2)·g²
/// w ← w − lr/(1 − beta1^step) · m / (√v / √(1 − beta2^step) + eps)
/// ```
/// The native form is one pass, in place where a buffer is not shared. All tensors are plain
/// (without autodiff); the dtype of `weight` is computed in.
///
/// # Panics
/// If the shapes differ or `step` is 0.
pub fn adamw<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    step: &AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    for (name, tensor) in [("grad", &grad), ("m", &m), ("v", &v)] {
        assert_eq!(tensor.dims(), weight.dims(), "adamw: {name} must have the weight's shape");
    }
    assert!(step.step > 0, "adamw: step counts from 1");
    let factors = Factors::new(step);
    match Route::of(&weight.device(), weight.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if [&grad, &m, &v].iter().all(|x| x.dtype() == DType::F32) => {
            native::adamw(weight, grad, m, v, &factors)
        }
        _ => composed(weight, grad, m, v, &factors),
    }
}

fn composed<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    f: &Factors,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let grad = grad.mul_scalar(f.grad_scale);
    let m = m.mul_scalar(f.beta1) + grad.clone().mul_scalar(f.rest1);
    let v = v.mul_scalar(f.beta2) + grad.square().mul_scalar(f.rest2);
    let denominator = v.clone().sqrt().mul_scalar(f.inv_root_correction).add_scalar(f.eps);
    let weight = weight.mul_scalar(f.decay) - (m.clone() / denominator).mul_scalar(f.step_size);
    (weight, m, v)
}

#[cfg(feature = "flex")]
mod native {
    use burn::tensor::Tensor;
    use rayon::prelude::*;

    use super::Factors;
    use crate::{buffer, isa::vectorized};

    /// Values per task: the four buffers' blocks fit a core's second-level cache.
    const BLOCK: usize = 1 << 14;

    pub(super) fn adamw<const D: usize>(
        weight: Tensor<D>,
        grad: Tensor<D>,
        m: Tensor<D>,
        v: Tensor<D>,
        factors: &Factors,
    ) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
        let grad = buffer::whole(grad);
        let (mut weight, mut m, mut v) =
            (buffer::whole(weight), buffer::whole(m), buffer::whole(v));
        let blocks = weight.storage_mut::<f32>().par_chunks_mut(BLOCK);
        let blocks = blocks.zip(grad.storage::<f32>().par_chunks(BLOCK));
        let moments = m.storage_mut::<f32>().par_chunks_mut(BLOCK);
        let moments = moments.zip(v.storage_mut::<f32>().par_chunks_mut(BLOCK));
        blocks.zip(moments).for_each(|((weight, grad), (m, v))| {
            vectorized(|| update(weight, grad, m, v, factors));
        });
        (buffer::tensor(weight), buffer::tensor(m), buffer::tensor(v))
    }

    #[inline(always)]
    fn update(weight: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], f: &Factors) {
        for (((weight, &grad), m), v) in weight.iter_mut().zip(grad).zip(m).zip(v) {
            let grad = grad * f.grad_scale;
            *m = f.beta1 * *m + f.rest1 * grad;
            *v = f.beta2 * *v + f.rest2 * (grad * grad);
            let denominator = v.sqrt() * f.inv_root_correction + f.eps;
            *weight = f.decay * *weight - f.step_size * (*m / denominator);
        }
    }
}
