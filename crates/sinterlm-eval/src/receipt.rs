//! Whether a written copy is still the same model: ids of prompts, logits and greedy texts beside those
//! of its source. What was written and where is left to the caller.

use std::fmt;
use std::ops::ControlFlow;

use burn::tensor::Device;
use serde::Serialize;
use sinterlm_config::Seed;
use sinterlm_model::{
    CausalLm, ForwardCtx, ModelError, Request, SampleConfig, TokenBatch, generate,
};

/// Texts of different kinds for [`Receipt::compare`]: prose, code, numbers, other scripts, white space.
pub const RECEIPT_PROMPTS: [&str; 5] = [
    "Once upon a time there was a little girl who lived near the sea. One day she",
    "fn main() {\n    let total: u32 = (1..=10).filter(|n| n % 2 == 0).sum();\n",
    "In 2024 the price rose by 3.75% to $1,299.00; the year before it was",
    "Der Fuchs läuft über die Straße. 狐は道を渡った。 Ёжик \u{1f98a} said: \"no!\" <|endoftext|>",
    "  Two  spaces,\ta tab,\n\nan empty line   ",
];

/// Least correlation of a rounded copy's logits with the source's. Weights at the wrong places give
/// about 0; the coarsest rounding seen, Q4_0 made of a model that was Q4_1 before, gave 0.91.
const LEAST_CORRELATION: f64 = 0.5;

/// A prompt as the source's tokenizer and the copy's read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptPair {
    /// The prompt, or what it is, for the receipt.
    pub text: String,
    /// Its ids by the source's tokenizer.
    pub source_ids: Vec<u32>,
    /// Its ids by the copy's.
    pub copy_ids: Vec<u32>,
}

/// What a copy owes its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// The same numbers: nothing may differ.
    Exact,
    /// Weights of fewer bits: differences are reported, and only unrelated logits are a fault.
    Rounded,
}

/// One prompt of a [`Receipt`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptReceipt {
    /// The prompt.
    pub text: String,
    /// Tokens that both models read.
    pub tokens: usize,
    /// Whether both tokenizers give the same ids.
    pub ids_equal: bool,
    /// Largest difference of a logit.
    pub max_difference: f64,
    /// Mean difference of logits.
    pub mean_difference: f64,
    /// Greedy tokens that are equal before the first one that is not.
    pub greedy_equal: usize,
    /// Greedy tokens that were compared.
    pub greedy_tokens: usize,
}

/// A model's copy beside its source.
///
/// Differences are absolute values over all logits of all positions of the prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Receipt {
    /// What was demanded.
    pub fidelity: Fidelity,
    /// Whether there is no fault.
    pub passed: bool,
    /// What is wrong, in words.
    pub faults: Vec<String>,
    /// Largest difference of a logit.
    pub max_difference: f64,
    /// Mean difference of logits.
    pub mean_difference: f64,
    /// Mean spread of a position's logits in the source (their standard deviation), to hold the
    /// differences against.
    pub spread: f64,
    /// Mean correlation of a position's logits, 1 where they differ by no more than scale and offset.
    pub correlation: f64,
    /// Mean Kullback-Leibler divergence of the copy's predictions from the source's, nats a token.
    pub mean_kl: f64,
    /// Share of positions whose likeliest next token is the same.
    pub likeliest_equal: f64,
    /// Share of the greedy tokens that are equal before the first one of a prompt that is not.
    pub greedy_agreement: f64,
    /// Each prompt.
    pub prompts: Vec<PromptReceipt>,
}

/// How two models are compared.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// What both read.
    pub prompts: &'a [PromptPair],
    /// How equal the copy has to be.
    pub fidelity: Fidelity,
    /// Most tokens that each prompt is continued by.
    pub greedy_tokens: usize,
}

