//! Next-token prediction: over windows of a text in pretraining, over the answers of records in
//! fine-tuning.

use burn::tensor::{Device, Tensor};
use sinterlm_data::{Batch, TrainWindows};
use sinterlm_losses::{Counts, CrossEntropyOptions};
use sinterlm_model::{CausalLm, ForwardCtx};
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
    device: Device,
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

    /// Number of the micro-batch over the whole run.
    fn number(&self, at: At) -> u64 {
        at.step * self.micro_batches + at.micro
    }
}

impl<M: CausalLm, S: TokenBatches> Objective<M> for NextToken<S> {
    type Batch = Batch;

    fn batch(&self, at: At) -> Result<Batch, TrainError> {
        let batch = self.source.batch(self.number(at), self.rows);
        batch.ok_or(TrainError::DataEnded { step: at.step + 1 })
    }

    fn rows(&self, batch: &Batch) -> Vec<RowFacts> {
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

    fn counts(&self, batch: &Batch) -> Counts {
        Counts::of_tokens(batch.token_count())
    }

    fn loss(
        &self,
        model: &M,
        batch: &Batch,
        step: &Counts,
        ctx: &ForwardCtx,
        _figures: &mut Figures,
    ) -> Tensor<1> {
        DeviceBatch::new(batch, &self.device)
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
