#![doc = include_str!("../README.md")]

mod device_batch;
mod perplexity;

pub use device_batch::DeviceBatch;
pub use perplexity::{Perplexity, TextSize, loss_over};
