//! Cross-entropy of the next token, over logits or straight from the hidden states.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use sinterlm_kernels as kernels;
pub use sinterlm_kernels::CrossEntropyOptions;

use crate::total::LossSum;

/// Cross-entropy of each token, `−ln softmax(logits)[target]`, with smoothing and z-loss.
///
/// With label smoothing ε the target is `1 − ε` plus `ε / vocab` on every token (Szegedy et al.
/// 2016, <https://arxiv.org/abs/1512.00567>); the z-loss adds `z · ln²Z` with `Z` the softmax
/// denominator (Chowdhery et al. 2022, <https://arxiv.org/abs/2204.02311>, section 5).
///
/// # Shapes
/// - `logits`: `[tokens, vocab]`
/// - `targets`: `[tokens]`, each below `vocab`
/// - returns `[tokens]`, nats
pub fn token_cross_entropy(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    options: &CrossEntropyOptions,
) -> Tensor<1> {
    let [tokens, width] = logits.dims();
    assert_eq!(
        targets.dims(),
        [tokens],
        "cross_entropy: targets must be [tokens] like logits"
    );
    let vocab = options.valid_vocab.unwrap_or(width);
    let logits = if vocab < width {
        logits.slice([0..tokens, 0..vocab])
    } else {
        logits
    };
    let logprobs = log_softmax(logits.clone(), 1);
    let picked = logprobs
        .clone()
        .gather(1, targets.clone().reshape([tokens, 1]));
    let mut loss = picked.clone().reshape([tokens]).neg();
    let smoothing = f64::from(options.label_smoothing);
    if smoothing > 0.0 {
        let uniform = logprobs.mean_dim(1).reshape([tokens]).neg();
        loss = loss.mul_scalar(1.0 - smoothing) + uniform.mul_scalar(smoothing);
    }
    if options.z_loss > 0.0 {
        let target_logits = logits.gather(1, targets.reshape([tokens, 1]));
        let ln_z = (target_logits - picked).reshape([tokens]);
        loss = loss + ln_z.square().mul_scalar(f64::from(options.z_loss));
    }
    loss
}

/// Weighted sum of [`token_cross_entropy`]; for logits that exist anyway.
///
/// # Shapes
/// - `logits`: `[tokens, vocab]`; `targets`, `weights`: `[tokens]`
/// - `count`: the sum of `weights`, known on the host
pub fn cross_entropy(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Tensor<1>,
    count: f64,
    options: &CrossEntropyOptions,
) -> LossSum {
    // A row of weight 0 may carry any target; read it as token 0 so that the look-up stays inside.
    let targets = targets.mask_fill(weights.clone().equal_scalar(0.0), 0);
    let losses = token_cross_entropy(logits, targets, options);
    LossSum::new((losses * weights).sum(), count)
}

/// Cross-entropy of `hidden · weightᵀ` without ever holding the logits as a whole, in the loss or
/// in its backward pass.
///
/// # Shapes
/// - `hidden`: `[batch, seq, d_model]`; `weight`: `[vocab, d_model]`
/// - `targets`, `weights`: `[batch, seq]`; a token of weight 0 is ignored whatever its target
/// - `count`: the sum of `weights`, known on the host
///
/// # Panics
/// If the shapes disagree.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use sinterlm_losses::{CrossEntropyOptions, linear_cross_entropy};
///
/// let device = Device::flex();
/// let hidden = Tensor::<3>::zeros([1, 2, 4], &device);
/// let weight = Tensor::<2>::ones([8, 4], &device);
/// let targets = Tensor::<2, Int>::from_data([[3, 5]], &device);
/// let weights = Tensor::<2>::ones([1, 2], &device);
/// let options = CrossEntropyOptions::default();
/// let loss = linear_cross_entropy(hidden, weight, targets, weights, 2.0, &options);
/// let mean = loss.read().mean().unwrap();
/// assert!((mean - 8f64.ln()).abs() < 1e-6); // no information yet: ln(vocab)
/// ```
pub fn linear_cross_entropy(
    hidden: Tensor<3>,
    weight: Tensor<2>,
    targets: Tensor<2, Int>,
    weights: Tensor<2>,
    count: f64,
    options: &CrossEntropyOptions,
) -> LossSum {
    let [batch, seq, d_model] = hidden.dims();
    assert_eq!(
        targets.dims(),
        [batch, seq],
        "linear_cross_entropy: targets must be [batch, seq]"
    );
    assert_eq!(
        weights.dims(),
        [batch, seq],
        "linear_cross_entropy: weights must be [batch, seq]"
    );
    let tokens = batch * seq;
    let sum = kernels::linear_cross_entropy(
        hidden.reshape([tokens, d_model]),
        weight,
        targets.reshape([tokens]),
        weights.reshape([tokens]),
        options,
    );
    LossSum::new(sum, count)
}
