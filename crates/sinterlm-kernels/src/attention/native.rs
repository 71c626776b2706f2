//! The native form as a custom operation of burn: reads strided views, shares heads out among
//! threads, saves what the backward pass needs. The passes over one head are in `head`.
#![allow(unsafe_code)] // heads of one output interleave in memory and are written by several threads

use std::sync::Arc;

use burn::{
    backend::{
        Dispatch, Flex,
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
    tensor::Tensor,
};
use rayon::prelude::*;

use super::{
    AttentionOptions, default_scale,
    head::{BackwardScratch, ForwardScratch, Head},
    spec::{HeadRows, Spec},
};
use crate::{RowLayout, buffer};

pub(super) fn causal_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    layout: &RowLayout,
    options: &AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let starts = (0..batch)
        .flat_map(|row| {
            (0..seq).map(move |at| {
                let passed = options
                    .window
                    .map_or(0, |window| (at + 1).saturating_sub(window));
                layout.visible(row, at).start.max(passed) as u32
            })
        })
        .collect();
    let spec = Arc::new(Spec {
        batch,
        heads,
        kv_heads: k.dims()[1],
        seq,
        head_dim,
        scale: options.scale.unwrap_or_else(|| default_scale(head_dim)) as f32,
        softcap: options.softcap.map(|cap| cap as f32),
        dropout: options.dropout.filter(|&(p, _)| p > 0.0),
        precision: options.precision,
        starts,
    });
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Attention>::attention(q, k, v, spec))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait Attention: burn::backend::Backend {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        spec: Arc<Spec>,
    ) -> FloatTensor<Self>;
}

impl Attention for Flex {
    fn attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, spec: Arc<Spec>) -> FlexTensor {
        forward(q, k, v, spec).out
    }
}

impl<C: CheckpointStrategy> Attention for Autodiff<Flex, C> {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        spec: Arc<Spec>,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let saved = forward(
            q.into_primitive(),
            k.into_primitive(),
            v.into_primitive(),
            spec,
        );
        let out = saved.out.clone();
        match AttentionBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(saved, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let wants = ops.parents.each_ref().map(Option::is_some);
        let results = backward(&ops.state, grad, wants);
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let (Some(node), Some(result)) = (parent, result) {
                grads.register::<Flex>(node.id, result);
            }
        }
    }
}

/// Inputs and results of a forward pass, kept for its backward pass.
#[derive(Clone, Debug)]
struct Saved {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    /// `[batch, heads, seq, head_dim]`, laid out `[batch, seq, heads, head_dim]`.
    out: FlexTensor,
    /// `ln Σ exp(score)` of each query, `[batch, heads, seq]`.
    logsum: Arc<Vec<f32>>,
    spec: Arc<Spec>,
}

fn forward(q: FlexTensor, k: FlexTensor, v: FlexTensor, spec: Arc<Spec>) -> Saved {
    let [q, k, v] = [q, k, v].map(buffer::rows_contiguous);
    let Spec {
        batch,
        heads,
        kv_heads,
        seq,
        head_dim,
        ..
    } = *spec;
    let group = heads / kv_heads;
    let mut out = vec![0.0f32; batch * seq * heads * head_dim];
    let mut logsum = vec![0.0f32; batch * heads * seq];
    if !out.is_empty() {
        let (q, k, v) = (Rows::of(&q), Rows::of(&k), Rows::of(&v));
        let target = Interleaved::new(&mut out, [seq, heads, head_dim]);
        logsum
            .par_chunks_mut(group * seq)
            .enumerate()
            .for_each_init(
                || ForwardScratch::new(&spec),
                |scratch, (task, logsum)| {
                    let (row, kv_head) = (task / kv_heads, task % kv_heads);
                    scratch.load(k.head(row, kv_head), v.head(row, kv_head));
                    for (at, logsum) in logsum.chunks_exact_mut(seq).enumerate() {
                        let head = kv_head * group + at;
                        let site = Head {
                            spec: &spec,
                            row,
                            number: head,
                        };
                        // SAFETY: each (row, head) belongs to one task.
                        let write = |token: usize| unsafe { target.line(row, token, head) };
                        site.forward(scratch, q.head(row, head), logsum, write);
                    }
                },
            );
    }
    let out = interleaved_tensor(out, [batch, seq, heads, head_dim]);
    Saved {
        q,
        k,
        v,
        out,
        logsum: Arc::new(logsum),
        spec,
    }
}

