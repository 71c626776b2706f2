//! GELU and the other activations of one input on flex: one pass forward, one pass backward.
#![allow(unsafe_code)] // the output is written once, not zeroed first
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use std::mem::MaybeUninit;

use burn::{
    backend::{
        Backend, Dispatch, Flex, TensorMetadata,
        autodiff::{
            Autodiff,
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::{Tensor, TensorData},
};
use rayon::prelude::*;

use super::{CUBIC, GeluKind};
use crate::{
    buffer::{filled, for_writing},
    exp::exp,
    isa::{Kernel, vectorized},
};

/// Elements of one task, 64 KiB: a few microseconds of work, and within the second-level cache.
const BLOCK: usize = 1 << 14;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const ONE_OVER_SQRT_2_PI: f32 = 0.398_942_3;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait ActivationOp: Backend {
    fn activation_op(x: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self>;
}

/// Which activation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Curve {
    Gelu(GeluKind),
    ReluSquared,
}

pub(crate) fn activation<const D: usize>(x: Tensor<D>, curve: Curve) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::activation_op(x.into_dispatch(), curve))
}

impl ActivationOp for Flex {
    fn activation_op(x: FlexTensor, curve: Curve) -> FlexTensor {
        forward(&x.to_contiguous(), curve)
    }
}

impl<C: CheckpointStrategy> ActivationOp for Autodiff<Flex, C> {
    fn activation_op(x: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = x.to_contiguous();
        let y = forward(&x, curve);
        match ActivationBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, curve), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct ActivationBackward;

impl Backward<Flex, 1> for ActivationBackward {
    type State = (FlexTensor, Curve);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut gradient = for_writing(grads.consume::<Flex>(&ops.node));
        let (x, curve) = ops.state;
        let x = x.as_slice::<f32>().expect("x was kept contiguous");
        gradient
            .storage_mut::<f32>()
            .par_chunks_mut(BLOCK)
            .zip(x.par_chunks(BLOCK))
            .for_each(|(gradient, x)| vectorized(Derive { x, gradient, curve }));
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, gradient);
        }
    }
}

fn forward(x: &FlexTensor, curve: Curve) -> FlexTensor {
    let values = x.as_slice::<f32>().expect("x is contiguous f32");
    // SAFETY: `Apply` writes each element of its block, and the blocks cover the buffer.
    let y = unsafe {
        filled(values.len(), |y| {
            y.par_chunks_mut(BLOCK)
                .zip(values.par_chunks(BLOCK))
                .for_each(|(y, x)| vectorized(Apply { x, y, curve }));
        })
    };
    FlexTensor::from_data(TensorData::new(y, x.shape()))
}

struct Apply<'a> {
    x: &'a [f32],
    y: &'a mut [MaybeUninit<f32>],
    curve: Curve,
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let pairs = self.y.iter_mut().zip(self.x);
        match self.curve {
            Curve::Gelu(GeluKind::Tanh) => pairs.for_each(|(y, &x)| {
                y.write(x * tanh_gate(x).0);
            }),
            Curve::Gelu(GeluKind::Exact) => pairs.for_each(|(y, &x)| {
                y.write(x * normal(x).0);
            }),
            Curve::ReluSquared => pairs.for_each(|(y, &x)| {
                let positive = relu(x);
                y.write(positive * positive);
            }),
        }
    }
}

/// Multiplies the gradient by the derivative at `x`.
struct Derive<'a> {
    x: &'a [f32],
    gradient: &'a mut [f32],
    curve: Curve,
}

impl Kernel for Derive<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let pairs = self.gradient.iter_mut().zip(self.x);
        match self.curve {
            Curve::Gelu(GeluKind::Tanh) => pairs.for_each(|(gradient, &x)| {
                let (gate, slope) = tanh_gate(x);
                *gradient *= gate + x * slope;
            }),
            Curve::Gelu(GeluKind::Exact) => pairs.for_each(|(gradient, &x)| {
                let (gate, slope) = normal(x);
                *gradient *= gate + x * slope;
            }),
            Curve::ReluSquared => pairs.for_each(|(gradient, &x)| {
                *gradient *= 2.0 * relu(x);
            }),
        }
    }
}

/// The larger of `x` and 0; NaN stays.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `g = (1 + tanh u)/2 = 1/(1 + e⁻²ᵘ)` with `u = √(2/π)·(x + 0.044715·x³)`, and `dg/dx`.
#[inline(always)]
fn tanh_gate(x: f32) -> (f32, f32) {
    const LINEAR: f32 = -2.0 * SQRT_2_OVER_PI;
    const CUBE: f32 = LINEAR * CUBIC as f32;
    let square = x * x;
    let gate = 1.0 / (1.0 + exp(x * (LINEAR + CUBE * square)));
    let slope = -gate * (1.0 - gate) * (LINEAR + 3.0 * CUBE * square);
    (gate, slope)
}

/// Distribution function and density of the normal distribution.
///
/// `Φ(−s) = e^(−s²/2)·T(1/(1 + 0.35·s))` for `s ≥ 0`, the form of Abramowitz and Stegun 26.2.17; the
/// polynomial `T` of degree 9 interpolates at Chebyshev nodes up to s = 14, relative error 4e-8.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let s = x.abs();
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.35 * s);
    let mut p = -2.967_952_2e-2;
    p = p * t + 1.465_458_3e-1;
    p = p * t - 2.609_612_3e-1;
    p = p * t + 1.650_51e-1;
    p = p * t - 2.704_660_8e-2;
    p = p * t + 1.071_145_9e-1;
    p = p * t + 1.194_449_2e-1;
    p = p * t + 1.399_123e-1;
    p = p * t + 1.396_187_1e-1;
    let tail = bell * (p * t);
    (
        if x < 0.0 { tail } else { 1.0 - tail },
        bell * ONE_OVER_SQRT_2_PI,
    )
}
