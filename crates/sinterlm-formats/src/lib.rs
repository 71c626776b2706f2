#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "unwrap is for tests"))]

mod atomic;
mod blocks;
mod cursor;
mod dtype;
mod error;
mod gguf;
mod hash;
mod header;
mod lfs;
mod llama2c;
mod mapped;
mod pytorch;
mod safetensors_file;
mod safetensors_write;
mod sharded;
mod single_file;
mod source;
mod staging;
mod tensor_type;
mod tensor_write;
mod weight_file;

pub use atomic::{create_dir_synced, write_file_atomic};
pub use blocks::BlockType;
pub use dtype::Dtype;
pub use error::FormatError;
pub use gguf::{GgufArray, GgufField, GgufFile, GgufMetadata, GgufValue, write_gguf};
pub use hash::sha256_file;
pub use lfs::refuse_lfs_pointer;
pub use llama2c::{Llama2cConfig, Llama2cFile, Llama2cTokenizer, ScoredToken};
pub use mapped::{MappedBytes, MappedFile};
pub use pytorch::PytorchFile;
pub use safetensors_file::{SafetensorsFile, TensorView};
pub use safetensors_write::{TensorEntry, stream_safetensors, write_safetensors};
pub use sharded::ShardedFile;
pub use single_file::SingleFile;
pub use source::{StoredTensor, TensorSource};
pub use staging::{StagedDir, remove_stale_staging};
pub use tensor_type::TensorType;
pub use tensor_write::{TensorContent, TensorHeader};
pub use weight_file::WeightFile;
