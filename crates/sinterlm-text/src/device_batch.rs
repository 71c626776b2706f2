//! A batch on a device, with its loss: the meeting point of data, model and losses.

use burn::tensor::{Device, Int, Tensor, TensorData};
use sinterlm_data::Batch;
use sinterlm_kernels::RowLayout;
use sinterlm_losses::{CrossEntropyOptions, LossSum, linear_cross_entropy};
use sinterlm_model::{CausalLm, ForwardCtx, TokenBatch};

/// Tokens, targets and weights of a batch on a device.
#[derive(Clone, Debug)]
pub struct DeviceBatch {
    /// What the model reads.
    pub tokens: TokenBatch,
    /// `[batch, seq]`: the token that follows each one.
    pub targets: Tensor<2, Int>,
    /// `[batch, seq]`: loss weights; 0 leaves a token out.
    pub weights: Tensor<2>,
    /// Sum of the weights.
    pub count: f64,
}

impl DeviceBatch {
    /// Moves a host batch to a device.
    pub fn new(batch: &Batch, device: &Device) -> Self {
        let shape = [batch.rows, batch.seq];
        let (segments, lengths) = (&batch.segments, &batch.lengths);
        let layout = RowLayout::from_segments(batch.rows, batch.seq, segments, lengths);
        let targets: Vec<i32> = batch.targets.iter().map(|&id| id as i32).collect();
        Self {
            tokens: TokenBatch::new(&batch.ids, &batch.positions, layout, device),
            targets: Tensor::from_data(TensorData::new(targets, shape), device),
            weights: Tensor::from_data(TensorData::new(batch.weights.clone(), shape), device),
            count: batch.token_count(),
        }
    }

    /// Next-token cross-entropy of the batch, in the precision of `ctx`.
    pub fn loss<M: CausalLm>(
        &self,
        model: &M,
        options: &CrossEntropyOptions,
        ctx: &ForwardCtx,
    ) -> LossSum {
        let hidden = model.hidden(&self.tokens, ctx, None);
        let (targets, weights) = (self.targets.clone(), self.weights.clone());
        let head = model.head();
        let (hidden, weight) = head.operands(hidden, ctx);
        let options = CrossEntropyOptions {
            precision: ctx.precision.matmul(),
            softcap: head.softcap,
            ..*options
        };
        linear_cross_entropy(hidden, weight, targets, weights, self.count, &options)
    }
}
