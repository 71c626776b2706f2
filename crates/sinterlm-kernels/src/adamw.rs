//! One AdamW update of one tensor. Schedules, parameter groups and clipping are left to the
//! trainer, which folds the clip factor into `grad_scale`.

use burn::tensor::Tensor;

use crate::{Moment, Route};

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
/// (without autodiff); the dtype of `weight` is computed in. The weight moves by the moments as they
/// are before they are rounded to their format.
///
/// # Shapes
/// - `weight`, `grad`: any, the same
/// - `m`, `v`: as many values; the first and the second moment
///
/// # Panics
/// If the sizes differ or `step` is 0.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{AdamWStep, Moment, MomentFormat, MomentKind, adamw};
///
/// let device = Device::flex();
/// let of = |x: f32| Tensor::<1>::from_data([x], &device);
/// let zero = |kind| Moment::zeros(1, kind, MomentFormat::F32, &device);
/// let step = AdamWStep {
///     lr: 0.1, beta1: 0.9, beta2: 0.95, eps: 0.0, weight_decay: 0.0, step: 1, grad_scale: 1.0,
/// };
/// // The first step has the length of the learning rate, whatever the gradient's size.
/// let (m, v) = (zero(MomentKind::First), zero(MomentKind::Second));
/// let (weight, _m, _v) = adamw(of(1.0), of(123.0), m, v, &step);
/// assert!((weight.into_scalar::<f32>() - 0.9).abs() < 1e-6);
/// ```
pub fn adamw<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    m: Moment,
    v: Moment,
    step: &AdamWStep,
) -> (Tensor<D>, Moment, Moment) {
    assert_eq!(
        grad.dims(),
        weight.dims(),
        "adamw: grad must have the weight's shape"
    );
    for (name, moment) in [("m", &m), ("v", &v)] {
        assert_eq!(
            moment.len(),
            weight.dims().iter().product::<usize>(),
            "adamw: {name} must have as many values as the weight"
        );
    }
    assert!(step.step > 0, "adamw: step counts from 1");
    let factors = Factors::new(step);
    match Route::of(&weight.device(), weight.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if grad.dtype() == weight.dtype() && m.is_native() && v.is_native() => {
            native::adamw(weight, grad, m, v, &factors)
        }
        _ => composed(weight, grad, m, v, &factors),
    }
}

fn composed<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    m: Moment,
    v: Moment,
    f: &Factors,
) -> (Tensor<D>, Moment, Moment) {
    let shape = weight.dims();
    let grad = grad.mul_scalar(f.grad_scale);
    let (v, denominator) = v.update(shape, |v| {
        let v = v.mul_scalar(f.beta2) + grad.clone().square().mul_scalar(f.rest2);
        let root = v.clone().sqrt().mul_scalar(f.inv_root_correction);
        (v, root.add_scalar(f.eps))
    });
    let (m, step) = m.update(shape, |m| {
        let m = m.mul_scalar(f.beta1) + grad.mul_scalar(f.rest1);
        (m.clone(), (m / denominator).mul_scalar(f.step_size))
    });
    (weight.mul_scalar(f.decay) - step, m, v)
}

#[cfg(feature = "flex")]
#[allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set
mod native {
    use burn::tensor::Tensor;
    use rayon::prelude::*;

    use super::Factors;
    use crate::{
        buffer,
        isa::{Kernel, vectorized},
        moments::{
            BLOCK, Moment,
            native::{Buffers, Piece, TASK},
        },
    };

    pub(super) fn adamw<const D: usize>(
        weight: Tensor<D>,
        grad: Tensor<D>,
        m: Moment,
        v: Moment,
        factors: &Factors,
    ) -> (Tensor<D>, Moment, Moment) {
        let (mut weight, grad) = (buffer::whole(weight), buffer::whole(grad));
        let (mut m, mut v) = (Buffers::new(m), Buffers::new(v));
        let blocks = weight.storage_mut::<f32>().par_chunks_mut(TASK);
        let blocks = blocks.zip(grad.storage::<f32>().par_chunks(TASK));
        let moments = m.pieces().into_par_iter().zip(v.pieces());
        blocks.zip(moments).for_each(|((weight, grad), (m, v))| {
            vectorized(Update {
                weight,
                grad,
                m,
                v,
                factors,
            });
        });
        (buffer::tensor(weight), m.into_moment(), v.into_moment())
    }

