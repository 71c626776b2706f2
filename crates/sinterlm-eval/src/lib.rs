#![doc = include_str!("../README.md")]

mod bag_of_words;
mod bleu;
mod chrf;
mod class_probabilities;
mod classes;
mod exact_match;
mod generations;
mod intervals;
mod lcs;
mod load_probe;
mod logistic;
mod mean;
mod ngrams;
mod normalise;
mod perplexity;
mod porter;
mod receipt;
mod rouge;
mod threshold;

pub use bag_of_words::bag_of_words;
pub use bleu::{Bleu, BleuTokens};
pub use chrf::chrf;
pub use class_probabilities::{class_probabilities, class_probabilities_behind};
pub use classes::{ClassFigures, ClassReport};
pub use exact_match::{Answer, ExactMatch, MatchFigures};
pub use generations::{Generated, GenerationReport};
pub use intervals::Interval;
pub use load_probe::{LoadProbe, PROBE_TEXT, load_probe};
pub use normalise::Normalisation;
pub use perplexity::{Perplexity, TextSize, loss_over};
pub use receipt::{Comparison, Fidelity, PromptPair, PromptReceipt, RECEIPT_PROMPTS, Receipt};
pub use rouge::{Rouge, RougeScore};
pub use threshold::Threshold;
