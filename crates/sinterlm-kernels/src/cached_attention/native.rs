//! The form for the CPU: keys and values in plain memory, written behind what a slot holds and read
//! where they lie. Each query of each head is one sequence of sums, whatever else is in the batch.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use burn::{
    backend::{Flex, TensorMetadata, flex::FlexTensor},
    tensor::Tensor,
};
use rayon::prelude::*;

use super::{CachedRows, visible};
use crate::{
    AttentionOptions,
    attention::default_scale,
    buffer::{from_vec, rows_contiguous},
    exp::{exp, tanh},
    isa::{Kernel, prefetch, vectorized},
    lanes::{lane_max, lane_sum},
};

/// Tokens of a block of keys: one vector of scores.
const BLOCK: usize = 16;

/// Chains of sums of a block's scores, so that additions overlap.
const CHAINS: usize = 4;

/// Multiply-adds from which heads are divided among threads.
const THREADED_FROM: usize = 1 << 16;

/// Numbers from which new tokens are written by several threads: where much is held, each takes a
/// line of memory of its own.
const WRITTEN_THREADED_FROM: usize = 1 << 12;

#[derive(Clone, Debug)]
pub(super) struct Store {
    /// Per slot and head, blocks of [`BLOCK`] tokens, each `[head_dim, BLOCK]`: scores are sums of
    /// vectors over tokens, with no sum across a vector.
    keys: Vec<f32>,
    /// Per slot and head `[capacity, head_dim]`.
    values: Vec<f32>,
    kv_heads: usize,
    head_dim: usize,
    /// Tokens of a slot, whole blocks.
    capacity: usize,
}

impl Store {
    pub(super) fn new([slots, kv_heads, capacity, head_dim]: [usize; 4]) -> Self {
        let capacity = capacity.next_multiple_of(BLOCK);
        let len = slots * kv_heads * capacity * head_dim;
        // The system hands out zeros that take no memory until they are touched.
        Self {
            keys: vec![0.0; len],
            values: vec![0.0; len],
            kv_heads,
            head_dim,
            capacity,
        }
    }

    pub(super) fn append(&mut self, k: Tensor<4>, v: Tensor<4>, rows: &CachedRows<'_>) {
        let (k, v) = (Heads::new(k), Heads::new(v));
        let (kv_heads, head_dim) = (self.kv_heads, self.head_dim);
        let mut row_of = vec![None; self.keys.len() / self.start(1, 0).max(1)];
        for (row, &slot) in rows.slots.iter().enumerate() {
            row_of[slot] = Some(row);
        }
        let write = |(place, (keys, values)): (usize, (&mut [f32], &mut [f32]))| {
            let (slot, head) = (place / kv_heads, place % kv_heads);
            let Some(row) = row_of[slot] else { return };
            for token in 0..rows.new[row] {
                let at = rows.held[row] + token;
                let block = at / BLOCK * BLOCK * head_dim + at % BLOCK;
                let keys = keys[block..].iter_mut().step_by(BLOCK);
                for (key, &x) in keys.zip(k.token(row, head, token)) {
                    *key = x;
                }
                values[at * head_dim..][..head_dim].copy_from_slice(v.token(row, head, token));
            }
        };
        let head = self.start(0, 1).max(1);
        let new: usize = rows.new.iter().sum();
        if new * kv_heads * head_dim < WRITTEN_THREADED_FROM {
            let keys = self.keys.chunks_exact_mut(head);
            let values = self.values.chunks_exact_mut(head);
            keys.zip(values).enumerate().for_each(write);
        } else {
            let keys = self.keys.par_chunks_exact_mut(head);
            let values = self.values.par_chunks_exact_mut(head);
            keys.zip(values).enumerate().for_each(write);
        }
    }

    pub(super) fn attend(
        &mut self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        rows: &CachedRows<'_>,
        options: &AttentionOptions,
    ) -> Tensor<4> {
        self.append(k, v, rows);
        let [batch, heads, seq, head_dim] = q.dims();
        let q = Heads::new(q);
        let group = heads / self.kv_heads;
        let scale = options.scale.unwrap_or_else(|| default_scale(head_dim)) as f32;
        let softcap = options.softcap.map(|cap| cap as f32);
        let query = |row: usize, head: usize, token: usize, out: &mut [f32]| {
            let start = self.start(rows.slots[row], head / group);
            let seen = visible(rows.held[row] + token, options);
            vectorized(Query {
                q: q.token(row, head, token),
                keys: &self.keys[start..][..seen.end.next_multiple_of(BLOCK) * head_dim],
                values: &self.values[start..][..seen.end * head_dim],
                first: seen.start,
                end: seen.end,
                scale,
                softcap,
                out,
            });
        };
        // [batch, seq, heads, head_dim], as the projection behind it reads.
        let mut out = vec![0.0; batch * seq * heads * head_dim];
        let line = |(number, out): (usize, &mut [f32])| {
            let (row, token) = (number / heads / seq, number / heads % seq);
            if token < rows.new[row] {
                query(row, number % heads, token, out);
            }
        };
        let new: usize = rows.new.iter().sum();
        if new * heads * head_dim * rows.longest() < THREADED_FROM {
            out.chunks_exact_mut(head_dim).enumerate().for_each(line);
        } else {
            let lines = out.par_chunks_exact_mut(head_dim).enumerate();
            lines.for_each(line);
        }
        let out = from_vec(out, [batch, seq, heads, head_dim]);
        Tensor::<4>::from_primitive::<Flex>(out).swap_dims(1, 2)
    }

