#![doc = include_str!("../README.md")]

mod cross_entropy;
mod total;

pub use cross_entropy::{
    CrossEntropyOptions, cross_entropy, linear_cross_entropy, token_cross_entropy,
};
pub use total::{Counts, LossSum, LossTotal};
