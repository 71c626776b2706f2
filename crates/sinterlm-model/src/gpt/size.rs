//! Parameter and FLOP counts, known before anything is allocated.

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
    pub fn block_parameters(&self) -> u64 {
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
