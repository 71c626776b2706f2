//! Choosing the reader for a path by what the file holds.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{FormatError, GgufFile, SafetensorsFile, ShardedFile, StoredTensor, TensorSource};

/// Names of the weights in a folder, in the order in which they are looked for.
const IN_FOLDER: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

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
}

impl WeightFile {
    /// Opens the weights at `path`: a file, whose first bytes tell its format, an index of shards
    /// (`*.index.json`), or a folder with `model.safetensors` or its index.
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
        match start {
            [b'G', b'G', b'U', b'F', ..] => GgufFile::open(path).map(Self::Gguf),
            // The header's length, then the first byte of a JSON object.
            [.., b'{'] => SafetensorsFile::open(path).map(Self::Safetensors),
            _ if path.extension().is_some_and(|e| e == "safetensors") => {
                SafetensorsFile::open(path).map(Self::Safetensors) // which tells what is wrong
            }
            _ => Err(FormatError::UnknownContainer {
                path: path.to_path_buf(),
            }),
        }
    }

    fn source(&self) -> &dyn TensorSource {
        match self {
            Self::Safetensors(file) => file,
            Self::Sharded(file) => file,
            Self::Gguf(file) => file,
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

fn find_in_folder(folder: &Path) -> Result<PathBuf, FormatError> {
    IN_FOLDER
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| FormatError::UnknownContainer {
            path: folder.to_path_buf(),
        })
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
