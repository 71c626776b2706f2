//! Forward and backward pass of one attention head, tile by tile on the calling thread. What is
//! done to the scores of a tile is left to `tile`.

use super::{
    spec::{HeadRows, Spec},
    tile::{Derive, Online, Softmax, Tile},
};
use crate::{
    isa::vectorized,
    product::{Matrix, product},
};

/// Query rows per tile: enough to reuse the keys, few enough to waste little above the diagonal.
const QUERIES: usize = 64;
/// Keys per tile: two tiles of scores stay in a core's second-level cache.
const KEYS: usize = 256;
/// Key tiles start at a multiple of this, so that the products need not copy their operands.
const ALIGN: usize = 16;

/// One head of one row of the batch.
pub(super) struct Head<'a> {
    pub(super) spec: &'a Spec,
    pub(super) row: usize,
    /// Number of the query head.
    pub(super) number: usize,
}

/// Memory of a forward task.
pub(super) struct ForwardScratch {
    /// Keys `[head_dim, seq]` and values `[seq, head_dim]` of the key head.
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<f32>,
    scores: Vec<f32>,
    acc: Vec<f32>,
}

impl ForwardScratch {
    pub(super) fn new(spec: &Spec) -> Self {
        let (all, tile) = (spec.seq * spec.head_dim, QUERIES * spec.head_dim);
        Self {
            keys: vec![0.0; all],
            values: vec![0.0; all],
            queries: vec![0.0; tile],
            scores: vec![0.0; QUERIES * KEYS.min(spec.seq)],
            acc: vec![0.0; tile],
        }
    }

    /// Copies a key head into place.
    pub(super) fn load(&mut self, k: HeadRows, v: HeadRows) {
        copy(&mut self.values, v, 0, 1.0);
        transpose(&mut self.keys, k);
    }
}

/// Memory of a backward task.
pub(super) struct BackwardScratch {
    /// Whether the gradients of queries, keys and values are wanted; others are not formed.
    wants: [bool; 3],
    /// Keys `[seq, head_dim]`; keys and values `[head_dim, seq]`.
    keys: Vec<f32>,
    keys_t: Vec<f32>,
    values_t: Vec<f32>,
    /// Gradients of keys and values, `[seq, head_dim]`.
    dk: Vec<f32>,
    dv: Vec<f32>,
    queries: Vec<f32>,
    grads: Vec<f32>,
    dq: Vec<f32>,
    scores: Vec<f32>,
    dscores: Vec<f32>,
    delta: Vec<f32>,
}

impl BackwardScratch {
    pub(super) fn new(spec: &Spec, wants: [bool; 3]) -> Self {
        let all = || vec![0.0; spec.seq * spec.head_dim];
        let tile = || vec![0.0; QUERIES * spec.head_dim];
        let scores = || vec![0.0; QUERIES * KEYS.min(spec.seq)];
        Self {
            wants,
            keys: all(),
            keys_t: all(),
            values_t: all(),
            dk: all(),
            dv: all(),
            queries: tile(),
            grads: tile(),
            dq: tile(),
            scores: scores(),
            dscores: scores(),
            delta: vec![0.0; QUERIES],
        }
    }

    /// Copies a key head into place and zeroes its gradients.
    pub(super) fn load(&mut self, k: HeadRows, v: HeadRows) {
        copy(&mut self.keys, k, 0, 1.0);
        transpose(&mut self.keys_t, k);
        transpose(&mut self.values_t, v);
        self.dk.fill(0.0);
        self.dv.fill(0.0);
    }

    /// Writes the finished gradients of one key and value vector where there is room for them.
    pub(super) fn store(&self, token: usize, lines: [Option<&mut [f32]>; 2]) {
        for (line, from) in lines.into_iter().zip([&self.dk, &self.dv]) {
            if let Some(line) = line {
                let at = token * line.len()..(token + 1) * line.len();
                line.copy_from_slice(&from[at]);
            }
        }
    }
}

