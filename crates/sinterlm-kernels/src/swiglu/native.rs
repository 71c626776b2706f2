//! The SwiGLU gate on flex: one pass forward, one pass backward for those gradients that are wanted.
#![allow(unsafe_code)] // new buffers are written once, not zeroed first
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

use crate::{
    buffer::{filled, for_writing},
    exp::exp,
    isa::{Kernel, vectorized},
};

/// Elements of one task: with four buffers in the backward pass 256 KiB, within the second-level
/// cache.
const BLOCK: usize = 1 << 14;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait SwigluOp: Backend {
    fn swiglu_op(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

pub(super) fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(Dispatch::swiglu_op(gate, up))
}

impl SwigluOp for Flex {
    fn swiglu_op(gate: FlexTensor, up: FlexTensor) -> FlexTensor {
        forward(&gate.to_contiguous(), &up.to_contiguous())
    }
}

impl<C: CheckpointStrategy> SwigluOp for Autodiff<Flex, C> {
    fn swiglu_op(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let y = forward(&gate, &up);
        match SwigluBackward
            .prepare::<C>([gate_node, up_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((gate, up), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct SwigluBackward;

/// Parents and state are `gate` and `up`.
impl Backward<Flex, 2> for SwigluBackward {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let (gate, up) = &ops.state;
        match ops.parents {
            [Some(gate_node), Some(up_node)] => {
                let [dgate, dup] = backward(dy, gate, up);
                grads.register::<Flex>(gate_node.id, dgate);
                grads.register::<Flex>(up_node.id, dup);
            }
            [Some(node), None] => grads.register::<Flex>(node.id, one(dy, gate, up, to_gate)),
            [None, Some(node)] => grads.register::<Flex>(node.id, one(dy, gate, up, to_up)),
            [None, None] => {}
        }
    }
}

fn forward(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
    let gates = gate.as_slice::<f32>().expect("gate is contiguous f32");
    let ups = up.as_slice::<f32>().expect("up is contiguous f32");
    // SAFETY: `Apply` writes each element of its block, and the blocks cover the buffer.
    let y = unsafe {
        filled(gates.len(), |y| {
            y.par_chunks_mut(BLOCK)
                .zip(gates.par_chunks(BLOCK))
                .zip(ups.par_chunks(BLOCK))
                .for_each(|((y, gate), up)| vectorized(Apply { gate, up, y }));
        })
    };
    FlexTensor::from_data(TensorData::new(y, gate.shape()))
}

struct Apply<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for ((y, &gate), &up) in self.y.iter_mut().zip(self.gate).zip(self.up) {
            y.write(gate * sigmoid(gate) * up);
        }
    }
}

/// Gradients of `gate` and `up`, the latter in the buffer of `dy` where no one else holds it.
fn backward(dy: FlexTensor, gate: &FlexTensor, up: &FlexTensor) -> [FlexTensor; 2] {
    let gates = gate.as_slice::<f32>().expect("gate was kept contiguous");
    let ups = up.as_slice::<f32>().expect("up was kept contiguous");
    let mut gradient = for_writing(dy);
    let dy = gradient.storage_mut::<f32>();
    // SAFETY: `Derive` writes each element of its block, and the blocks cover the buffer.
    let dgate = unsafe {
        filled(gates.len(), |dgate| {
            dgate
                .par_chunks_mut(BLOCK)
                .zip(dy.par_chunks_mut(BLOCK))
                .zip(gates.par_chunks(BLOCK))
                .zip(ups.par_chunks(BLOCK))
                .for_each(|(((dgate, gradient), gate), up)| {
                    vectorized(Derive {
                        gate,
                        up,
                        gradient,
                        dgate,
                    });
                });
        })
    };
    let dgate = FlexTensor::from_data(TensorData::new(dgate, gate.shape()));
    [dgate, gradient]
}

/// The gradient of one of them, in the buffer of `dy` where no one else holds it; `of` gives it from
/// `dy`, gate and up.
fn one(
    dy: FlexTensor,
    gate: &FlexTensor,
    up: &FlexTensor,
    of: impl Fn(f32, f32, f32) -> f32 + Copy + Send + Sync,
) -> FlexTensor {
    let gates = gate.as_slice::<f32>().expect("gate was kept contiguous");
    let ups = up.as_slice::<f32>().expect("up was kept contiguous");
    let mut gradient = for_writing(dy);
    gradient
        .storage_mut::<f32>()
        .par_chunks_mut(BLOCK)
        .zip(gates.par_chunks(BLOCK))
        .zip(ups.par_chunks(BLOCK))
        .for_each(|((gradient, gate), up)| {
            vectorized(DeriveOne {
                gate,
                up,
                gradient,
                of,
            });
        });
    gradient
}

/// With `s = 1/(1 + e⁻ᵍ)`: `dgate = dy·up·s·(1 + g·(1 − s))`.
#[inline(always)]
fn to_gate(dy: f32, gate: f32, up: f32) -> f32 {
    let share = sigmoid(gate);
    dy * up * (share * (1.0 + gate * (1.0 - share)))
}

/// `dup = dy·g·s`.
#[inline(always)]
fn to_up(dy: f32, gate: f32, _up: f32) -> f32 {
    dy * (gate * sigmoid(gate))
}

struct DeriveOne<'a, F> {
    gate: &'a [f32],
    up: &'a [f32],
    /// `dy`, overwritten by the gradient.
    gradient: &'a mut [f32],
    of: F,
}

impl<F: Fn(f32, f32, f32) -> f32> Kernel for DeriveOne<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for ((gradient, &gate), &up) in self.gradient.iter_mut().zip(self.gate).zip(self.up) {
            *gradient = (self.of)(*gradient, gate, up);
        }
    }
}

struct Derive<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    /// `dy`, overwritten by the gradient of `up`.
    gradient: &'a mut [f32],
    dgate: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Derive<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let outputs = self.dgate.iter_mut().zip(self.gradient);
        for ((dgate, gradient), (&gate, &up)) in outputs.zip(self.gate.iter().zip(self.up)) {
            let dy = *gradient;
            dgate.write(to_gate(dy, gate, up));
            *gradient = to_up(dy, gate, up);
        }
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}
