//! Linear and cross-entropy of burn's own operations, in chunks of rows, for every backend. The
//! reference of the native form.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::CrossEntropyOptions;
use crate::dtype::computing_dtype;

/// Loss and those of its gradients that are wanted, in the computing dtype.
struct Parts {
    loss: Tensor<1>,
    hidden: Option<Tensor<2>>,
    weight: Option<Tensor<2>>,
}

/// One chunk of rows up to its softmax.
struct Chunk {
    logits: Tensor<2>, // [rows, valid_vocab]
    exponentials: Tensor<2>,
    partition: Tensor<2>, // [rows, 1], their sum
    log_sum: Tensor<2>,   // [rows, 1]
    index: Tensor<2, Int>,
    target_logits: Tensor<2>, // [rows, 1], NaN where the target is outside the vocabulary
}

pub(super) fn linear_cross_entropy(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    token_weights: Tensor<1>,
    options: &CrossEntropyOptions,
) -> Tensor<1> {
    let parts = forward(
        hidden.clone().without_autodiff(),
        weight.clone().without_autodiff(),
        targets.without_autodiff(),
        token_weights.without_autodiff(),
        options,
        [hidden.is_tracked(), weight.is_tracked()],
    );
    // A scalar whose value is the loss and whose derivatives are the gradients just computed.
    let dtype = computing_dtype(hidden.dtype());
    let operands = [(hidden, parts.hidden), (weight, parts.weight)];
    let product = |(operand, gradient): (Tensor<2>, Option<Tensor<2>>)| {
        Some((operand.cast(dtype) * gradient?).sum())
    };
    let carrier = operands.into_iter().filter_map(product).reduce(Tensor::add);
    match carrier {
        Some(carrier) => carrier.clone() - carrier.detach() + parts.loss,
        None => parts.loss,
    }
}

pub(super) fn linear_logprobs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: &CrossEntropyOptions,
) -> Tensor<1> {
    let ([n, _], [vocab, _]) = (hidden.dims(), weight.dims());
    let valid = options.valid_vocab(vocab);
    let dtype = computing_dtype(hidden.dtype());
    // Narrowed again for each chunk, so that a tape adds up the chunks' gradients in the wide dtype.
    let weight = weight.narrow(0, 0, valid).cast(dtype);
    let rows = options.chunk_rows(n, valid);
    let logprobs = (0..n)
        .step_by(rows)
        .map(|start| {
            let len = rows.min(n - start);
            let hidden = hidden.clone().narrow(0, start, len);
            let weight = weight.clone().cast(hidden.dtype());
            let targets = targets.clone().narrow(0, start, len);
            let chunk = Chunk::new(hidden, &weight, targets, options.softcap);
            (chunk.target_logits - chunk.log_sum).squeeze_dim(1)
        })
        .collect::<Vec<_>>();
    if logprobs.is_empty() {
        return Tensor::zeros([0], (&hidden.device(), dtype));
    }
    Tensor::cat(logprobs, 0)
}

fn forward(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    token_weights: Tensor<1>,
    options: &CrossEntropyOptions,
    [wants_hidden, wants_weight]: [bool; 2],
) -> Parts {
    let ([n, d_model], [vocab, _]) = (hidden.dims(), weight.dims());
    let valid = options.valid_vocab(vocab);
    let (device, stored) = (hidden.device(), hidden.dtype());
    let dtype = computing_dtype(stored);
    let weight = weight.narrow(0, 0, valid);
    let smoothing = f64::from(options.label_smoothing);
    let z_loss = f64::from(options.z_loss);
    let rows = options.chunk_rows(n, valid);
    let scale = f64::from(options.operand_scale(rows));

    let mut loss = Tensor::zeros([1], (&device, dtype));
    let mut dh = Vec::new();
    let mut dw = None;
    for start in (0..n).step_by(rows) {
        let len = rows.min(n - start);
        let h = hidden.clone().narrow(0, start, len);
        let w = token_weights
            .clone()
            .narrow(0, start, len)
            .cast(dtype)
            .unsqueeze_dim(1);
        let ignored = w.clone().equal_scalar(0.0);
        let targets = targets.clone().narrow(0, start, len);
        let chunk = Chunk::new(h.clone(), &weight, targets, options.softcap);

        let mut row_loss = chunk.log_sum.clone() - chunk.target_logits * (1.0 - smoothing);
        if smoothing > 0.0 {
            row_loss = row_loss - chunk.logits.clone().mean_dim(1) * smoothing;
        }
        row_loss = row_loss + chunk.log_sum.clone().square() * z_loss;
        loss = loss + (row_loss * w.clone()).mask_fill(ignored, 0.0).sum();

        if wants_hidden || wants_weight {
            let factor = (chunk.log_sum * (2.0 * z_loss) + 1.0) / chunk.partition;
            let target_mass = chunk.index.zeros_like().float().cast(dtype) - (1.0 - smoothing);
            let mut dlogits = (chunk.exponentials * factor - smoothing / valid as f64).scatter(
                1,
                chunk.index,
                target_mass,
                IndexingUpdateOp::Add,
            );
            if let Some(cap) = options.softcap {
                let slopes = (chunk.logits / f64::from(cap)).square().neg() + 1.0;
                dlogits = dlogits * slopes;
            }
            let dlogits = (dlogits * (w * scale)).cast(stored);
            if wants_hidden {
                dh.push(dlogits.clone().matmul(weight.clone()).cast(dtype));
            }
            if wants_weight {
                let part = dlogits.transpose().matmul(h).cast(dtype);
                let zeros = || Tensor::zeros([valid, d_model], (&device, dtype));
                dw = Some(dw.unwrap_or_else(zeros) + part);
            }
        }
    }
    let zeros = |rows| Tensor::zeros([rows, d_model], (&device, dtype));
    let dh = wants_hidden.then(|| {
        if dh.is_empty() {
            zeros(0)
        } else {
            Tensor::cat(dh, 0) / scale
        }
    });
    let dw = wants_weight.then(|| {
        let dw = dw.unwrap_or_else(|| zeros(valid)) / scale;
        if valid < vocab {
            Tensor::cat(vec![dw, zeros(vocab - valid)], 0)
        } else {
            dw
        }
    });
    Parts {
        loss,
        hidden: dh,
        weight: dw,
    }
}

impl Chunk {
    fn new(
        hidden: Tensor<2>,
        weight: &Tensor<2>,
        targets: Tensor<1, Int>,
        softcap: Option<f32>,
    ) -> Self {
        let dtype = computing_dtype(hidden.dtype());
        let valid = weight.dims()[0] as i64;
        let targets = targets.unsqueeze_dim::<2>(1);
        let outside = targets
            .clone()
            .lower_scalar(0)
            .bool_or(targets.clone().greater_equal_scalar(valid));
        let index = targets.clamp(0, valid - 1);

        let mut logits = hidden.matmul(weight.clone().transpose()).cast(dtype);
        if let Some(cap) = softcap.map(f64::from) {
            logits = (logits / cap).tanh() * cap;
        }
        // A constant to the gradient: it cancels in the sum's logarithm.
        let highest = logits.clone().max_dim(1).detach();
        let exponentials = (logits.clone() - highest.clone()).exp();
        let partition = exponentials.clone().sum_dim(1);
        let log_sum = partition.clone().log() + highest;
        let target_logits = logits
            .clone()
            .gather(1, index.clone())
            .mask_fill(outside, f64::NAN);
        Self {
            logits,
            exponentials,
            partition,
            log_sum,
            index,
            target_logits,
        }
    }
}