    struct Update<'a> {
        weight: &'a mut [f32],
        grad: &'a [f32],
        m: Piece<'a>,
        v: Piece<'a>,
        factors: &'a Factors,
    }

    impl Kernel for Update<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            let (mut m, mut v) = match (self.m, self.v) {
                (Piece::F32(m), Piece::F32(v)) => {
                    return update(self.weight, self.grad, m, v, self.factors);
                }
                compact => compact,
            };
            let (mut m_values, mut v_values) = ([0.0; BLOCK], [0.0; BLOCK]);
            let blocks = self.weight.chunks_mut(BLOCK).zip(self.grad.chunks(BLOCK));
            for (at, (weight, grad)) in blocks.enumerate() {
                m.read(at, &mut m_values);
                v.read(at, &mut v_values);
                let len = weight.len();
                let (m_block, v_block) = (&mut m_values[..len], &mut v_values[..len]);
                update(weight, grad, m_block, v_block, self.factors);
                m.write(at, &m_values);
                v.write(at, &v_values);
            }
        }
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

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::{MomentFormat, MomentKind, with_route};

    const STEP: AdamWStep = AdamWStep {
        lr: 3e-3,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        step: 1,
        grad_scale: 0.5,
    };

    /// Ten updates with gradients from a formula; weights, first and second moments.
    fn ten_steps(route: Route, format: MomentFormat, size: usize) -> [Vec<f32>; 3] {
        let device = Device::flex();
        let of = |x: Vec<f32>| Tensor::<1>::from_data(TensorData::new(x, [size]), &device);
        let start: Vec<f32> = (0..size).map(|i| (i as f32 * 0.37).sin()).collect();
        let zeros = |kind| Moment::zeros(size, kind, format, &device);
        let mut state = (
            of(start),
            zeros(MomentKind::First),
            zeros(MomentKind::Second),
        );
        for step in 1..=10 {
            let grad = of((0..size).map(|i| grad(i, step)).collect());
            let step = AdamWStep { step, ..STEP };
            state = with_route(route, || adamw(state.0, grad, state.1, state.2, &step));
        }
        [state.0, state.1.into_values(), state.2.into_values()]
            .map(|x| x.into_data().try_into_vec().unwrap())
    }

    fn grad(i: usize, step: u64) -> f32 {
        (i as f32 * 0.11 + step as f32 * 0.7).cos() * 0.2
    }

    /// `torch.optim.AdamW`'s single-tensor update, in f64.
    fn reference(i: usize) -> [f64; 3] {
        let (mut w, mut m, mut v) = (f64::from((i as f32 * 0.37).sin()), 0.0, 0.0);
        for t in 1..=10u64 {
            let g = f64::from(grad(i, t)) * f64::from(STEP.grad_scale);
            w *= 1.0 - STEP.lr * STEP.weight_decay;
            m += (g - m) * (1.0 - STEP.beta1);
            v = v * STEP.beta2 + g * g * (1.0 - STEP.beta2);
            let (c1, c2) = (
                1.0 - STEP.beta1.powi(t as i32),
                1.0 - STEP.beta2.powi(t as i32),
            );
            w -= STEP.lr / c1 * m / (v.sqrt() / c2.sqrt() + STEP.eps);
        }
        [w, m, v]
    }

    #[test]
    fn ten_steps_follow_the_formula_on_both_routes() {
        for route in [Route::Native, Route::Composed] {
            let found = ten_steps(route, MomentFormat::F32, 100);
            for i in 0..100 {
                for (found, wanted) in found.iter().zip(reference(i)) {
                    let distance = (f64::from(found[i]) - wanted).abs();
                    assert!(
                        distance < 1e-6,
                        "{route:?}, {i}: {} is not {wanted}",
                        found[i]
                    );
                }
            }
        }
    }

    const FORMATS: [MomentFormat; 3] = [MomentFormat::F32, MomentFormat::Bf16, MomentFormat::Int8];

    #[test]
    fn compact_moments_lead_to_nearly_the_same_weights_on_both_routes() {
        let exact = ten_steps(Route::Native, MomentFormat::F32, 1000);
        for (format, allowed) in [(MomentFormat::Bf16, 0.005), (MomentFormat::Int8, 0.05)] {
            let compact = [Route::Native, Route::Composed].map(|r| ten_steps(r, format, 1000));
            let distance = |a: &[f32], b: &[f32]| {
                let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
                squares.sum::<f64>().sqrt()
            };
            let start: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
            let moved = distance(&exact[0], &start);
            for [weights, ..] in &compact {
                let off = distance(weights, &exact[0]);
                assert!(
                    off < allowed * moved && off > 0.0,
                    "{format:?}: {off} {moved}"
                );
            }
            // A value at the border of two codes may take either: few do.
            let off = distance(&compact[0][0], &compact[1][0]);
            assert!(off < 0.1 * allowed * moved, "{format:?}: {off} of {moved}");
        }
    }

    #[test]
    fn the_thread_count_leaves_every_bit() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| FORMATS.map(|format| ten_steps(Route::Native, format, 50_001)))
        };
        assert_eq!(run(1), run(2));
    }

    #[test]
    fn a_shared_weight_keeps_its_old_values() {
        let device = Device::flex();
        let ones = || Tensor::<1>::ones([3], &device);
        let weight = ones();
        let moment = |kind| Moment::new(ones(), kind, MomentFormat::F32);
        let (m, v) = (moment(MomentKind::First), moment(MomentKind::Second));
        let (updated, ..) = adamw(weight.clone(), ones(), m, v, &STEP);
        assert_eq!(weight.into_data(), ones().into_data());
        assert_ne!(updated.into_data(), ones().into_data());
    }
}