impl Receipt {
    /// Reads prompts with both models and continues them greedily by `greedy_tokens`.
    ///
    /// Logits are compared on the source's ids, cut to what leaves room in the context for the
    /// continuation. `source`, `copy` and `device` without autodiff.
    ///
    /// # Errors
    /// [`ModelError::LogitsNotFinite`] and [`ModelError::TokenOutOfRange`], also where only the copy
    /// is at fault; [`ModelError::EmptyPrompt`].
    ///
    /// # Panics
    /// If there is no prompt.
    pub fn compare<S: CausalLm, C: CausalLm>(
        source: &S,
        copy: &C,
        by: &Comparison<'_>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let (prompts, fidelity) = (by.prompts, by.fidelity);
        assert!(!prompts.is_empty(), "compare: there is nothing to read");
        let context = source.max_seq_len().min(copy.max_seq_len());
        let greedy_tokens = by.greedy_tokens.min(context / 2).max(1);
        let mut sums = Sums::default();
        let mut compared = Vec::with_capacity(prompts.len());
        for pair in prompts {
            let len = pair.source_ids.len().min(context - greedy_tokens);
            let ids = &pair.source_ids[..len];
            let (ours, theirs) = (
                greedy(source, ids, greedy_tokens)?,
                greedy(copy, ids, greedy_tokens)?,
            );
            let here = Sums::over(&logits(source, ids, device)?, &logits(copy, ids, device)?);
            let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b);
            compared.push(PromptReceipt {
                text: pair.text.clone(),
                tokens: len,
                ids_equal: pair.source_ids == pair.copy_ids,
                max_difference: here.max,
                mean_difference: here.difference / here.logits as f64,
                greedy_equal: same.count(),
                greedy_tokens: ours.len().max(theirs.len()),
            });
            sums.add(&here);
        }
        let vocabularies = [source.head(), copy.head()].map(|head| head.vocab_size());
        let mut receipt = sums.receipt(fidelity, compared);
        receipt.faults = receipt.find_faults(vocabularies);
        receipt.passed = receipt.faults.is_empty();
        Ok(receipt)
    }

    fn find_faults(&self, [source, copy]: [usize; 2]) -> Vec<String> {
        let mut faults = Vec::new();
        if source != copy {
            faults.push(format!("the copy has {copy} tokens, the source {source}"));
        }
        for prompt in self.prompts.iter().filter(|prompt| !prompt.ids_equal) {
            let text = &prompt.text;
            faults.push(format!("the copy's tokenizer gives other ids for {text:?}"));
        }
        match self.fidelity {
            Fidelity::Exact if self.max_difference != 0.0 || self.greedy_agreement < 1.0 => {
                let largest = self.max_difference;
                faults.push(format!(
                    "logits differ by up to {largest:.3e}, and must be equal"
                ));
            }
            Fidelity::Rounded if self.correlation < LEAST_CORRELATION => {
                let found = self.correlation;
                faults.push(format!(
                    "logits have a correlation of {found:.2}, which is no rounding"
                ));
            }
            _ => {}
        }
        faults
    }
}

/// A table of the prompts, the figures over all, and the faults.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>6} {:>5} {:>10} {:>10} {:>8}",
            "prompt", "tokens", "ids", "max diff", "mean diff", "greedy"
        )?;
        for prompt in &self.prompts {
            let text: String = prompt.text.escape_debug().take(24).collect();
            let ids = if prompt.ids_equal { "equal" } else { "DIFFER" };
            let greedy = format!("{}/{}", prompt.greedy_equal, prompt.greedy_tokens);
            writeln!(
                f,
                "{text:<24} {:>6} {ids:>5} {:>10.3e} {:>10.3e} {greedy:>8}",
                prompt.tokens, prompt.max_difference, prompt.mean_difference
            )?;
        }
        write!(
            f,
            "all: max {:.3e}, mean {:.3e} (spread {:.2}), correlation {:.4}, divergence {:.2e} nats, \
             likeliest token equal {:.1} %, greedy {:.1} %",
            self.max_difference,
            self.mean_difference,
            self.spread,
            self.correlation,
            self.mean_kl,
            100.0 * self.likeliest_equal,
            100.0 * self.greedy_agreement
        )?;
        for fault in &self.faults {
            write!(f, "\nfault: {fault}")?;
        }
        Ok(())
    }
}

/// Logits of all positions, `[tokens, vocab]`, on the host.
struct HostLogits {
    values: Vec<f32>,
    vocab: usize,
}

fn logits<M: CausalLm>(model: &M, ids: &[u32], device: &Device) -> Result<HostLogits, ModelError> {
    let ctx = ForwardCtx::default();
    let hidden = model.hidden(&TokenBatch::dense(ids, 1, device), &ctx, None);
    let [_, seq, d_model] = hidden.dims();
    let logits = model.logits(hidden.reshape([seq, d_model]), &ctx); // [seq, vocab]
    let vocab = logits.dims()[1];
    let values: Vec<f32> = logits
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .expect("just converted to f32");
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(ModelError::LogitsNotFinite {
            position: at / vocab,
        }),
        None => Ok(HostLogits { values, vocab }),
    }
}

