#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "unwrap is for tests"))]

mod atomic;
mod dtype;
mod error;
mod hash;
mod header;
mod mapped;
mod safetensors_file;
mod safetensors_write;
mod staging;

pub use atomic::write_file_atomic;
pub use dtype::Dtype;
pub use error::FormatError;
pub use hash::sha256_file;
pub use mapped::MappedFile;
pub use safetensors_file::{SafetensorsFile, TensorView};
pub use safetensors_write::{TensorEntry, write_safetensors};
pub use staging::{StagedDir, remove_stale_staging};
