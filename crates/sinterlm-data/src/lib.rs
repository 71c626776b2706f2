#![doc = include_str!("../README.md")]

mod batch;
mod config;
mod digest;
mod error;
mod hub;
mod source;
mod store;
mod tokenizer;
mod windows;

pub use batch::Batch;
pub use config::{DataConfig, InvalidUtf8, SourceConfig, TokenizerConfig};
pub use error::DataError;
pub use hub::{Hub, HubCopy, HubFile, RepoType};
pub use source::{Document, Documents, TextSource, fingerprint, read_documents};
pub use store::{StoreHeader, TokenStore};
pub use tokenizer::{END_OF_TEXT, TextStream, Tokenizer};
pub use windows::{TrainWindows, ValidWindows};