fn greedy<M: CausalLm>(model: &M, ids: &[u32], tokens: usize) -> Result<Vec<u32>, ModelError> {
    let request = Request {
        prompt: ids.to_vec(),
        ..Request::default()
    };
    let config = SampleConfig::greedy(tokens);
    let go_on = |_, _| ControlFlow::Continue(());
    let done = generate(model, &[request], &config, Seed(0), go_on)?;
    Ok(done[0].tokens.iter().map(|token| token.id).collect())
}

/// Sums over positions.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    logits: usize,
    positions: usize,
    max: f64,
    difference: f64,
    spread: f64,
    correlation: f64,
    kl: f64,
    likeliest_equal: usize,
}

impl Sums {
    /// Compares the tokens that both vocabularies have.
    fn over(source: &HostLogits, copy: &HostLogits) -> Self {
        let vocab = source.vocab.min(copy.vocab);
        let mut sums = Self::default();
        let rows = source.values.chunks_exact(source.vocab);
        for (ours, theirs) in rows.zip(copy.values.chunks_exact(copy.vocab)) {
            sums.add_row(&ours[..vocab], &theirs[..vocab]);
        }
        sums
    }

    fn add_row(&mut self, ours: &[f32], theirs: &[f32]) {
        self.positions += 1;
        self.logits += ours.len();
        let count = ours.len() as f64;
        let mean = |row: &[f32]| row.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let means = [mean(ours), mean(theirs)];
        let (mut square, mut their_square, mut product) = (0.0, 0.0, 0.0);
        let (largest, log_sum) = log_sum_exp(ours);
        let (their_largest, their_log_sum) = log_sum_exp(theirs);
        self.likeliest_equal += usize::from(largest == their_largest);
        let mut kl = 0.0;
        for (x, y) in ours.iter().zip(theirs) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            square += (x - means[0]).powi(2);
            their_square += (y - means[1]).powi(2);
            product += (x - means[0]) * (y - means[1]);
            self.max = self.max.max((x - y).abs());
            self.difference += (x - y).abs();
            let logprob = x - log_sum;
            kl += logprob.exp() * (logprob - (y - their_log_sum));
        }
        self.kl += kl.max(0.0); // below zero by rounding only
        self.spread += (square / count).sqrt();
        let both = (square * their_square).sqrt();
        self.correlation += if both > 0.0 {
            product / both
        } else if square.max(their_square) > 0.0 {
            0.0
        } else {
            1.0 // logits that are all alike say nothing, and do so in both
        };
    }

    fn add(&mut self, other: &Self) {
        self.logits += other.logits;
        self.positions += other.positions;
        self.max = self.max.max(other.max);
        self.difference += other.difference;
        self.spread += other.spread;
        self.correlation += other.correlation;
        self.kl += other.kl;
        self.likeliest_equal += other.likeliest_equal;
    }

    fn receipt(&self, fidelity: Fidelity, prompts: Vec<PromptReceipt>) -> Receipt {
        let positions = self.positions as f64;
        let equal: usize = prompts.iter().map(|prompt| prompt.greedy_equal).sum();
        let greedy: usize = prompts.iter().map(|prompt| prompt.greedy_tokens).sum();
        Receipt {
            fidelity,
            passed: false,
            faults: Vec::new(),
            max_difference: self.max,
            mean_difference: self.difference / self.logits as f64,
            spread: self.spread / positions,
            correlation: self.correlation / positions,
            mean_kl: self.kl / positions,
            likeliest_equal: self.likeliest_equal as f64 / positions,
            greedy_agreement: equal as f64 / greedy as f64,
            prompts,
        }
    }
}

