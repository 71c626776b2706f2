//! Next-token prediction: over windows of a text in pretraining, over the answers of records in
//! fine-tuning.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_config::{KeyRng, stable_hash};
use sinterlm_data::{Batch, RowBatch, TrainWindows};
use sinterlm_losses::{Counts, CrossEntropyOptions};
use sinterlm_model::{CausalLm, ForwardCtx, PrefixCache};
use sinterlm_run::RowFacts;
use sinterlm_text::DeviceBatch;

use crate::config::{LossConfig, TrainerConfig};
use crate::error::TrainError;
use crate::figures::Figures;
use crate::objective::{At, Objective};
use crate::token_batches::TokenBatches;

/// Cross-entropy of the next token, the mean over the weights of a step's tokens; the objective of
/// pretraining and, over rows whose answers alone have weights, of instruction tuning.
#[derive(Debug)]
pub struct NextToken<S = TrainWindows> {
    source: S,
    rows: usize,
    micro_batches: u64,
    options: CrossEntropyOptions,
    neftune_alpha: f64,
    is_untrained: bool,
    prefix: Option<Prefix>,
    device: Device,
}

/// What frozen blocks make of all rows of data, with the number of each set's first row.
#[derive(Debug)]
struct Prefix {
    cache: Arc<PrefixCache>,
    firsts: Vec<usize>,
}

impl<S: TokenBatches> NextToken<S> {
    /// Trains on the batches of `source`, in the pieces that `config` names, on an autodiff `device`.
    pub fn new(source: S, config: &TrainerConfig, device: &Device) -> Self {
        Self {
            source,
            rows: config.micro_rows(),
            micro_batches: config.grad_accum_steps,
            options: CrossEntropyOptions::default(),
            neftune_alpha: 0.0,
            is_untrained: false,
            prefix: None,
            device: device.clone(),
        }
    }

    /// With further terms of the loss.
    #[must_use]
    pub fn with_loss(mut self, loss: &LossConfig) -> Self {
        self.options = loss.options();
        self.neftune_alpha = loss.neftune_alpha;
        self
    }

    /// Says whether the weights were just drawn, so that the first loss is known to lie near
    /// ln(vocabulary).
    #[must_use]
    pub fn untrained(mut self, is_untrained: bool) -> Self {
        self.is_untrained = is_untrained;
        self
    }

    /// Begins behind the frozen blocks, with what `cache` holds of each row of data; `firsts` says at which
    /// number the rows of each set begin. For sources whose batches name the places of their rows.
    #[must_use]
    pub fn with_prefix(mut self, cache: Arc<PrefixCache>, firsts: Vec<usize>) -> Self {
        self.prefix = Some(Prefix { cache, firsts });
        self
    }

    /// Number of the micro-batch over the whole run.
    fn number(&self, at: At) -> u64 {
        at.step * self.micro_batches + at.micro
    }
}

impl<M: CausalLm, S: TokenBatches> Objective<M> for NextToken<S> {
    type Batch = RowBatch;

    fn batch(&self, at: At) -> Result<RowBatch, TrainError> {
        let batch = self.source.batch(self.number(at), self.rows);
        batch.ok_or(TrainError::DataEnded { step: at.step + 1 })
    }

    fn rows(&self, batch: &RowBatch) -> Vec<RowFacts> {
        let batch = &batch.batch;
        let ids = batch.ids.chunks_exact(batch.seq);
        let rows = ids.zip(batch.weights.chunks_exact(batch.seq)).enumerate();
        rows.map(|(row, (ids, weights))| RowFacts {
            row,
            trained_tokens: weights.iter().filter(|&&weight| weight > 0.0).count(),
            ids: ids.to_vec(),
            ..RowFacts::default()
        })
        .collect()
    }

    fn locate(&self, at: At, rows: &mut [RowFacts]) {
        self.source.locate(self.number(at), rows);
    }

