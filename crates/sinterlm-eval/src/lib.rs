#![doc = include_str!("../README.md")]

mod device_batch;
mod load_probe;
mod perplexity;

pub use device_batch::DeviceBatch;
pub use load_probe::{LoadProbe, PROBE_TEXT, load_probe};
pub use perplexity::{Perplexity, TextSize, loss_over};
