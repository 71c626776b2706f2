//! What became of a file's tensors, told by those that place them and those that read them.

use std::path::PathBuf;

/// What became of a file's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// The weights file, or the index of its shards.
    pub path: PathBuf,
    /// Number of parameters that were loaded.
    pub loaded: usize,
    /// Bytes of tensors that lie in the memory map, without a copy.
    pub mapped_bytes: usize,
    /// Bytes in memory of tensors that were converted or arranged anew.
    pub copied_bytes: usize,
    /// Bytes of both kinds that hold weights in the file's type, see [`WeightsAs::Stored`](crate::WeightsAs::Stored).
    pub packed_bytes: usize,
    /// Parameters that were drawn freshly, by their names in the file's layout.
    pub missing: Vec<String>,
    /// Tensors that were passed over.
    pub unused: Vec<String>,
}