    fn counts(&self, batch: &RowBatch) -> Counts {
        Counts::of_tokens(batch.batch.token_count())
    }

    fn loss(
        &self,
        model: &M,
        batch: &RowBatch,
        step: &Counts,
        ctx: &ForwardCtx,
        _figures: &mut Figures,
    ) -> Tensor<1> {
        let mut on_device = DeviceBatch::new(&batch.batch, &self.device);
        if let Some(Prefix { cache, firsts }) = &self.prefix {
            let rows = batch.places.iter().map(|places| {
                let numbers = places.iter().map(|place| firsts[place.set] + place.row);
                numbers.collect::<Vec<_>>()
            });
            on_device.tokens = cache.attach(on_device.tokens, rows);
        }
        if let Some(key) = ctx.dropout_key.filter(|_| self.neftune_alpha > 0.0) {
            let [_, d_model] = model.head().linear.weight.dims();
            let noise = neftune_noise(&batch.batch, d_model, self.neftune_alpha, key);
            let shape = [batch.batch.rows, batch.batch.seq, d_model];
            let noise = Tensor::from_data(TensorData::new(noise, shape), &self.device);
            on_device.tokens = on_device.tokens.with_noise(noise);
        }
        on_device
            .loss(model, &self.options, ctx)
            .share_of(step.tokens)
    }

    fn first_loss(&self, model: &M) -> Option<f64> {
        let choices = model.head().vocab_size() as f64;
        // A z-loss comes on top, by as much as the weights are off.
        (self.is_untrained && self.options.z_loss <= 0.0).then(|| choices.ln())
    }

    fn epochs(&self, steps: u64) -> Option<f64> {
        let rows = steps * self.micro_batches * self.rows as u64;
        Some(self.source.epochs(rows))
    }
}

/// Uniform noise from `-alpha / √(L·d_model)` to its negative, `L` being the tokens of a row of data:
/// of each segment of a packed row its own. `[rows, seq, d_model]`, 0 at padding.
fn neftune_noise(batch: &Batch, d_model: usize, alpha: f64, key: u64) -> Vec<f32> {
    let mut rng = KeyRng::new(key ^ stable_hash(b"neftune"));
    let mut noise = vec![0.0; batch.rows * batch.seq * d_model];
    for row in 0..batch.rows {
        let tokens = batch.lengths[row] as usize;
        let segments = &batch.segments[row * batch.seq..][..tokens];
        let mut at = row * batch.seq;
        for segment in segments.chunk_by(|a, b| a == b) {
            let most = alpha / ((segment.len() * d_model) as f64).sqrt();
            let values = &mut noise[at * d_model..(at + segment.len()) * d_model];
            values.fill_with(|| (most * (2.0 * f64::from(rng.next_f32()) - 1.0)) as f32);
            at += segment.len();
        }
    }
    noise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_scaled_by_the_tokens_of_each_segment_and_leaves_padding_alone() {
        let mut batch = Batch::padded(2, 6, 0);
        batch.lengths = vec![6, 3];
        batch.segments[2..6].fill(1);
        let noise = neftune_noise(&batch, 16, 4.0, 7);
        let largest = |tokens: std::ops::Range<usize>| {
            let values = noise[16 * tokens.start..16 * tokens.end].iter();
            f64::from(values.fold(0.0_f32, |most, value| most.max(value.abs())))
        };
        for (tokens, len) in [(0..2, 2.0), (2..6, 4.0), (6..9, 3.0)] {
            let bound = 4.0 / f64::sqrt(16.0 * len);
            let found = largest(tokens.clone());
            assert!(
                found <= bound && found > 0.7 * bound,
                "{tokens:?}: {found} of {bound}"
            );
        }
        assert!(largest(9..12) < 1e-9, "padding");
        assert_eq!(noise, neftune_noise(&batch, 16, 4.0, 7));
        assert_ne!(noise, neftune_noise(&batch, 16, 4.0, 8));
    }
}
