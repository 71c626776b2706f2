#![doc = include_str!("../README.md")]

mod bag_of_words;
mod classes;
mod intervals;
mod load_probe;
mod logistic;
mod mean;
mod perplexity;
mod receipt;
mod threshold;

pub use bag_of_words::bag_of_words;
pub use classes::{ClassFigures, ClassReport};
pub use intervals::Interval;
pub use load_probe::{LoadProbe, PROBE_TEXT, load_probe};
pub use perplexity::{Perplexity, TextSize, loss_over};
pub use receipt::{Comparison, Fidelity, PromptPair, PromptReceipt, RECEIPT_PROMPTS, Receipt};
pub use threshold::Threshold;
