//! Choosing the reader for a path by what the file holds.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    FormatError, GgufFile, Llama2cFile, PytorchFile, SafetensorsFile, ShardedFile, StoredTensor,
    TensorSource, gguf, llama2c, pytorch,
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
    /// Legacy llama2.c files have no mark; they are known by their extension `.bin`.
    ///
    /// # Errors
    /// [`FormatError::Io`] if nothing can be read at `path`, [`FormatError::UnknownContainer`] if
    /// it is none of these, otherwise what the container's own reader finds.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open(find_in_folder(path)?);
        }
        if is_index(path) {
            return ShardedFile::open(path).map(Self::Sharded);
        }
        Self::open_single(path)
    }

    /// Opens one file that is no index.
    pub(crate) fn open_single(path: &Path) -> Result<Self, FormatError> {
        let start = first_bytes(path)?;
        let has_extension = |wanted: &str| path.extension().is_some_and(|e| e == wanted);
        // The length of the header, below 2^40, then the first byte of a JSON object.
        let is_safetensors = matches!(start, [.., 0, 0, 0, b'{']);
        if start.starts_with(&gguf::MAGIC) {
            open_gguf(path)
        } else if start.starts_with(&pytorch::ZIP_MAGIC)
            || start.starts_with(&pytorch::PICKLE_MAGIC)
        {
            PytorchFile::open(path).map(Self::Pytorch)
        } else if is_safetensors || has_extension("safetensors") {
            SafetensorsFile::open(path).map(Self::Safetensors)
        } else if start.starts_with(&llama2c::MAGIC) || has_extension("bin") {
            Llama2cFile::open(path).map(Self::Llama2c)
        } else if has_extension("gguf") {
            GgufFile::open(path).map(Self::Gguf) // which tells what is wrong
        } else {
            Err(FormatError::UnknownContainer {
                path: path.to_path_buf(),
            })
        }
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

pub(crate) fn is_index(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
}

/// Opens a GGUF file that holds a whole model.
fn open_gguf(path: &Path) -> Result<WeightFile, FormatError> {
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
        _ => Ok(WeightFile::Gguf(file)),
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

/// The first nine bytes, zeros where the file is shorter.
fn first_bytes(path: &Path) -> Result<[u8; 9], FormatError> {
    let mut start = [0; 9];
    let mut file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
    let mut filled = 0;
    while filled < start.len() {
        match file.read(&mut start[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FormatError::io(path, "read", e)),
        }
    }
    Ok(start)
}