/// Gradients of `q`, `k` and `v`, those that are wanted.
fn backward(saved: &Saved, grad: FlexTensor, wants: [bool; 3]) -> [Option<FlexTensor>; 3] {
    let grad = buffer::rows_contiguous(grad);
    let Saved { spec, logsum, .. } = saved;
    let Spec {
        batch,
        heads,
        kv_heads,
        seq,
        head_dim,
        ..
    } = **spec;
    let group = heads / kv_heads;
    let zeros = |wanted: bool, heads: usize| {
        let values = wanted.then(|| vec![0.0f32; batch * seq * heads * head_dim])?;
        Some((values, heads))
    };
    let mut gradients = [
        zeros(wants[0], heads),
        zeros(wants[1], kv_heads),
        zeros(wants[2], kv_heads),
    ];
    if batch * seq * heads * head_dim > 0 {
        let (q, k, v) = (Rows::of(&saved.q), Rows::of(&saved.k), Rows::of(&saved.v));
        let (out, grad) = (Rows::of(&saved.out), Rows::of(&grad));
        let [dq, dk, dv] = gradients.each_mut().map(|gradient| {
            let (values, heads) = gradient.as_mut()?;
            Some(Interleaved::new(values, [seq, *heads, head_dim]))
        });
        // One task adds up a key head's gradients, over the query heads of its group in order.
        (0..batch * kv_heads).into_par_iter().for_each_init(
            || BackwardScratch::new(spec, wants),
            |scratch, task| {
                let (row, kv_head) = (task / kv_heads, task % kv_heads);
                scratch.load(k.head(row, kv_head), v.head(row, kv_head));
                for head in kv_head * group..(kv_head + 1) * group {
                    let site = Head {
                        spec,
                        row,
                        number: head,
                    };
                    let logsum = &logsum[(row * heads + head) * seq..][..seq];
                    let inputs = [q.head(row, head), out.head(row, head), grad.head(row, head)];
                    // SAFETY: each (row, head) belongs to one task.
                    let write = |token: usize| dq.map(|dq| unsafe { dq.line(row, token, head) });
                    site.backward(scratch, inputs, logsum, write);
                }
                for token in 0..seq {
                    // SAFETY: each (row, kv_head) belongs to one task.
                    let lines =
                        [dk, dv].map(|to| to.map(|to| unsafe { to.line(row, token, kv_head) }));
                    scratch.store(token, lines);
                }
            },
        );
    }
    gradients.map(|gradient| {
        let (values, heads) = gradient?;
        Some(interleaved_tensor(values, [batch, seq, heads, head_dim]))
    })
}

/// The view `[batch, heads, seq, head_dim]` of values in the order `[batch, seq, heads, head_dim]`.
fn interleaved_tensor(values: Vec<f32>, shape: [usize; 4]) -> FlexTensor {
    buffer::from_vec(values, shape).permute(&[0, 2, 1, 3])
}

/// A tensor `[batch, heads, seq, head_dim]` in memory whose last axis is contiguous.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    strides: [usize; 3],
    head_dim: usize,
}

impl<'a> Rows<'a> {
    fn of(tensor: &'a FlexTensor) -> Self {
        let strides = tensor.layout().strides();
        Self {
            values: &tensor.storage::<f32>()[tensor.layout().start_offset()..],
            strides: [
                strides[0] as usize,
                strides[1] as usize,
                strides[2] as usize,
            ],
            head_dim: tensor.layout().shape()[3],
        }
    }

    fn head(self, row: usize, head: usize) -> HeadRows<'a> {
        let first = row * self.strides[0] + head * self.strides[1];
        HeadRows::new(&self.values[first..], self.strides[2], self.head_dim)
    }
}

/// Memory in the order `[batch, seq, heads, head_dim]`, written by several threads at once.
#[derive(Clone, Copy)]
struct Interleaved<'a> {
    start: *mut f32,
    len: usize,
    shape: [usize; 3],
    _values: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `line`, whose callers promise not to overlap.
unsafe impl Sync for Interleaved<'_> {}
// SAFETY: as above.
unsafe impl Send for Interleaved<'_> {}

impl<'a> Interleaved<'a> {
    fn new(values: &'a mut [f32], shape: [usize; 3]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            len: values.len(),
            shape,
            _values: std::marker::PhantomData,
        }
    }

    /// One token's vector in one head.
    ///
    /// # Safety
    /// No two live results may be of the same `(row, token, head)`.
    unsafe fn line(&self, row: usize, token: usize, head: usize) -> &'a mut [f32] {
        let [seq, heads, head_dim] = self.shape;
        assert!(token < seq && head < heads);
        let first = ((row * seq + token) * heads + head) * head_dim;
        assert!(first + head_dim <= self.len);
        // SAFETY: inside the borrowed slice by the assertion, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), head_dim) }
    }
}