    pub(super) fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        let tokens = tokens.next_multiple_of(BLOCK) * self.head_dim;
        for head in 0..self.kv_heads {
            let (from, to) = (self.start(from, head), self.start(to, head));
            self.keys.copy_within(from..from + tokens, to);
            self.values.copy_within(from..from + tokens, to);
        }
    }

    /// Where a slot's head begins.
    fn start(&self, slot: usize, head: usize) -> usize {
        (slot * self.kv_heads + head) * self.capacity * self.head_dim
    }
}

/// A tensor `[batch, heads, seq, head_dim]`, read in place.
struct Heads {
    tensor: FlexTensor,
    strides: [usize; 3],
    head_dim: usize,
}

impl Heads {
    fn new(tensor: Tensor<4>) -> Self {
        let tensor = tensor
            .try_into_primitive::<Flex>()
            .expect("a store in plain memory serves flex, and generation has no tape");
        let tensor = rows_contiguous(tensor);
        let strides = tensor.layout().strides();
        let strides = [strides[0], strides[1], strides[2]].map(|stride| stride as usize);
        let head_dim = tensor.shape()[3];
        Self {
            tensor,
            strides,
            head_dim,
        }
    }

    fn token(&self, row: usize, head: usize, token: usize) -> &[f32] {
        let at = [row, head, token];
        let offset: usize = at.iter().zip(self.strides).map(|(at, s)| at * s).sum();
        &self.tensor.storage::<f32>()[self.tensor.layout().start_offset() + offset..]
            [..self.head_dim]
    }
}

/// One query of one head: `Σ softmax(scale · q·k) v` over the tokens `first..end`.
struct Query<'a> {
    q: &'a [f32],
    /// Whole blocks, from the slot's first.
    keys: &'a [f32],
    values: &'a [f32],
    first: usize,
    end: usize,
    scale: f32,
    softcap: Option<f32>,
    out: &'a mut [f32],
}

#[inline(always)]
fn add_scaled(sums: &mut [f32; BLOCK], column: &[f32; BLOCK], factor: f32) {
    for (sum, x) in sums.iter_mut().zip(column) {
        *sum += factor * x;
    }
}

impl Kernel for Query<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let head_dim = self.q.len();
        let begin = self.first / BLOCK * BLOCK;
        let mut scores = Vec::with_capacity(self.end.next_multiple_of(BLOCK) - begin);
        let keys = self.keys[begin * head_dim..].chunks_exact(BLOCK * head_dim);
        let values = self.values[begin * head_dim..].chunks(BLOCK * head_dim);
        for (block, values) in keys.zip(values) {
            // What the weights will be mixed from comes meanwhile.
            values.chunks(BLOCK).for_each(prefetch);
            let (columns, _) = block.as_chunks::<BLOCK>();
            let (whole, rest) = columns.as_chunks::<CHAINS>();
            let (q, q_rest) = self.q.as_chunks::<CHAINS>();
            // Arrays of their own, else the compiler makes vectors of chains in place of tokens.
            let [mut first, mut second, mut third, mut fourth, mut tail] = [[0.0; BLOCK]; 5];
            for ([a, b, c, d], q) in whole.iter().zip(q) {
                add_scaled(&mut first, a, q[0]);
                add_scaled(&mut second, b, q[1]);
                add_scaled(&mut third, c, q[2]);
                add_scaled(&mut fourth, d, q[3]);
            }
            for (column, q) in rest.iter().zip(q_rest) {
                add_scaled(&mut tail, column, *q);
            }
            let sums: [f32; BLOCK] = std::array::from_fn(|token| {
                let pairs = (first[token] + second[token]) + (third[token] + fourth[token]);
                (pairs + tail[token]) * self.scale
            });
            scores.extend_from_slice(&sums);
        }
        let scores = &mut scores[self.first - begin..self.end - begin];
        if let Some(cap) = self.softcap {
            for score in scores.iter_mut() {
                *score = cap * tanh(*score / cap);
            }
        }
        let max = lane_max(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - max);
        }
        let inverse = 1.0 / lane_sum([scores], |[weight]| weight);
        let values = self.values[self.first * head_dim..].chunks_exact(4 * head_dim);
        let rest = values.remainder();
        let (weights, last) = scores.as_chunks::<4>();
        for (values, weights) in values.zip(weights) {
            let (low, high) = values.split_at(2 * head_dim);
            let ((a, b), (c, d)) = (low.split_at(head_dim), high.split_at(head_dim));
            for (at, out) in self.out.iter_mut().enumerate() {
                *out += (weights[0] * a[at] + weights[1] * b[at])
                    + (weights[2] * c[at] + weights[3] * d[at]);
            }
        }
        for (values, weight) in rest.chunks_exact(head_dim).zip(last) {
            for (out, value) in self.out.iter_mut().zip(values) {
                *out += weight * value;
            }
        }
        for out in self.out.iter_mut() {
            *out *= inverse;
        }
    }
}
