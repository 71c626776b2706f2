//! The passes over chunks of rows: one product for the logits, one pass that turns them into loss and
//! gradient in place, two products for the gradients of the operands.
use burn::{backend::flex::FlexTensor, tensor::DType};
use rayon::prelude::*;

use super::{CrossEntropyOptions, row::RowLoss};
use crate::{
    MatmulPrecision,
    buffer::from_vec,
    isa::vectorized,
    product::{Matrix, append_product, new_product, threaded_product},
};

/// Elements of one task when a finished gradient is scaled.
const SCALE_BLOCK: usize = 1 << 16;

/// Which gradients are to be formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) hidden: bool,
    pub(super) weight: bool,
}

/// The gradients of the loss, formed in the forward pass where they are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Formed {
    pub(super) hidden: Option<FlexTensor>,
    pub(super) weight: Option<FlexTensor>,
}

/// The rows that take part, one after the other, and the valid rows of the weight.
struct Problem<'a> {
    hidden: &'a [f32],
    weight: &'a [f32],
    targets: &'a [usize],
    d_model: usize,
    vocab: usize,
    chunk_rows: usize,
    precision: MatmulPrecision,
}

impl<'a> Problem<'a> {
    /// Calls `each` with the rows of every chunk and their logits, row-major, to write over.
    fn for_each_chunk(&self, mut each: impl FnMut(std::ops::Range<usize>, Matrix, &mut [f32])) {
        let n = self.targets.len();
        let mut logits = vec![0.0; self.chunk_rows.min(n) * self.vocab];
        for start in (0..n).step_by(self.chunk_rows) {
            let rows = start..(start + self.chunk_rows).min(n);
            let hidden = &self.hidden[start * self.d_model..];
            let hidden = Matrix::new(hidden, rows.len(), self.d_model, self.d_model);
            let logits = &mut logits[..rows.len() * self.vocab];
            threaded_product(
                logits,
                false,
                hidden,
                self.weight().transposed(),
                self.precision,
            );
            each(rows, hidden, logits);
        }
    }

    fn weight(&self) -> Matrix<'a> {
        Matrix::new(self.weight, self.vocab, self.d_model, self.d_model)
    }
}

pub(super) fn forward(
    hidden: &FlexTensor,
    weight: &FlexTensor,
    targets: &FlexTensor,
    token_weights: &FlexTensor,
    options: &CrossEntropyOptions,
    wanted: Wanted,
) -> (FlexTensor, Formed) {
    let ([n, d_model], [full_vocab, _]) = (sizes(hidden), sizes(weight));
    let vocab = options.valid_vocab(full_vocab);
    let (hidden, weight) = (hidden.to_contiguous(), weight.to_contiguous());
    let hidden = hidden.as_slice::<f32>().expect("hidden is contiguous f32");
    let weight = weight.as_slice::<f32>().expect("weight is contiguous f32");
    let token_weights = token_weights.to_contiguous();
    let token_weights = token_weights
        .as_slice::<f32>()
        .expect("token weights are cast to f32");

    let active = (0..n)
        .filter(|&row| token_weights[row] != 0.0)
        .collect::<Vec<_>>();
    let weights = active
        .iter()
        .map(|&row| token_weights[row])
        .collect::<Vec<_>>();
    let targets = checked_targets(targets, &active, vocab);
    let gathered = (active.len() < n).then(|| gather(hidden, &active, d_model));
    let problem = Problem {
        hidden: gathered.as_deref().unwrap_or(hidden),
        weight,
        targets: &targets,
        d_model,
        vocab,
        chunk_rows: options.chunk_rows(n, vocab),
        precision: options.precision,
    };

    let scale = options.operand_scale(problem.chunk_rows);
    let mut loss = 0.0f64;
    let mut dh = Vec::with_capacity(if wanted.hidden { n * d_model } else { 0 });
    let mut dw = Vec::new();
    problem.for_each_chunk(|rows, hidden, logits| {
        let row_losses = logits
            .par_chunks_exact_mut(vocab)
            .zip(&targets[rows.clone()])
            .zip(&weights[rows.clone()])
            .map(|((logits, &target), &weight)| {
                let with_gradient = wanted.hidden || wanted.weight;
                vectorized(RowLoss {
                    logits,
                    target,
                    weight: weight * scale,
                    options,
                    with_gradient,
                })
            })
            .collect::<Vec<f64>>();
        loss += row_losses.iter().sum::<f64>() / f64::from(scale);
        let logits = Matrix::new(logits, rows.len(), vocab, vocab);
        if wanted.hidden {
            append_product(&mut dh, logits, problem.weight(), options.precision);
        }
        if wanted.weight && dw.is_empty() {
            dw = new_product(logits.transposed(), hidden, options.precision);
        } else if wanted.weight {
            threaded_product(
                &mut dw,
                true,
                logits.transposed(),
                hidden,
                options.precision,
            );
        }
    });
    if wanted.hidden && active.len() < n {
        dh = scatter(&dh, &active, n, d_model);
    }
    if wanted.weight {
        dw.resize(full_vocab * d_model, 0.0);
    }
    // Powers of two: exact, and no pass at all where the scale is 1.
    let formed = Formed {
        hidden: wanted
            .hidden
            .then(|| scaled(from_vec(dh, [n, d_model]), 1.0 / scale)),
        weight: wanted
            .weight
            .then(|| scaled(from_vec(dw, [full_vocab, d_model]), 1.0 / scale)),
    };
    (from_vec(vec![loss as f32], [1]), formed)
}

