//! Evaluation and samples as hooks of the trainer.

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_data::{Tokenizer, ValidWindows};
use sinterlm_eval::{Perplexity, TextSize, loss_over};
use sinterlm_model::{CausalLm, ForwardCtx, Precision, SampleConfig};
use sinterlm_run::SampleText;
use sinterlm_text::{Continuing, continue_texts};
use sinterlm_trainer::{Evaluate, Sample, Scope};

/// The figures that [`evaluator`] gives where the text has them.
pub(crate) const METRICS: [&str; 4] = [
    "valid/loss",
    "valid/perplexity",
    "valid/bits_per_byte",
    "valid/perplexity_per_gpt2_token",
];

/// Those that need the size of the text, and so the whole of it.
pub(crate) const WHOLE_TEXT: [&str; 2] = ["valid/bits_per_byte", "valid/perplexity_per_gpt2_token"];

/// How a validation text is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoring {
    /// Rows of one batch.
    pub rows: usize,
    /// Most rows scored during the run; 0 = all, as at its end.
    pub max_rows: u64,
    /// Number format of the matrix products.
    pub precision: Precision,
}

impl Scoring {
    /// Rows scored during the run, of so many; whole batches.
    pub(crate) fn rows_during(&self, all: u64) -> u64 {
        match self.max_rows {
            0 => all,
            most => most.next_multiple_of(self.rows as u64).min(all),
        }
    }
}

/// Scores validation windows on a device without autodiff: part of them during the run, all at the
/// end. Part of a text has no known size in bytes, so that its figures are those of tokens alone.
pub fn evaluator<'a, M: CausalLm>(
    windows: ValidWindows,
    scoring: Scoring,
    device: Device,
) -> Evaluate<'a, M> {
    Box::new(move |model: &M, scope: Scope| {
        let (rows, max_rows) = (scoring.rows, scoring.max_rows);
        let all = scope == Scope::Final || max_rows == 0 || max_rows >= windows.rows();
        let batches = if all {
            usize::MAX
        } else {
            (max_rows as usize).div_ceil(rows)
        };
        let ctx = ForwardCtx::evaluation(scoring.precision);
        let total = loss_over(model, windows.batches(rows).take(batches), &ctx, &device);
        let header = windows.store().header();
        let text = if all {
            TextSize {
                bytes: header.text_bytes,
                gpt2_tokens: header.gpt2_tokens.unwrap_or_default(),
            }
        } else {
            TextSize::default()
        };
        let score = Perplexity { total, text };
        let values = [
            score.loss(),
            score.perplexity(),
            score.bits_per_byte(),
            score.perplexity_per_gpt2_token(),
        ];
        let named = METRICS.into_iter().zip(values);
        Ok(named
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect())
    })
}

/// Which samples are written during a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Beginnings of documents, which are continued.
    pub prompts: Vec<String>,
    /// How tokens are chosen.
    pub config: SampleConfig,
    /// The seed of the draws.
    pub seed: Seed,
}

/// Continues each prompt.
pub fn sampler<'a, M: CausalLm>(sampling: Sampling, tokenizer: Tokenizer) -> Sample<'a, M> {
    let Sampling {
        prompts,
        config,
        seed,
    } = sampling;
    Box::new(move |model: &M| {
        let mut texts = vec![String::new(); prompts.len()];
        let continuing = Continuing {
            config: config.clone(),
            seed,
            ..Continuing::new(&tokenizer)
        };
        let written = continue_texts(model, &prompts, &continuing, |number, piece| {
            texts[number].push_str(piece);
        });
        if let Err(error) = written {
            // A sample is no reason to end a run.
            texts.fill(format!("(no text: {error})"));
        }
        let samples = prompts.iter().cloned().zip(texts);
        samples
            .map(|(prompt, text)| SampleText { prompt, text })
            .collect()
    })
}
