//! The output layer and its loss in one operation, so that the logits of a batch never exist as a
//! whole: public functions and options. The forms stand in `composed` and `native`.

mod composed;
#[cfg(feature = "flex")]
mod logprobs_backward;
#[cfg(feature = "flex")]
mod native;
#[cfg(feature = "flex")]
mod passes;
#[cfg(feature = "flex")]
mod row;

use burn::tensor::{Int, Tensor};

use crate::{MatmulPrecision, Route};

/// Logits held at a time when [`CrossEntropyOptions::chunk_rows`] is unset: 100 MiB in f32.
const CHUNK_LOGITS: usize = 25 << 20;

/// Rows at which larger chunks stop being faster: the weight's gradient, read and written once a
/// chunk, is then small beside the products.
const CHUNK_ROWS: usize = 512;

/// How [`linear_cross_entropy`] and [`linear_logprobs`] compute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropyOptions {
    /// Share ε of the target mass spread evenly over the valid vocabulary, in `[0, 1)`
    /// (Szegedy et al. 2016, <https://arxiv.org/abs/1512.00567>, section 7).
    pub label_smoothing: f32,
    /// Weight of `(ln Σ exp logits)²`, which keeps logits near zero
    /// (Chowdhery et al. 2022, <https://arxiv.org/abs/2204.02311>, section 5: 1e-4).
    pub z_loss: f32,
    /// Columns of the vocabulary that exist; those beyond are padding and take no part.
    pub valid_vocab: Option<usize>,
    /// Rows computed at a time; by default as many as give 100 MiB of f32 logits, 64 to 512, in
    /// chunks of one size.
    pub chunk_rows: Option<usize>,
    /// What the operands of the products are rounded to; logits, softmax and loss stay in f32.
    pub precision: MatmulPrecision,
    /// Soft cap `c` on the logits, before everything else: `c·tanh(logit/c)` (Gemma 2).
    pub softcap: Option<f32>,
}

impl CrossEntropyOptions {
    /// Power of two on the gradients of the logits of a chunk while they are operands in half
    /// precision, whose smallest number is 6e-8: a probability that counts lies above it, and the sum
    /// of a chunk's rows stays below the largest, 65504.
    fn operand_scale(&self, chunk_rows: usize) -> f32 {
        const SUM: usize = 8192; // leaves a factor of 8 for hidden values, normalised, above 1
        match self.precision {
            MatmulPrecision::F16 => 2f32.powi((SUM / chunk_rows).max(1).ilog2() as i32),
            MatmulPrecision::F32 | MatmulPrecision::Bf16 => 1.0,
        }
    }

    fn valid_vocab(&self, vocab: usize) -> usize {
        let valid = self.valid_vocab.unwrap_or(vocab);
        assert!(
            0 < valid && valid <= vocab,
            "cross_entropy: valid_vocab is {valid}; it must be in 1..={vocab}, the rows of the weight"
        );
        valid
    }

    fn check_softcap(&self) {
        if let Some(cap) = self.softcap {
            assert!(cap > 0.0, "cross_entropy: softcap {cap} must be above 0");
        }
    }

    fn chunk_rows(&self, n: usize, valid_vocab: usize) -> usize {
        let chunk = self.chunk_rows.unwrap_or_else(|| {
            let most = (CHUNK_LOGITS / valid_vocab).clamp(64, CHUNK_ROWS);
            // A small rest would cost as many passes over the weight as a full chunk.
            n.div_ceil(n.div_ceil(most).max(1)).max(1)
        });
        assert!(chunk > 0, "cross_entropy: chunk_rows must be above 0");
        chunk
    }
}

