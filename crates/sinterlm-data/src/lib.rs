#![doc = include_str!("../README.md")]

mod batch;
mod config;
mod error;

pub use batch::Batch;
pub use config::{DataConfig, InvalidUtf8, SourceConfig, TokenizerConfig};
pub use error::DataError;
