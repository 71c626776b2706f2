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
        let slots = rows.slots.iter().max().map_or(0, |last| last + 1);
        let mut row_of = vec![None; slots];
        for (row, &slot) in rows.slots.iter().enumerate() {
            row_of[slot] = Some(row);
        }
        let write = |(place, (keys, values)): (usize, (&mut [f32], &mut [f32]))| {
            let (slot, head) = (place / kv_heads, place % kv_heads);
            let Some(&Some(row)) = row_of.get(slot) else {
                return;
            };
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
            Query {
                q: q.token(row, head, token),
                keys: &self.keys[start..][..seen.end.next_multiple_of(BLOCK) * head_dim],
                values: &self.values[start..][..seen.end * head_dim],
                first: seen.start,
                end: seen.end,
                scale,
                softcap,
                out,
            }
            .answer();
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

impl Query<'_> {
    /// In steps that are compiled apart: in one function the compiler makes single numbers of vectors.
    fn answer(self) {
        let head_dim = self.q.len();
        let begin = self.first / BLOCK * BLOCK;
        let mut scores = Vec::with_capacity(self.end.next_multiple_of(BLOCK) - begin);
        vectorized(Scores {
            q: self.q,
            keys: &self.keys[begin * head_dim..],
            values: &self.values[begin * head_dim..],
            scale: self.scale,
            out: &mut scores,
        });
        let weights = &mut scores[self.first - begin..self.end - begin];
        let inverse = vectorized(Weights {
            scores: weights,
            softcap: self.softcap,
        });
        vectorized(Mix {
            weights,
            values: &self.values[self.first * head_dim..],
            inverse,
            out: self.out,
        });
    }
}

/// `scale · q·k` for each token of whole blocks.
struct Scores<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    scale: f32,
    out: &'a mut Vec<f32>,
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let size = BLOCK * self.q.len();
        for (keys, values) in self.keys.chunks_exact(size).zip(self.values.chunks(size)) {
            // What the weights will be mixed from comes meanwhile.
            values.chunks(BLOCK).for_each(prefetch);
            let columns = keys.as_chunks::<BLOCK>().0;
            let mut sums = chain(self.q, columns, 0);
            let second = chain(self.q, columns, 1);
            let third = chain(self.q, columns, 2);
            let fourth = chain(self.q, columns, 3);
            for token in 0..BLOCK {
                let pairs = (sums[token] + second[token]) + (third[token] + fourth[token]);
                sums[token] = pairs * self.scale;
            }
            self.out.extend_from_slice(&sums);
        }
    }
}

/// Every [`CHAINS`]th number of the query times its column, from the `first` on.
///
/// One array to a loop: of several the compiler makes single numbers.
#[inline(always)]
fn chain(q: &[f32], columns: &[[f32; BLOCK]], first: usize) -> [f32; BLOCK] {
    let mut sums = [0.0; BLOCK];
    let mut at = first;
    while at < columns.len() {
        for (sum, x) in sums.iter_mut().zip(&columns[at]) {
            *sum += q[at] * x;
        }
        at += CHAINS;
    }
    sums
}

/// Makes weights of scores, and returns what divides them by their sum.
struct Weights<'a> {
    scores: &'a mut [f32],
    softcap: Option<f32>,
}

impl Kernel for Weights<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        if let Some(cap) = self.softcap {
            for score in self.scores.iter_mut() {
                *score = cap * tanh(*score / cap);
            }
        }
        let max = lane_max(self.scores);
        for score in self.scores.iter_mut() {
            *score = exp(*score - max);
        }
        1.0 / lane_sum([self.scores], |[weight]| weight)
    }
}

/// `inverse · Σ weight · value`.
struct Mix<'a> {
    weights: &'a [f32],
    values: &'a [f32],
    inverse: f32,
    out: &'a mut [f32],
}

impl Kernel for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let head_dim = self.out.len();
        let (wide, narrow) = self.out.as_chunks_mut::<BLOCK>();
        let rest = wide.len() * BLOCK;
        for (block, out) in wide.iter_mut().enumerate() {
            let values = &self.values[block * BLOCK..];
            *out = mixed(self.weights, values, head_dim);
            for out in out {
                *out *= self.inverse;
            }
        }
        for (at, out) in narrow.iter_mut().enumerate() {
            let [sum] = mixed(self.weights, &self.values[rest + at..], head_dim);
            *out = sum * self.inverse;
        }
    }
}

/// `Σ weight · value` over the first `N` numbers of each line of `head_dim` values, in registers.
#[inline(always)]
fn mixed<const N: usize>(weights: &[f32], values: &[f32], head_dim: usize) -> [f32; N] {
    let mut sums = [0.0; N];
    let (fours, last) = weights.as_chunks::<4>();
    let value = |token: usize| -> &[f32; N] {
        let value = values[token * head_dim..].first_chunk();
        value.expect("a line of values for each weight")
    };
    for (four, weights) in fours.iter().enumerate() {
        let (a, b) = (value(4 * four), value(4 * four + 1));
        let (c, d) = (value(4 * four + 2), value(4 * four + 3));
        for at in 0..N {
            sums[at] += (weights[0] * a[at] + weights[1] * b[at])
                + (weights[2] * c[at] + weights[3] * d[at]);
        }
    }
    for (at, weight) in last.iter().enumerate() {
        let value = value(4 * fours.len() + at);
        for (sum, x) in sums.iter_mut().zip(value) {
            *sum += weight * x;
        }
    }
    sums
}