pub(super) fn logprobs(
    hidden: &FlexTensor,
    weight: &FlexTensor,
    targets: &FlexTensor,
    options: &CrossEntropyOptions,
) -> FlexTensor {
    let ([n, d_model], [full_vocab, _]) = (sizes(hidden), sizes(weight));
    let vocab = options.valid_vocab(full_vocab);
    let (hidden, weight) = (hidden.to_contiguous(), weight.to_contiguous());
    let targets = checked_targets(targets, &(0..n).collect::<Vec<_>>(), vocab);
    let problem = Problem {
        hidden: hidden.as_slice::<f32>().expect("hidden is contiguous f32"),
        weight: weight.as_slice::<f32>().expect("weight is contiguous f32"),
        targets: &targets,
        d_model,
        vocab,
        chunk_rows: options.chunk_rows(n, vocab),
        precision: options.precision,
    };
    let plain = CrossEntropyOptions {
        softcap: options.softcap,
        ..CrossEntropyOptions::default()
    };
    let mut logprobs = Vec::with_capacity(n);
    problem.for_each_chunk(|rows, _, logits| {
        let of_rows =
            logits
                .par_chunks_exact_mut(vocab)
                .zip(&targets[rows])
                .map(|(logits, &target)| {
                    let loss = RowLoss {
                        logits,
                        target,
                        weight: 1.0,
                        options: &plain,
                        with_gradient: false,
                    };
                    -vectorized(loss) as f32
                });
        logprobs.extend(of_rows.collect::<Vec<f32>>());
    });
    from_vec(logprobs, [n])
}

/// Targets of the given rows as indices.
fn checked_targets(targets: &FlexTensor, rows: &[usize], vocab: usize) -> Vec<usize> {
    let targets = targets.to_contiguous();
    let target = |row: usize| match targets.dtype() {
        DType::I32 => targets.as_slice::<i32>().map(|all| i64::from(all[row])),
        DType::I64 => targets.as_slice::<i64>().map(|all| all[row]),
        DType::U32 => targets.as_slice::<u32>().map(|all| i64::from(all[row])),
        other => panic!("cross_entropy: targets are {other:?}; they must be i32, i64 or u32"),
    };
    rows.iter()
        .map(|&row| {
            let target = target(row).expect("targets are contiguous");
            assert!(
                (0..vocab as i64).contains(&target),
                "cross_entropy: target {target} of row {row} is outside the vocabulary of {vocab}; \
                 give ignored rows the token weight 0"
            );
            target as usize
        })
        .collect()
}

fn gather(values: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
    rows.iter()
        .flat_map(|&row| &values[row * width..(row + 1) * width])
        .copied()
        .collect()
}

/// `n` rows, zero but for those given.
fn scatter(values: &[f32], rows: &[usize], n: usize, width: usize) -> Vec<f32> {
    let mut all = vec![0.0; n * width];
    for (values, &row) in values.chunks_exact(width).zip(rows) {
        all[row * width..(row + 1) * width].copy_from_slice(values);
    }
    all
}

fn sizes(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}

/// A finished gradient times a factor.
#[allow(clippy::float_cmp)] // exactly 1, as where the loss is what backward starts from
pub(super) fn scaled(mut gradient: FlexTensor, factor: f32) -> FlexTensor {
    if factor != 1.0 {
        gradient
            .storage_mut::<f32>()
            .par_chunks_mut(SCALE_BLOCK)
            .for_each(|values| values.iter_mut().for_each(|value| *value *= factor));
    }
    gradient
}
