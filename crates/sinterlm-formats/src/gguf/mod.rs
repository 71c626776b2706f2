//! GGUF, the container of llama.cpp: metadata and tensors in one file.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Tensors list their axes
//! from the innermost to the outermost there; here they are turned round, so that the weight of a
//! linear layer is `[d_out, d_in]`.

mod metadata;
mod reader;
mod types;
mod value;
mod writer;

pub use metadata::{GgufField, GgufMetadata};
pub use reader::GgufFile;
pub use value::{GgufArray, GgufValue};
pub use writer::write_gguf;

/// The first bytes of every GGUF file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// The metadata key of the alignment of tensor data.
const ALIGNMENT_KEY: &str = "general.alignment";
/// Alignment where that key is absent.
const DEFAULT_ALIGNMENT: u64 = 32;
/// ggml's largest number of axes.
const MAX_AXES: usize = 4;
