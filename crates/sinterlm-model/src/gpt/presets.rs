//! Named sizes: the published GPT-2 family, the reference model and tiny ones for tests.

use super::config::GptConfig;

/// A named size of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// GPT-2 124M: 12 layers, width 768.
    Gpt2,
    /// GPT-2 355M: 24 layers, width 1024.
    Gpt2Medium,
    /// GPT-2 774M: 36 layers, width 1280.
    Gpt2Large,
    /// GPT-2 1.5B: 48 layers, width 1600.
    Gpt2Xl,
    /// The reference model: 6 layers, width 512, 8 heads, context 1024, GPT-2 vocabulary.
    TinyStories,
    /// 2 layers, width 64: trains in seconds on one core.
    Tiny,
    /// 4 layers, width 256, context 256, vocabulary 2048: minutes on two cores.
    Small,
}

impl Preset {
    /// All presets, smallest family last.
    pub const ALL: [Self; 7] = [
        Self::Gpt2,
        Self::Gpt2Medium,
        Self::Gpt2Large,
        Self::Gpt2Xl,
        Self::TinyStories,
        Self::Tiny,
        Self::Small,
    ];

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Gpt2Medium => "gpt2-medium",
            Self::Gpt2Large => "gpt2-large",
            Self::Gpt2Xl => "gpt2-xl",
            Self::TinyStories => "tinystories",
            Self::Tiny => "tiny",
            Self::Small => "small",
        }
    }

    /// The preset called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Its hyperparameters, without dropout.
    pub fn config(self) -> GptConfig {
        let (n_layers, d_model, n_heads) = match self {
            Self::Gpt2 => (12, 768, 12),
            Self::Gpt2Medium => (24, 1024, 16),
            Self::Gpt2Large => (36, 1280, 20),
            Self::Gpt2Xl => (48, 1600, 25),
            Self::TinyStories => (6, 512, 8),
            Self::Tiny => (2, 64, 4),
            Self::Small => (4, 256, 4),
        };
        let base = GptConfig {
            d_model,
            n_layers,
            n_heads,
            ..GptConfig::default()
        };
        match self {
            Self::Tiny => GptConfig {
                vocab_size: 512,
                max_seq_len: 64,
                ..base
            },
            Self::Small => GptConfig {
                vocab_size: 2048,
                max_seq_len: 256,
                ..base
            },
            _ => base,
        }
    }
}
