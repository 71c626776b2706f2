//! Parameter, FLOP and memory counts, known before anything is allocated.

use super::config::{GptConfig, Positions};
use crate::linear::NormKind;

/// Parameter counts of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// All trainable values.
    pub total: u64,
    /// Values of the token and position tables (the tied head counts once, here).
    pub embedding: u64,
}

/// What decides how much memory a training step takes, beside the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSize {
    /// Rows of a micro-batch.
    pub rows: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Whether blocks keep their input alone and are computed again.
    pub activation_checkpointing: bool,
    /// Micro-batches of a step.
    pub micro_batches: u64,
    /// Bytes that the optimizer keeps from step to step.
    pub optimizer_state: u64,
    /// Bytes that it needs during an update, beside the gradients.
    pub optimizer_scratch: u64,
}

/// Bytes that training takes from its second step on (the first makes the optimizer's state), by
/// part. The parts are not all there at one time: [`peak`](Self::peak) tells the most that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Master weights, f32.
    pub weights: u64,
    /// Optimizer state.
    pub optimizer: u64,
    /// Gradients, f32. Twice that where micro-batches accumulate.
    pub gradients: u64,
    /// Activations at the end of the forward pass of one micro-batch.
    pub activations: u64,
    /// One chunk of logits.
    pub logits: u64,
    /// The most that comes and goes within a step: what there is of gradients, activations, logits
    /// and buffers at one time, and an eighth for the gaps that an allocator leaves between them.
    pub passing: u64,
    /// The largest single buffer: a parameter, an activation or the chunk of logits.
    pub largest_buffer: u64,
}

impl MemoryEstimate {
    /// What stays from step to step.
    pub fn kept(&self) -> u64 {
        self.weights + self.optimizer
    }

    /// The most memory at any time of a step.
    pub fn peak(&self) -> u64 {
        self.kept() + self.passing
    }
}

impl GptConfig {
    /// Counts the parameters.
    pub fn parameters(&self) -> Parameters {
        let d = self.d_model as u64;
        let table = self.vocab_size as u64 * d;
        let learned = self.positions == Positions::Learned;
        let embedding = table + where_set(learned, self.max_seq_len as u64 * d);
        let head = where_set(!self.tied_head, table);
        let blocks = self.n_layers as u64 * self.block_parameters();
        let total = embedding + blocks + self.norm_parameters() + head;
        Parameters { total, embedding }
    }

    /// Values of one norm over the width.
    fn norm_parameters(&self) -> u64 {
        let d = self.d_model as u64;
        d + where_set(self.norm == NormKind::LayerNorm, d)
    }

    /// Values of one block.
    fn block_parameters(&self) -> u64 {
        let (d, d_ff) = (self.d_model as u64, self.d_ff() as u64);
        let [q, k] = self.attention_widths().map(|width| width as u64);
        let biases = where_set(self.qkv_bias, q + 2 * k)
            + where_set(self.attn_out_bias, d)
            + where_set(self.mlp_bias, d_ff + where_set(self.is_gated(), d_ff) + d);
        let norms =
            2 * self.norm_parameters() + where_set(self.qk_norm, 2 * self.head_dim() as u64);
        self.block_matrices() + biases + norms
    }

    /// Values of the matrices of one block.
    fn block_matrices(&self) -> u64 {
        let [q, k] = self.attention_widths();
        let feed_forward = (2 + usize::from(self.is_gated())) * self.d_ff();
        (self.d_model * (2 * q + 2 * k + feed_forward)) as u64
    }

    /// Floating-point operations of one training step per token at rows of `seq` tokens: six per
    /// weight of the matrix products (two forward, four backward; Kaplan et al. 2020,
    /// <https://arxiv.org/abs/2001.08361>, table 1) and the causal half of the attention products.
    pub fn train_flops_per_token(&self, seq: usize) -> u64 {
        let blocks = self.n_layers as u64 * self.block_matrices();
        let products = blocks + (self.vocab_size * self.d_model) as u64;
        // Twice the tokens that one sees on average: `seq` under the causal mask, less in a window.
        let seen = |layer| match self.window_of(layer) {
            Some(window) if window < seq => 2 * window - window * window / seq,
            _ => seq,
        };
        let seen: usize = (0..self.n_layers).map(seen).sum();
        // QKᵀ and PV: 2·width each per token and token seen, times three.
        6 * products + (3 * 2 * seen * self.attention_widths()[0]) as u64
    }

