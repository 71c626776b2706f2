//! The weights that a path stands for: a file, an index of shards or a folder. `single_file` looks
//! at what one file holds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    FormatError, GgufFile, Llama2cFile, PytorchFile, SafetensorsFile, ShardedFile, SingleFile,
    StoredTensor, TensorSource, sharded::is_index,
};

/// Names of the weights in a folder, in the order in which they are looked for.
const IN_FOLDER: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// An opened container of weights.
///
/// Match on it where the container matters (metadata, naming); tensors are read through
/// [`TensorSource`] alike.
#[derive(Debug)]
#[non_exhaustive]
pub enum WeightFile {
    /// One safetensors file.
    Safetensors(SafetensorsFile),
    /// Several files behind one index.
    Sharded(ShardedFile),
    /// A GGUF file.
    Gguf(GgufFile),
    /// A llama2.c file.
    Llama2c(Llama2cFile),
    /// A file of `torch.save`.
    Pytorch(PytorchFile),
}

impl WeightFile {
    /// Opens the weights at `path`: a file, whose first bytes tell its format, an index of shards
    /// (`*.index.json`), or a folder with one of `model.safetensors`, `pytorch_model.bin` and their
    /// indices, or with a single GGUF file.
    ///
    /// Legacy llama2.c files have no mark; they are known by their extension `.bin` and by a header
    /// whose sizes can be a model's.
    ///
    /// # Errors
    /// [`FormatError::Io`] if nothing can be read at `path`, [`FormatError::LfsPointer`] for what Git
    /// LFS leaves in place of a file, [`FormatError::UnknownContainer`] if it is none of these,
    /// otherwise what the container's own reader finds.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open(find_in_folder(path)?);
        }
        if is_index(path) {
            return ShardedFile::open(path).map(Self::Sharded);
        }
        SingleFile::open(path).map(Self::from)
    }

    fn source(&self) -> &dyn TensorSource {
        match self {
            Self::Safetensors(file) => file,
            Self::Sharded(file) => file,
            Self::Gguf(file) => file,
            Self::Llama2c(file) => file,
            Self::Pytorch(file) => file,
        }
    }
}

impl From<SingleFile> for WeightFile {
    fn from(file: SingleFile) -> Self {
        match file {
            SingleFile::Safetensors(file) => Self::Safetensors(file),
            SingleFile::Gguf(file) => Self::Gguf(file),
            SingleFile::Llama2c(file) => Self::Llama2c(file),
            SingleFile::Pytorch(file) => Self::Pytorch(file),
        }
    }
}

impl TensorSource for WeightFile {
    fn path(&self) -> &Path {
        self.source().path()
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.source().tensor_names()
    }

    fn stored(&self, name: &str) -> Result<StoredTensor, FormatError> {
        self.source().stored(name)
    }
}

fn find_in_folder(folder: &Path) -> Result<PathBuf, FormatError> {
    let known = IN_FOLDER.iter().map(|name| folder.join(name));
    if let Some(path) = known.into_iter().find(|path| path.is_file()) {
        return Ok(path);
    }
    let entries = fs::read_dir(folder).map_err(|e| FormatError::io(folder, "list", e))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let ggufs: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    match <[PathBuf; 1]>::try_from(ggufs) {
        Ok([path]) => Ok(path),
        Err(_) => Err(FormatError::UnknownContainer {
            path: folder.to_path_buf(),
        }),
    }
}
