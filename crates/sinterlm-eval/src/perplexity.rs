//! Perplexity and its relatives that compare across vocabularies.

use burn::tensor::Device;
use sinterlm_data::Batch;
use sinterlm_losses::{CrossEntropyOptions, LossTotal};
use sinterlm_model::{CausalLm, ForwardCtx};
use sinterlm_text::DeviceBatch;

/// Cross-entropy over batches, weighted by tokens over all of them, never a mean of batch means.
///
/// `model` and `device` without autodiff.
pub fn loss_over<M: CausalLm>(
    model: &M,
    batches: impl IntoIterator<Item = Batch>,
    ctx: &ForwardCtx,
    device: &Device,
) -> LossTotal {
    let options = CrossEntropyOptions::default();
    let score = |batch: Batch| {
        DeviceBatch::new(&batch, device)
            .loss(model, &options, ctx)
            .read()
    };
    batches.into_iter().map(score).sum()
}

/// The size of a text in units that no tokenizer changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextSize {
    /// UTF-8 bytes of the trimmed documents, without separators.
    pub bytes: u64,
    /// GPT-2 tokens of the trimmed documents and one end-of-text token each.
    pub gpt2_tokens: u64,
}

/// The loss over a whole text with the units to express it in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// Nats and tokens of the model's own tokenizer.
    pub total: LossTotal,
    /// Size of the text that was scored.
    pub text: TextSize,
}

impl Perplexity {
    /// Nats per token of the model's tokenizer; `None` where nothing was scored.
    pub fn loss(&self) -> Option<f64> {
        self.total.mean()
    }

    /// `exp(loss)`: depends on the tokenizer.
    pub fn perplexity(&self) -> Option<f64> {
        self.loss().map(f64::exp)
    }

    /// Bits per UTF-8 byte of text.
    pub fn bits_per_byte(&self) -> Option<f64> {
        let bytes = self.text.bytes as f64;
        (bytes > 0.0).then(|| self.total.nats / std::f64::consts::LN_2 / bytes)
    }

    /// Perplexity per GPT-2 token of the same text, whatever the model's own tokenizer.
    pub fn perplexity_per_gpt2_token(&self) -> Option<f64> {
        let tokens = self.text.gpt2_tokens as f64;
        (tokens > 0.0).then(|| (self.total.nats / tokens).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinterlm_config::Seed;

    use sinterlm_model::{GptConfig, Preset};

    #[test]
    fn figures_follow_their_definitions() {
        let total = LossTotal {
            nats: 200.0,
            count: 100.0,
        };
        let figures = Perplexity {
            total,
            text: TextSize {
                bytes: 400,
                gpt2_tokens: 80,
            },
        };
        assert!((figures.perplexity().unwrap() - 2f64.exp()).abs() < 1e-12);
        assert!((figures.bits_per_byte().unwrap() - 0.5 / std::f64::consts::LN_2).abs() < 1e-12);
        assert!((figures.perplexity_per_gpt2_token().unwrap() - 2.5f64.exp()).abs() < 1e-12);
    }

    #[test]
    fn an_untrained_model_scores_near_the_log_of_its_vocabulary() {
        let device = Device::flex();
        let config = GptConfig {
            dropout: 0.5,
            ..Preset::Tiny.config()
        };
        let model = config.init(Seed(1), &device);
        let mut batch = Batch::padded(2, 16, 0);
        for i in 0..32 {
            batch.ids[i] = (i * 37 % 512) as u32;
            batch.targets[i] = (i * 91 % 512) as u32;
            batch.weights[i] = if i == 31 { 0.0 } else { 1.0 };
        }
        let total = loss_over(&model, [batch], &ForwardCtx::default(), &device);
        assert!((total.count - 31.0).abs() < 1e-12);
        assert!(
            (total.mean().unwrap() - 512f64.ln()).abs() < 0.1,
            "{:?}",
            total.mean()
        );
    }
}
