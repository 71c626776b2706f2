//! PyTorch's files (`pytorch_model.bin`, `*.pt`): a zip archive of a pickle and plain storages.
//!
//! Format: `torch/serialization.py` since PyTorch 1.6. Nothing in the pickle is ever run: a small
//! machine puts tensors together and refuses everything else by name.

mod pickle;
mod reader;
mod zip;

pub use reader::PytorchFile;

/// The first bytes of a zip archive.
pub(crate) const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// Whether a file begins as a bare pickle, as PyTorch wrote before 1.6 by protocol 2 where nothing
/// else was asked for.
pub(crate) fn is_bare_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}
