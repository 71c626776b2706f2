//! Evaluation and samples as hooks of the trainer.

use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::{Tokenizer, ValidWindows};
use sinterlm::eval::{Perplexity, TextSize, loss_over};
use sinterlm::model::{CausalLm, ForwardCtx, Precision, SampleConfig};
use sinterlm::run::{EvalRecord, SampleText};
use sinterlm::trainer::{Evaluate, Sample, TrainError};

use sinterlm::text::{Continuing, continue_texts};

/// Scores the validation windows: `max_rows` of them during the run (0 = all), all at the end.
pub fn evaluator<'a, M: CausalLm>(
    windows: ValidWindows,
    rows: usize,
    max_rows: u64,
    precision: Precision,
    device: Device,
) -> Evaluate<'a, M> {
    Box::new(move |model: &M, end: bool| {
        let all = end || max_rows == 0 || max_rows >= windows.rows();
        let batches = if all {
            usize::MAX
        } else {
            (max_rows as usize).div_ceil(rows)
        };
        let ctx = ForwardCtx::evaluation(precision);
        let total = loss_over(model, windows.batches(rows).take(batches), &ctx, &device);
        let header = windows.store().header();
        // Part of the text has no known size in bytes: its figures are those of tokens alone.
        let text = if all {
            TextSize {
                bytes: header.text_bytes,
                gpt2_tokens: header.gpt2_tokens.unwrap_or_default(),
            }
        } else {
            TextSize::default()
        };
        let score = Perplexity { total, text };
        let named = [
            ("valid/loss", score.loss()),
            ("valid/perplexity", score.perplexity()),
            ("valid/bits_per_byte", score.bits_per_byte()),
            (
                "valid/perplexity_per_gpt2_token",
                score.perplexity_per_gpt2_token(),
            ),
        ];
        let figures: Vec<(String, f64)> = named
            .into_iter()
            .filter_map(|(name, v)| Some((name.to_owned(), v?)))
            .collect();
        let loss = score.loss().unwrap_or(f64::NAN);
        Ok::<_, TrainError>(EvalRecord {
            step: 0,
            tokens: 0,
            loss,
            figures,
        })
    })
}

/// Continues each prompt.
pub fn sampler<'a, M: CausalLm>(
    tokenizer: Tokenizer,
    prompts: Vec<String>,
    config: SampleConfig,
    seed: Seed,
    device: Device,
) -> Sample<'a, M> {
    Box::new(move |model: &M| {
        let mut texts = vec![String::new(); prompts.len()];
        let continuing = Continuing {
            config: config.clone(),
            seed,
            ..Continuing::new(&tokenizer, &device)
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
