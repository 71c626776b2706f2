//! Next-token prediction over windows of a token stream: pretraining.

use burn::tensor::{Device, Tensor};
use sinterlm_data::{Batch, TrainWindows};
use sinterlm_losses::{CrossEntropyOptions, TokenCount};
use sinterlm_model::{CausalLm, ForwardCtx};
use sinterlm_run::RowFacts;
use sinterlm_text::DeviceBatch;

use crate::config::TrainerConfig;
use crate::error::TrainError;
use crate::objective::{At, Objective};

/// Cross-entropy of the next token; the objective of pretraining.
#[derive(Debug)]
pub struct NextToken {
    windows: TrainWindows,
    rows: usize,
    micro_batches: u64,
    options: CrossEntropyOptions,
    device: Device,
}

impl NextToken {
    /// Trains on `windows`, in the pieces that `config` names, on an autodiff `device`.
    pub fn new(windows: TrainWindows, config: &TrainerConfig, device: &Device) -> Self {
        let options = CrossEntropyOptions {
            label_smoothing: config.label_smoothing as f32,
            z_loss: config.z_loss as f32,
            ..CrossEntropyOptions::default()
        };
        Self {
            windows,
            rows: config.micro_rows(),
            micro_batches: config.grad_accum_steps,
            options,
            device: device.clone(),
        }
    }

    /// Number of the micro-batch over the whole run.
    fn number(&self, at: At) -> u64 {
        at.step * self.micro_batches + at.micro
    }
}

impl<M: CausalLm> Objective<M> for NextToken {
    type Batch = Batch;

    fn batch(&self, at: At) -> Result<Batch, TrainError> {
        Ok(self.windows.batch(self.number(at), self.rows))
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
        let firsts = self.windows.first_tokens(self.number(at), self.rows);
        for (row, first) in rows.iter_mut().zip(firsts) {
            row.first_token = Some(first);
            row.documents = Some(self.windows.documents(first));
        }
    }

    fn count(&self, batch: &Batch) -> TokenCount {
        TokenCount::new(batch.token_count())
    }

    fn loss(&self, model: &M, batch: &Batch, step: TokenCount, ctx: &ForwardCtx) -> Tensor<1> {
        DeviceBatch::new(batch, &self.device)
            .loss(model, &self.options, ctx)
            .share_of(step)
    }
}
