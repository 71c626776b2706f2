//! Parameter, FLOP and memory counts, known before anything is allocated.

use super::config::{GptConfig, NormKind, Positions};

/// Parameter counts of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// All trainable values.
    pub total: u64,
    /// Values of the token and position tables (the tied head counts once, here).
    pub embedding: u64,
}

/// Bytes that a training step needs, by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Master weights, f32.
    pub weights: u64,
    /// Gradients, f32; that of a tied table comes in two parts, one from each of its uses. Twice
    /// that while micro-batches accumulate.
    pub gradients: u64,
    /// Optimizer state.
    pub optimizer: u64,
    /// Activations kept for the backward pass of one micro-batch, and what its first block needs
    /// beside them.
    pub activations: u64,
    /// One chunk of logits.
    pub logits: u64,
    /// The largest single buffer: a parameter, an activation or the chunk of logits.
    pub largest_buffer: u64,
}

impl MemoryEstimate {
    /// Sum of all parts in bytes.
    ///
    /// Not all parts are in use at one time: gradients come as activations go. But a process on the
    /// CPU keeps what it has freed, in pieces that mostly don't fit what comes next, so the sum is
    /// what its peak shows.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.optimizer + self.activations + self.logits
    }
}

impl GptConfig {
    /// Counts the parameters.
    pub fn parameters(&self) -> Parameters {
        let (d, d_ff) = (self.d_model as u64, self.d_ff() as u64);
        let [q, k] = self.attention_widths().map(|width| width as u64);
        let where_set = |set: bool, count: u64| if set { count } else { 0 };
        let table = self.vocab_size as u64 * d;
        let learned = self.positions == Positions::Learned;
        let embedding = table + where_set(learned, self.max_seq_len as u64 * d);
        let biases = where_set(self.qkv_bias, q + 2 * k)
            + where_set(self.attn_out_bias, d)
            + where_set(self.mlp_bias, d_ff + where_set(self.is_gated(), d_ff) + d);
        let norm = d + where_set(self.norm == NormKind::LayerNorm, d);
        let norms = 2 * norm + where_set(self.qk_norm, 2 * self.head_dim() as u64);
        let head = where_set(!self.tied_head, table);
        let block = self.block_matrices() + biases + norms;
        let total = embedding + self.n_layers as u64 * block + norm + head;
        Parameters { total, embedding }
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

    /// Estimates the memory of a training step with `micro_batch_size` rows of `seq` tokens and
    /// `optimizer_bytes` bytes of optimizer state.
    ///
    /// Activations are counted for fused attention, norms and loss (nothing of the size of
    /// `seq × seq` or of the whole logits is kept); with `activation_checkpointing` for one block
    /// at a time, and the input of each.
    pub fn training_memory(
        &self,
        micro_batch_size: usize,
        seq: usize,
        optimizer_bytes: u64,
        activation_checkpointing: bool,
    ) -> MemoryEstimate {
        let bytes = 4;
        let total = self.parameters().total;
        let twice = if self.tied_head {
            self.vocab_size * self.d_model
        } else {
            0
        } as u64;
        let tokens = (micro_batch_size * seq) as u64;
        let (d, d_ff, vocab) = (
            self.d_model as u64,
            self.d_ff() as u64,
            self.vocab_size as u64,
        );
        let [q, k] = self.attention_widths().map(|width| width as u64);
        // Per block: two norm outputs and two residual sums (4 d), q, k, v and the attended values,
        // q and k before their norms, the feed-forward layer before and after its activation.
        let normed = if self.qk_norm { q + k } else { 0 };
        let feed_forward = (2 + u64::from(self.is_gated())) * d_ff;
        let block = 4 * d + 2 * q + 2 * k + normed + feed_forward;
        // Beside the blocks: the last norm's output and its gradient; in the backward pass of the
        // last block the gradients of its output and of its feed-forward layer.
        let rest = 3 * d + d_ff;
        let n_layers = self.n_layers as u64;
        let blocks = if activation_checkpointing {
            n_layers * d + block
        } else {
            n_layers * block
        };
        // As `linear_cross_entropy` cuts them: 64 to 512 rows, 100 MiB of f32 logits.
        let most = ((25 << 20) / vocab.max(1)).clamp(64, 512);
        let logits = vocab * tokens.div_ceil(tokens.div_ceil(most).max(1));
        let largest = [vocab * d, d * d_ff, tokens * d_ff, tokens * d, logits];
        MemoryEstimate {
            weights: bytes * total,
            gradients: bytes * (total + twice),
            optimizer: optimizer_bytes,
            activations: bytes * tokens * (blocks + rest),
            logits: bytes * logits,
            largest_buffer: bytes * largest.into_iter().max().unwrap_or(0),
        }
    }
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
