//! What happens to one tile of scores between the matrix products: masking, soft cap, online
//! softmax, dropout, and the derivative of all that. Plain loops, compiled per instruction set.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use super::dropout_mask::LineMask;
use crate::{
    exp::{exp, tanh},
    isa::Kernel,
};

/// Lanes of the running sums and maxima: four AVX-512 registers would be 64; one chain of 16 is
/// enough beside the exponential.
const LANES: usize = 16;

/// Where a tile lies and what is done to its scores. A tile holds `starts.len()` query rows of
/// `keys` scores each.
pub(super) struct Tile<'a> {
    /// First visible key position of each query row.
    pub(super) starts: &'a [u32],
    /// Position of the first query row.
    pub(super) first_query: usize,
    /// Position of the first key.
    pub(super) first_key: usize,
    /// Number of keys.
    pub(super) keys: usize,
    pub(super) softcap: Option<f32>,
    /// Probability, key and the line number of the first query row.
    pub(super) dropout: Option<(f64, u64, u64)>,
}

/// Running state of the online softmax, per query row.
pub(super) struct Online<'a> {
    /// Largest score so far; starts at minus infinity.
    pub(super) max: &'a mut [f32],
    /// Sum of `exp(score − max)` so far; starts at 0.
    pub(super) sum: &'a mut [f32],
    /// Weighted sum of value rows so far, `[rows, head_dim]`; rescaled when the maximum moves.
    pub(super) acc: &'a mut [f32],
}

/// Scores to unnormalised weights `exp(score − max)`, 0 where hidden or dropped.
pub(super) struct Softmax<'a, 'b> {
    pub(super) tile: &'a Tile<'a>,
    pub(super) scores: &'a mut [f32],
    pub(super) online: &'a mut Online<'b>,
}

impl Kernel for Softmax<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tile.softmax(self.scores, self.online);
    }
}

/// Scores to weights (dropped and scaled) in `scores`, and the gradient of the weights to the
/// gradient of the scores in `grads`.
///
/// With `P = exp(score − logsum)` and `D = Σ dO·O`: `dS = P ∘ (dP − D)`.
pub(super) struct Derive<'a> {
    pub(super) tile: &'a Tile<'a>,
    pub(super) scores: &'a mut [f32],
    pub(super) grads: &'a mut [f32],
    /// `ln Σ exp(score)` of each query row.
    pub(super) logsum: &'a [f32],
    /// `Σ dO·O` of each query row.
    pub(super) delta: &'a [f32],
}

impl Kernel for Derive<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tile
            .backward(self.scores, self.grads, self.logsum, self.delta);
    }
}

impl Tile<'_> {
    /// The keys of this tile that query row `row` sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> std::ops::Range<usize> {
        let end = (self.first_query + row + 1)
            .saturating_sub(self.first_key)
            .min(self.keys);
        let start = (self.starts[row] as usize)
            .saturating_sub(self.first_key)
            .min(end);
        start..end
    }

    #[inline(always)]
    fn mask(&self, row: usize) -> Option<(LineMask, f32)> {
        self.dropout.map(|(p, key, line)| {
            (
                LineMask::new(key, line + row as u64, p),
                (1.0 / (1.0 - p)) as f32,
            )
        })
    }

    #[inline(always)]
    fn softmax(&self, scores: &mut [f32], online: &mut Online) {
        let head_dim = online.acc.len() / self.starts.len();
        for (row, line) in scores.chunks_exact_mut(self.keys).enumerate() {
            let visible = self.visible(row);
            line[..visible.start].fill(0.0);
            line[visible.end..].fill(0.0);
            let first_key = self.first_key + visible.start;
            let line = &mut line[visible];
            if line.is_empty() {
                continue;
            }
            if let Some(cap) = self.softcap {
                for score in line.iter_mut() {
                    *score = cap * tanh(*score / cap);
                }
            }
            let max = online.max[row].max(largest(line));
            let shrink = exp(online.max[row] - max);
            let sum = exponentials(line, max);
            if self.first_key > 0 && shrink < 1.0 {
                let acc = &mut online.acc[row * head_dim..(row + 1) * head_dim];
                for x in acc {
                    *x *= shrink;
                }
            }
            online.max[row] = max;
            online.sum[row] = online.sum[row] * shrink + sum;
            if let Some((mask, keep)) = self.mask(row) {
                drop_weights(line, first_key, mask, keep);
            }
        }
    }

    #[inline(always)]
    fn backward(&self, scores: &mut [f32], grads: &mut [f32], logsum: &[f32], delta: &[f32]) {
        let lines = scores
            .chunks_exact_mut(self.keys)
            .zip(grads.chunks_exact_mut(self.keys));
        for (row, (line, grads)) in lines.enumerate() {
            let visible = self.visible(row);
            for hidden in [0..visible.start, visible.end..self.keys] {
                line[hidden.clone()].fill(0.0);
                grads[hidden].fill(0.0);
            }
            let first_key = self.first_key + visible.start;
            let (line, grads) = (&mut line[visible.clone()], &mut grads[visible]);
            let mask = self.mask(row);
            if let Some((mask, keep)) = mask {
                drop_weights(grads, first_key, mask, keep);
            }
            let (logsum, delta) = (logsum[row], delta[row]);
            match self.softcap {
                None => {
                    for (score, grad) in line.iter_mut().zip(&mut *grads) {
                        *score = exp(*score - logsum);
                        *grad = *score * (*grad - delta);
                    }
                }
                Some(cap) => {
                    for (score, grad) in line.iter_mut().zip(&mut *grads) {
                        let bent = tanh(*score / cap);
                        *score = exp(cap * bent - logsum);
                        *grad = *score * (*grad - delta) * (1.0 - bent * bent);
                    }
                }
            }
            if let Some((mask, keep)) = mask {
                drop_weights(line, first_key, mask, keep);
            }
        }
    }
}

#[inline(always)]
fn largest(line: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = line.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// `x ← exp(x − max)`; returns the sum.
#[inline(always)]
fn exponentials(line: &mut [f32], max: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = line.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = exp(*x - max);
            *lane += *x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = exp(*x - max);
        *lane += *x;
    }
    lanes.iter().sum()
}

#[inline(always)]
fn drop_weights(line: &mut [f32], first_key: usize, mask: LineMask, keep: f32) {
    let first_key = first_key as u32;
    for (at, x) in line.iter_mut().enumerate() {
        *x = if mask.drops(first_key + at as u32) {
            0.0
        } else {
            *x * keep
        };
    }
}
