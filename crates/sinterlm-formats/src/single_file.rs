//! Choosing the reader for one file by what it holds.

use std::{fs::File, io::Read, path::Path};

use crate::{
    FormatError, GgufFile, Llama2cFile, PytorchFile, SafetensorsFile, StoredTensor, TensorSource,
    gguf, lfs::refuse_lfs_pointer, llama2c, pytorch,
};

/// Bytes that tell what a file is.
const START_BYTES: usize = 1024;

/// An opened container of weights that is one file.
#[derive(Debug)]
#[non_exhaustive]
pub enum SingleFile {
    /// A safetensors file.
    Safetensors(SafetensorsFile),
    /// A GGUF file.
    Gguf(GgufFile),
    /// A llama2.c file.
    Llama2c(Llama2cFile),
    /// A file of `torch.save`.
    Pytorch(PytorchFile),
}

impl SingleFile {
    /// Opens the file at `path`, whose first bytes tell its format.
    ///
    /// Legacy llama2.c files have no mark; they are known by their extension `.bin` and by a header
    /// whose sizes can be a model's.
    ///
    /// # Errors
    /// [`FormatError::Io`] if it cannot be read, [`FormatError::LfsPointer`] for what Git LFS leaves
    /// in place of a file, [`FormatError::UnknownContainer`] if it is none of these, otherwise what
    /// the container's own reader finds.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let start = first_bytes(path)?;
        refuse_lfs_pointer(path, &start)?;
        let has_extension = |wanted: &str| path.extension().is_some_and(|e| e == wanted);
        // The length of the header, below 2^40, then the first byte of a JSON object. It comes before
        // the pickle, with whose first two bytes a length may begin.
        let is_safetensors = matches!(start[..], [_, _, _, _, _, 0, 0, 0, b'{', ..]);
        if start.starts_with(&gguf::MAGIC) {
            open_gguf(path)
        } else if is_safetensors {
            SafetensorsFile::open(path).map(Self::Safetensors)
        } else if start.starts_with(&pytorch::ZIP_MAGIC) || pytorch::is_bare_pickle(&start) {
            PytorchFile::open(path).map(Self::Pytorch)
        } else if has_extension("safetensors") {
            SafetensorsFile::open(path).map(Self::Safetensors) // whose error says what is wrong
        } else if start.starts_with(&llama2c::MAGIC)
            || (has_extension("bin") && llama2c::is_legacy_header(&start))
        {
            Llama2cFile::open(path).map(Self::Llama2c)
        } else if has_extension("gguf") {
            GgufFile::open(path).map(Self::Gguf) // whose error says what is wrong
        } else {
            Err(FormatError::UnknownContainer {
                path: path.to_path_buf(),
            })
        }
    }

    fn source(&self) -> &dyn TensorSource {
        match self {
            Self::Safetensors(file) => file,
            Self::Gguf(file) => file,
            Self::Llama2c(file) => file,
            Self::Pytorch(file) => file,
        }
    }
}

impl TensorSource for SingleFile {
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

/// Opens a GGUF file that holds a whole model.
fn open_gguf(path: &Path) -> Result<SingleFile, FormatError> {
    let file = GgufFile::open(path)?;
    match file
        .field("split.count")
        .map(|field| field.uint())
        .transpose()?
    {
        Some(parts) if parts > 1 => {
            let fault =
                format!("it is one of {parts} parts, join them with llama-gguf-split --merge");
            Err(FormatError::header(path, fault))
        }
        _ => Ok(SingleFile::Gguf(file)),
    }
}

/// The first 1,024 bytes, or all of a shorter file.
fn first_bytes(path: &Path) -> Result<Vec<u8>, FormatError> {
    let mut start = Vec::with_capacity(START_BYTES);
    let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
    file.take(START_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(|e| FormatError::io(path, "read", e))?;
    Ok(start)
}
