//! Next-token prediction: over windows of a text in pretraining, over the answers of records in
//! fine-tuning.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use sinterlm_data::{RowBatch, TrainWindows};
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
            is_untrained: false,
            prefix: None,
            device: device.clone(),
        }
    }

    /// With further terms of the loss.
    #[must_use]
    pub fn with_loss(mut self, loss: &LossConfig) -> Self {
        self.options = loss.options();
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