impl Head<'_> {
    /// Writes each token's output to `write(token)` and its `ln Σ exp(score)` to `logsum`.
    pub(super) fn forward<'w>(
        &self,
        scratch: &mut ForwardScratch,
        q: HeadRows,
        logsum: &mut [f32],
        write: impl Fn(usize) -> &'w mut [f32],
    ) {
        let Spec {
            seq,
            head_dim,
            scale,
            precision,
            ..
        } = *self.spec;
        for (tile, logsum) in logsum.chunks_mut(QUERIES).enumerate() {
            let (first, rows) = (tile * QUERIES, logsum.len());
            let queries = &mut scratch.queries[..rows * head_dim];
            let acc = &mut scratch.acc[..rows * head_dim];
            copy(queries, q, first, scale);
            let queries = Matrix::new(queries, rows, head_dim, head_dim);
            let (mut max, mut sum) = ([f32::NEG_INFINITY; QUERIES], [0.0; QUERIES]);
            let mut begun = false;
            for tile in self.tiles(first, rows) {
                let (key, keys) = (tile.first_key, tile.keys);
                let scores = &mut scratch.scores[..rows * keys];
                let block = Matrix::new(&scratch.keys[key..], head_dim, keys, seq);
                product((scores, keys), false, queries, block, 1.0, precision);
                let mut online = Online {
                    max: &mut max,
                    sum: &mut sum,
                    acc,
                };
                vectorized(Softmax {
                    tile: &tile,
                    scores,
                    online: &mut online,
                });
                let weights = Matrix::new(scores, rows, keys, keys);
                let values = &scratch.values[key * head_dim..];
                let values = Matrix::new(values, keys, head_dim, head_dim);
                product((acc, head_dim), begun, weights, values, 1.0, precision);
                begun = true;
            }
            for (row, acc) in acc.chunks_exact(head_dim).enumerate() {
                logsum[row] = max[row] + sum[row].ln();
                let inverse = 1.0 / sum[row];
                for (out, x) in write(first + row).iter_mut().zip(acc) {
                    *out = x * inverse;
                }
            }
        }
    }

    /// Adds to the key head's gradients in `scratch`; writes each query's gradient to
    /// `write(token)` if there is a place. `inputs` are queries, outputs and the outputs' gradient.
    pub(super) fn backward<'w>(
        &self,
        scratch: &mut BackwardScratch,
        [q, out, grad]: [HeadRows; 3],
        logsum: &[f32],
        write: impl Fn(usize) -> Option<&'w mut [f32]>,
    ) {
        let Spec {
            seq,
            head_dim,
            scale,
            precision,
            ..
        } = *self.spec;
        let [wants_q, wants_k, wants_v] = scratch.wants;
        for (tile, logsum) in logsum.chunks(QUERIES).enumerate() {
            let (first, rows) = (tile * QUERIES, logsum.len());
            let queries = &mut scratch.queries[..rows * head_dim];
            let grads = &mut scratch.grads[..rows * head_dim];
            let dq = &mut scratch.dq[..rows * head_dim];
            copy(queries, q, first, scale);
            copy(grads, grad, first, 1.0);
            let delta = &mut scratch.delta[..rows];
            for (row, (delta, grad)) in delta.iter_mut().zip(grads.chunks(head_dim)).enumerate() {
                let out = out.token(first + row);
                *delta = dot(grad, out);
            }
            let queries = Matrix::new(queries, rows, head_dim, head_dim);
            let grads = Matrix::new(grads, rows, head_dim, head_dim);
            let mut begun = false;
            for tile in self.tiles(first, rows) {
                let (key, keys) = (tile.first_key, tile.keys);
                let scores = &mut scratch.scores[..rows * keys];
                let dscores = &mut scratch.dscores[..rows * keys];
                let keys_t = Matrix::new(&scratch.keys_t[key..], head_dim, keys, seq);
                let values_t = Matrix::new(&scratch.values_t[key..], head_dim, keys, seq);
                product((scores, keys), false, queries, keys_t, 1.0, precision);
                if wants_q || wants_k {
                    product((dscores, keys), false, grads, values_t, 1.0, precision);
                }
                vectorized(Derive {
                    tile: &tile,
                    scores,
                    grads: dscores,
                    logsum,
                    delta,
                });
                let weights = Matrix::new(scores, rows, keys, keys);
                let dscores = Matrix::new(dscores, rows, keys, keys);
                let line = key * head_dim;
                if wants_v {
                    let out = (&mut scratch.dv[line..], head_dim);
                    product(out, true, weights.transposed(), grads, 1.0, precision);
                }
                if wants_k {
                    // The queries carry the scale already.
                    let out = (&mut scratch.dk[line..], head_dim);
                    product(out, true, dscores.transposed(), queries, 1.0, precision);
                }
                if wants_q {
                    let block = Matrix::new(&scratch.keys[line..], keys, head_dim, head_dim);
                    product((dq, head_dim), begun, dscores, block, scale, precision);
                    begun = true;
                }
            }
            for (row, dq) in dq.chunks_exact(head_dim).enumerate() {
                if let Some(line) = write(first + row) {
                    line.copy_from_slice(dq);
                }
            }
        }
    }

    /// The tiles of keys that the `rows` queries from `first` see: none above the diagonal, none
    /// before the first query's segment.
    fn tiles(&self, first: usize, rows: usize) -> impl Iterator<Item = Tile<'_>> {
        let spec = self.spec;
        let starts = &spec.starts[self.row * spec.seq + first..][..rows];
        let begin = starts[0] as usize / ALIGN * ALIGN;
        let end = first + rows;
        let line = ((self.row * spec.heads + self.number) * spec.seq + first) as u64;
        (begin..end).step_by(KEYS).map(move |first_key| Tile {
            starts,
            first_query: first,
            first_key,
            keys: KEYS.min(end - first_key),
            softcap: spec.softcap,
            dropout: spec.dropout.map(|(p, key)| (p, key, line)),
        })
    }
}

/// `out[i] = factor · rows[first + i]`, as many as fit.
fn copy(out: &mut [f32], rows: HeadRows, first: usize, factor: f32) {
    let head_dim = rows.token(first).len();
    for (at, out) in out.chunks_exact_mut(head_dim).enumerate() {
        for (out, x) in out.iter_mut().zip(rows.token(first + at)) {
            *out = x * factor;
        }
    }
}

/// `out[d][token] = rows[token][d]`.
fn transpose(out: &mut [f32], rows: HeadRows) {
    let head_dim = rows.token(0).len();
    let seq = out.len() / head_dim;
    for first in (0..seq).step_by(ALIGN) {
        let count = ALIGN.min(seq - first);
        for d in 0..head_dim {
            let line = &mut out[d * seq + first..][..count];
            for (at, out) in line.iter_mut().enumerate() {
                *out = rows.token(first + at)[d];
            }
        }
    }
}

#[inline]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; ALIGN];
    for (a, b) in a.chunks(ALIGN).zip(b.chunks(ALIGN)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}
