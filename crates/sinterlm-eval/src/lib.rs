#![doc = include_str!("../README.md")]

mod class_probabilities;
mod load_probe;
mod perplexity;
mod receipt;

pub use class_probabilities::class_probabilities;
pub use load_probe::{LoadProbe, PROBE_TEXT, load_probe};
pub use perplexity::{Perplexity, TextSize, loss_over};
pub use receipt::{Comparison, Fidelity, PromptPair, PromptReceipt, RECEIPT_PROMPTS, Receipt};