/// Weighted sum over rows of the cross-entropy of `hidden·weightᵀ`, nats.
///
/// `Σᵢ wᵢ·(lseᵢ − (1 − ε)·xᵢ,target − ε·mean(xᵢ) + ζ·lseᵢ²)` with the logits `x`, their log-sum-exp
/// `lse`, smoothing ε and z-loss ζ. Computed in f32 (in f64 for f64 input), in chunks of rows; never
/// holds `[n, vocab]`. The gradients of `hidden` and `weight` are formed together with the loss when
/// they are tracked, and only scaled in the backward pass; token weights get none.
///
/// A row of token weight 0 is ignored, whatever its target; natively it costs nothing.
///
/// # Shapes
/// - `hidden`: `[n, d_model]`, float
/// - `weight`: `[vocab, d_model]`, dtype of `hidden`
/// - `targets`: `[n]`, in `0..valid_vocab` where the token weight is not 0
/// - `token_weights`: `[n]`, float
/// - returns `[1]`, f32 (f64 for f64 input)
///
/// # Panics
/// If shapes do not fit, or options are out of range. A target outside the vocabulary in a row of
/// weight other than 0 panics natively; the composed form, which does not read back from the device,
/// returns NaN.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use sinterlm_kernels::{CrossEntropyOptions, linear_cross_entropy};
///
/// let device = Device::flex();
/// let (hidden, weight) = (Tensor::ones([2, 4], &device), Tensor::zeros([10, 4], &device));
/// let targets = Tensor::<1, Int>::from_data([3, 7], &device);
/// let options = CrossEntropyOptions::default();
/// let sum = linear_cross_entropy(hidden, weight, targets, Tensor::ones([2], &device), &options);
/// assert!((sum.into_scalar::<f32>() - 2.0 * 10f32.ln()).abs() < 1e-6);
/// ```
pub fn linear_cross_entropy(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    token_weights: Tensor<1>,
    options: &CrossEntropyOptions,
) -> Tensor<1> {
    check_shapes(&hidden, &weight, &targets);
    options.check_softcap();
    assert_eq!(
        token_weights.dims(),
        targets.dims(),
        "linear_cross_entropy: token_weights must be [n] like targets"
    );
    assert!(
        (0.0..1.0).contains(&options.label_smoothing),
        "linear_cross_entropy: label_smoothing is {}; it must be in [0, 1)",
        options.label_smoothing
    );
    match Route::of(&hidden.device(), hidden.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => {
            native::linear_cross_entropy(hidden, weight, targets, token_weights, *options)
        }
        _ => {
            let precision = options.precision;
            let (hidden, weight) = (precision.operand(hidden), precision.operand(weight));
            composed::linear_cross_entropy(hidden, weight, targets, token_weights, options)
        }
    }
}

/// Log-probability of each row's target under `softmax(hidden·weightᵀ)`, nats.
///
/// Computed in f32 (in f64 for f64 input), in chunks like [`linear_cross_entropy`]; label smoothing
/// and z-loss play no part. With the upstream gradient `gᵢ` of row `i` the logits get
/// `gᵢ·(onehot(targetᵢ) − softmaxᵢ)`. The native form recomputes them chunk by chunk in its backward
/// pass, so neither pass holds `[n, vocab]`, and skips rows whose upstream gradient is 0: they cost
/// nothing and get none. The composed form keeps `[n, vocab]` on the tape when it is tracked; where
/// that is too much, take the log-probabilities without autodiff, differentiate the objective by
/// them alone, and pass its derivatives, negated, to [`linear_cross_entropy`] as token weights.
///
/// # Shapes
/// - `hidden`: `[n, d_model]`, float
/// - `weight`: `[vocab, d_model]`, dtype of `hidden`
/// - `targets`: `[n]`, in `0..valid_vocab` in every row; give masked rows any such id
/// - returns `[n]`, f32 (f64 for f64 input)
///
/// # Panics
/// If shapes do not fit, or options are out of range. A target outside the vocabulary panics
/// natively and gives NaN in the composed form.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use sinterlm_kernels::{CrossEntropyOptions, linear_logprobs};
///
/// let device = Device::flex();
/// let (hidden, weight) = (Tensor::ones([1, 4], &device), Tensor::zeros([10, 4], &device));
/// let targets = Tensor::<1, Int>::from_data([3], &device);
/// let logprobs = linear_logprobs(hidden, weight, targets, &CrossEntropyOptions::default());
/// assert!((logprobs.into_scalar::<f32>() + 10f32.ln()).abs() < 1e-6);
/// ```
pub fn linear_logprobs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: &CrossEntropyOptions,
) -> Tensor<1> {
    check_shapes(&hidden, &weight, &targets);
    options.check_softcap();
    let targets = targets.without_autodiff();
    match Route::of(&hidden.device(), hidden.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::linear_logprobs(hidden, weight, targets, *options),
        _ => {
            let precision = options.precision;
            let (hidden, weight) = (precision.operand(hidden), precision.operand(weight));
            composed::linear_logprobs(hidden, weight, targets, options)
        }
    }
}

fn check_shapes(hidden: &Tensor<2>, weight: &Tensor<2>, targets: &Tensor<1, Int>) {
    let ([n, d_model], [_, width]) = (hidden.dims(), weight.dims());
    assert_eq!(
        d_model, width,
        "cross_entropy: weight must be [vocab, d_model] with the d_model of hidden"
    );
    assert_eq!(
        targets.dims(),
        [n],
        "cross_entropy: targets must be [n] like the rows of hidden"
    );
    assert_eq!(
        hidden.dtype(),
        weight.dtype(),
        "cross_entropy: weight must have the dtype of hidden"
    );
}

#[cfg(test)]
mod logprobs_tests;
#[cfg(test)]
mod tests;