/// The place of the largest logit, and the logarithm of the sum of all exponentials.
fn log_sum_exp(logits: &[f32]) -> (usize, f64) {
    let mut largest = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[largest] {
            largest = at;
        }
    }
    let top = f64::from(logits[largest]);
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - top).exp()).sum();
    (largest, top + sum.ln())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use sinterlm_model::{Gpt, GptConfig, Preset};

    use super::*;

    /// A tiny model whose parameter `path` has `change` added to its first value.
    fn model(changed: &str, change: f32) -> Gpt {
        let config = GptConfig {
            max_seq_len: 24,
            ..Preset::Tiny.config()
        };
        let made = config.init_from(&Device::flex(), |spec| {
            let mut values = spec.draw(Seed(3));
            if spec.path == changed {
                values[0] += change;
            }
            Ok::<_, Infallible>(values)
        });
        made.expect("nothing can fail")
    }

    fn pairs() -> Vec<PromptPair> {
        let ids =
            |seed: u32, len: u32| -> Vec<u32> { (0..len).map(|i| (i * seed) % 500).collect() };
        [(7, 5), (31, 40)]
            .map(|(seed, len)| PromptPair {
                text: format!("number {seed}"),
                source_ids: ids(seed, len),
                copy_ids: ids(seed, len),
            })
            .into()
    }

    fn compare(copy: &Gpt, pairs: &[PromptPair], fidelity: Fidelity) -> Receipt {
        let source = model("", 0.0);
        let by = Comparison {
            prompts: pairs,
            fidelity,
            greedy_tokens: 8,
        };
        Receipt::compare(&source, copy, &by, &Device::flex()).unwrap()
    }

    #[test]
    fn the_same_weights_pass_without_any_difference() {
        let receipt = compare(&model("", 0.0), &pairs(), Fidelity::Exact);
        assert!(receipt.passed, "{receipt}");
        assert_eq!((receipt.max_difference, receipt.mean_kl), (0.0, 0.0));
        assert_eq!(
            (receipt.likeliest_equal, receipt.greedy_agreement),
            (1.0, 1.0)
        );
        assert!(receipt.spread > 0.0);
        let tokens: Vec<usize> = receipt.prompts.iter().map(|p| p.tokens).collect();
        assert_eq!(
            tokens,
            [5, 16],
            "a long prompt leaves room for the continuation"
        );
    }

    #[test]
    fn one_changed_value_of_one_tensor_fails_an_exact_copy() {
        for path in [
            "blocks.1.mlp.down.weight",
            "norm.weight",
            "blocks.0.attn.k.weight",
        ] {
            let receipt = compare(&model(path, 1e-2), &pairs(), Fidelity::Exact);
            assert!(
                !receipt.passed && receipt.max_difference > 0.0,
                "{path}: {receipt}"
            );
            assert!(receipt.faults[0].contains("must be equal"), "{receipt}");
            let rounded = compare(&model(path, 1e-2), &pairs(), Fidelity::Rounded);
            assert!(rounded.passed, "{path}: {rounded}");
        }
    }

    #[test]
    fn another_models_weights_are_no_rounding() {
        let source = model("", 0.0);
        let other = source.config().init(Seed(4), &Device::flex());
        let receipt = compare(&other, &pairs(), Fidelity::Rounded);
        assert!(
            receipt.faults[0].contains("which is no rounding"),
            "{receipt}"
        );
        assert!(receipt.mean_kl > 0.0);
    }

    #[test]
    fn other_ids_of_a_prompt_are_named() {
        let mut pairs = pairs();
        pairs[1].copy_ids[3] += 1;
        let receipt = compare(&model("", 0.0), &pairs, Fidelity::Rounded);
        assert_eq!(
            receipt.faults,
            ["the copy's tokenizer gives other ids for \"number 31\""]
        );
        assert!(receipt.to_string().contains("DIFFER"), "{receipt}");
    }

    #[test]
    fn a_copy_whose_logits_are_no_numbers_is_an_error() {
        let copy = model("norm.weight", f32::NAN);
        let source = model("", 0.0);
        let device = Device::flex();
        let by = Comparison {
            prompts: &pairs(),
            fidelity: Fidelity::Rounded,
            greedy_tokens: 8,
        };
        let refused = Receipt::compare(&source, &copy, &by, &device);
        assert!(matches!(refused, Err(ModelError::LogitsNotFinite { .. })));
    }

    #[test]
    fn the_divergence_is_that_of_the_formula() {
        let mut sums = Sums::default();
        // Odds 1:1 against 3:1: 0.5 ln(0.5/0.75) + 0.5 ln(0.5/0.25).
        sums.add_row(&[0.0, 0.0], &[3f32.ln(), 0.0]);
        let expected = 0.5 * (0.5f64 / 0.75).ln() + 0.5 * (0.5f64 / 0.25).ln();
        assert!((sums.kl - expected).abs() < 1e-7, "{}", sums.kl);
        let mut sums = Sums::default();
        // Scale and offset leave a correlation of 1; (1, 0, -1) with (1, -2, 1) has none.
        sums.add_row(&[1.0, 0.0, -1.0], &[7.0, 5.0, 3.0]);
        sums.add_row(&[1.0, 0.0, -1.0], &[1.0, -2.0, 1.0]);
        assert!(
            (sums.correlation - 1.0).abs() < 1e-12,
            "{}",
            sums.correlation
        );
        assert_eq!((sums.positions, sums.logits), (2, 6));
    }
}