    /// Estimates the memory of training with steps of that size.
    ///
    /// Activations are counted for fused attention, norms and loss (nothing of the size of
    /// `seq × seq` or of the whole logits is kept); with activation checkpointing the input of each
    /// block, and one block at a time.
    pub fn training_memory(&self, step: &StepSize) -> MemoryEstimate {
        const BYTES: u64 = 4;
        let total = self.parameters().total;
        let n_layers = self.n_layers as u64;
        let (d, d_ff) = (self.d_model as u64, self.d_ff() as u64);
        let vocab = self.vocab_size as u64;
        let [q, k] = self.attention_widths().map(|width| width as u64);
        let tokens = (step.rows * step.seq) as u64;
        // Per block: two norm outputs and two residual sums (4 d), q, k, v and the attended values,
        // q and k before their norms, the feed-forward layer before and after its activation.
        let inner = (1 + u64::from(self.is_gated())) * d_ff;
        let block = tokens * (4 * d + 2 * (q + k) + where_set(self.qk_norm, q + k) + inner + d_ff);
        let (blocks, recomputed) = if step.activation_checkpointing {
            (n_layers * tokens * d, block)
        } else {
            (n_layers * block, 0)
        };
        // Beside the blocks: embeddings, the last norm's output and the gradient of that.
        let activations = blocks + 3 * tokens * d;
        // As `linear_cross_entropy` cuts them: 64 to 512 rows, 100 MiB of f32 logits.
        let most = ((25 << 20) / vocab.max(1)).clamp(64, 512);
        let logits = vocab * tokens.div_ceil(tokens.div_ceil(most).max(1));

        let table = vocab * d;
        let accumulated = where_set(step.micro_batches > 1, total);
        // Operands as matrix products rearrange them.
        let packed = (tokens.max(d) * d_ff).min(1 << 20);
        // The backward pass within a block: the gradient of the feed-forward layer is the widest.
        let within = tokens * d_ff + packed;
        // Gradients are made as activations are freed, block by block at an even rate: the most
        // is there at one of the ends.
        let at_loss = activations + table + logits + packed;
        let in_last_block = blocks + recomputed + table + within;
        let later = total - self.block_parameters() - where_set(!self.tied_head, table);
        let in_first_block = later + block + within;
        // A tied table's gradient comes in two parts, one from each of its uses.
        let at_embedding = total + where_set(self.tied_head, table) + 2 * tokens * d;
        let backward = [at_loss, in_last_block, in_first_block, at_embedding];
        let backward = accumulated + backward.into_iter().max().unwrap_or(0);
        let update = BYTES * total + step.optimizer_scratch;
        let passing = update.max(BYTES * backward);

        let largest = [table, d * d_ff, tokens * d_ff, tokens * d, logits];
        MemoryEstimate {
            weights: BYTES * total,
            optimizer: step.optimizer_state,
            gradients: BYTES * total,
            activations: BYTES * activations,
            logits: BYTES * logits,
            passing: passing + passing / 8,
            largest_buffer: BYTES * largest.into_iter().max().unwrap_or(0),
        }
    }
}

fn where_set(set: bool, count: u64) -> u64 {
    if set { count } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::presets::Preset;

    #[test]
    fn gpt2_family_has_the_published_sizes() {
        // Sizes of the published checkpoints, as `transformers` counts them.
        let expected =
            [124_439_808, 354_823_168, 774_030_080, 1_557_611_200].map(|total: u64| total);
        let presets = [
            Preset::Gpt2,
            Preset::Gpt2Medium,
            Preset::Gpt2Large,
            Preset::Gpt2Xl,
        ];
        for (preset, expected) in presets.into_iter().zip(expected) {
            assert_eq!(
                preset.config().parameters().total,
                expected,
                "{}",
                preset.name()
            );
        }
    }
}
