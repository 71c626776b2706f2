//! A first look at loaded weights: whether they know anything about text.

use std::fmt;

use burn::tensor::Device;
use sinterlm_data::Batch;
use sinterlm_model::{CausalLm, ForwardCtx};

use crate::perplexity::loss_over;

/// Plain English that any model of English text finds easy, for [`load_probe`].
pub const PROBE_TEXT: &str = "Once upon a time there was a little girl. She lived with her mother in a \
small house near the sea. One day she went to the beach and found a big red ball. She was very happy \
and ran home to show it to her mother.";

/// Share of the loss of chance that trained weights stay below.
const LIMIT: f64 = 0.8;

/// The loss of a short text beside that of chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadProbe {
    /// Mean cross-entropy, nats per token.
    pub loss: f64,
    /// That of equal odds for every token of the vocabulary, `ln(vocab)`.
    pub chance: f64,
    /// Number of tokens scored.
    pub tokens: usize,
}

impl LoadProbe {
    /// Whether the loss is far below chance, as trained weights must have it; false where it is no
    /// number. Weights that were never trained, or whose tensors ended up in the wrong places, stay
    /// near chance or above.
    pub fn is_trained(&self) -> bool {
        self.loss < LIMIT * self.chance
    }
}

impl fmt::Display for LoadProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} nats a token on a short text of {} tokens, chance is {:.2}",
            self.loss, self.tokens, self.chance
        )
    }
}

/// Scores a short text of token ids, cut to what the model reads.
///
/// `model` and `device` without autodiff.
///
/// # Panics
/// If `ids` has fewer than two ids, or one outside the vocabulary.
pub fn load_probe<M: CausalLm>(model: &M, ids: &[u32], device: &Device) -> LoadProbe {
    assert!(ids.len() > 1, "load_probe: there is no token to predict");
    let vocab = model.head().vocab_size();
    let tokens = (ids.len() - 1).min(model.max_seq_len());
    let mut batch = Batch::padded(1, tokens, 0);
    batch.ids.copy_from_slice(&ids[..tokens]);
    batch.targets.copy_from_slice(&ids[1..=tokens]);
    batch.weights.fill(1.0);
    let total = loss_over(model, [batch], &ForwardCtx::default(), device);
    LoadProbe {
        loss: total.mean().unwrap_or(f64::NAN),
        chance: (vocab as f64).ln(),
        tokens,
    }
}

#[cfg(test)]
mod tests {
    use sinterlm_config::Seed;
    use sinterlm_model::{GptConfig, Preset};

    use super::*;

    #[test]
    fn fresh_weights_are_not_taken_for_trained_ones() {
        let device = Device::flex();
        let config = Preset::Tiny.config();
        let ids: Vec<u32> = (0..100).map(|i| i * 37 % 512).collect();
        let probe = load_probe(&config.init(Seed(1), &device), &ids, &device);
        assert!(!probe.is_trained(), "{probe}");
        assert!((probe.loss - probe.chance).abs() < 0.1, "{probe}");
        assert_eq!(probe.tokens, config.max_seq_len);
    }

    #[test]
    fn a_model_that_knows_its_text_passes() {
        let device = Device::flex();
        let config = GptConfig {
            d_model: 32,
            n_heads: 2,
            n_layers: 1,
            ..Preset::Tiny.config()
        };
        // Embeddings that point at themselves: the last token is the likeliest next one.
        let model = config.init_from(&device, |spec| {
            let mut values = spec.draw(Seed(1));
            if spec.path == "wte.weight" {
                for value in &mut values {
                    *value *= 50.0;
                }
            }
            Ok::<_, std::convert::Infallible>(values)
        });
        let probe = load_probe(&model.expect("nothing can fail"), &[7; 20], &device);
        assert!(probe.is_trained(), "{probe}");
    }

    #[test]
    fn a_loss_that_is_no_number_is_not_trained() {
        let probe = LoadProbe {
            loss: f64::NAN,
            chance: 6.0,
            tokens: 3,
        };
        assert!(!probe.is_trained());
    }
}
