//! The crate's one error: every fault names its file, its tensor where there is one, and a way out.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::TensorType;

/// What can go wrong while reading or writing a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused a file operation; `action` says which, as in "cannot open".
    #[error("{path}: cannot {action}; check that the path exists and may be used", path = .path.display())]
    Io {
        /// The file or folder worked on.
        path: PathBuf,
        /// What was tried, as a verb: "open", "write".
        action: &'static str,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk or the user's quota is full.
    #[error("{path}: no space left on the disk; free space or choose another --out", path = .path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The final path of a staged folder is taken.
    #[error("{path}: already exists; remove it or choose another path", path = .path.display())]
    AlreadyExists {
        /// The taken path.
        path: PathBuf,
    },
    /// The path to write has no file name, as `/` or `..`.
    #[error("{path}: names no file; give a path that ends in a file or folder name", path = .path.display())]
    NoFileName {
        /// The unusable path.
        path: PathBuf,
    },
    /// The file is shorter than what it says it holds.
    #[error(
        "{path}: the file has {found} bytes, its header needs {needed}; \
         it is cut off or no file of this format, fetch or write it again",
        path = .path.display()
    )]
    Truncated {
        /// The file read.
        path: PathBuf,
        /// Bytes that the file has.
        found: u64,
        /// Bytes that it would need.
        needed: u64,
    },
    /// The file is longer than the data that its header describes.
    #[error(
        "{path}: {extra} bytes follow the last tensor; the file is damaged, fetch or write it again",
        path = .path.display()
    )]
    TrailingBytes {
        /// The file read.
        path: PathBuf,
        /// Bytes that no tensor covers.
        extra: u64,
    },
    /// The header's length is beyond what the format allows.
    #[error(
        "{path}: the header claims {found} bytes, at most {limit} are allowed; \
         this is no file of this format, check the path",
        path = .path.display()
    )]
    HeaderTooLarge {
        /// The file read.
        path: PathBuf,
        /// Length that the first eight bytes claim.
        found: u64,
        /// The format's limit.
        limit: u64,
    },
    /// The header is not the JSON object it must be.
    #[error("{path}: the header cannot be read ({fault}); fetch or write the file again", path = .path.display())]
    Header {
        /// The file read.
        path: PathBuf,
        /// What the parser found, with its position.
        fault: String,
    },
    /// Two tensors have one name.
    #[error("{path}: tensor `{name}` stands twice in the file; write it again with unique names", path = .path.display())]
    DuplicateTensor {
        /// The file read or to be written.
        path: PathBuf,
        /// The name used twice.
        name: String,
    },
    /// A tensor's element type is not one of [`Dtype`](crate::Dtype) and
    /// [`BlockType`](crate::BlockType).
    #[error(
        "{path}: tensor `{name}` has dtype `{dtype}`, which is not supported; \
         convert the file to F32, F16 or BF16",
        path = .path.display()
    )]
    UnknownDtype {
        /// The file read.
        path: PathBuf,
        /// The tensor at fault.
        name: String,
        /// The dtype as written in the file.
        dtype: String,
    },
    /// A tensor's place in the file leaves a gap, overlaps another or lies outside.
    #[error(
        "{path}: tensor `{name}` claims bytes {start}..{end} of the data, expected to start at \
         {expected} and to end by {limit}; the file is damaged, fetch or write it again",
        path = .path.display()
    )]
    TensorOffsets {
        /// The file read.
        path: PathBuf,
        /// The tensor at fault.
        name: String,
        /// First byte claimed, from the start of the data.
        start: u64,
        /// One past the last byte claimed.
        end: u64,
        /// Where the tensor before it ends.
        expected: u64,
        /// Bytes of data in the file.
        limit: u64,
    },
    /// A tensor's byte count differs from what its shape and dtype give.
    #[error(
        "{path}: tensor `{name}` of shape {shape:?} and dtype {dtype} has {found} bytes, \
         which does not fit the shape; the file is damaged, fetch or write it again",
        path = .path.display()
    )]
    TensorSize {
        /// The file read or to be written.
        path: PathBuf,
        /// The tensor at fault.
        name: String,
        /// Its shape as given.
        shape: Vec<u64>,
        /// Its dtype.
        dtype: TensorType,
        /// Its bytes.
        found: u64,
    },
    /// No tensor has this name.
    #[error("{path}: no tensor is named `{name}`, the file holds {known}; check that it belongs to this model", path = .path.display())]
    MissingTensor {
        /// The file read.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The first few names in the file, for the message.
        known: String,
    },
    /// A tensor of integers or booleans was asked for as floats.
    #[error("{path}: tensor `{name}` holds {dtype}, not floats; read its bytes instead", path = .path.display())]
    NotFloat {
        /// The file read.
        path: PathBuf,
        /// The tensor at fault.
        name: String,
        /// Its dtype.
        dtype: TensorType,
    },
    /// The path is none of the containers that [`WeightFile`](crate::WeightFile) opens.
    #[error(
        "{path}: holds no weights of a known kind; give a file of safetensors, GGUF, PyTorch or \
         llama2.c, an .index.json, or a folder with one of them",
        path = .path.display()
    )]
    UnknownContainer {
        /// The file or folder given.
        path: PathBuf,
    },
    /// The file is what Git LFS leaves in place of a large file that was not fetched.
    #[error("{path}: is a Git LFS pointer and not the file itself; run git lfs pull in its folder", path = .path.display())]
    LfsPointer {
        /// The pointer.
        path: PathBuf,
    },
    /// An index names a shard outside its own folder, or another index.
    #[error(
        "{path}: the index names the shard `{shard}`, which is no weight file beside it; \
         write the index again with plain file names",
        path = .path.display()
    )]
    ShardName {
        /// The index read.
        path: PathBuf,
        /// The shard as named there.
        shard: String,
    },
    /// A shard that an index names is not in its folder.
    #[error(
        "{path}: the shard `{shard}` is missing; put all shards that the index names into its folder",
        path = .path.display()
    )]
    MissingShard {
        /// The index read.
        path: PathBuf,
        /// The missing file's name.
        shard: String,
    },
    /// A tensor is not in the shard in which the index says it lies.
    #[error(
        "{path}: tensor `{name}` is not in the shard `{shard}`, where the index puts it; \
         index and shards are of different models, fetch them again",
        path = .path.display()
    )]
    ShardLacksTensor {
        /// The index read.
        path: PathBuf,
        /// The shard's file name.
        shard: String,
        /// The tensor that should be there.
        name: String,
    },
    /// A metadata key that is needed is not there.
    #[error("{path}: the metadata has no key `{key}`; fetch or convert the file again", path = .path.display())]
    MissingKey {
        /// The file read.
        path: PathBuf,
        /// The key asked for.
        key: String,
    },
    /// A metadata value is not of the type it must have.
    #[error(
        "{path}: the metadata key `{key}` holds {found}, expected {expected}; \
         fetch or convert the file again",
        path = .path.display()
    )]
    KeyType {
        /// The file read.
        path: PathBuf,
        /// The key at fault.
        key: String,
        /// What it should hold.
        expected: &'static str,
        /// The type of what it holds.
        found: String,
    },
    /// The format cannot hold a tensor that is to be written.
    #[error("{path}: tensor `{name}` cannot be written: {fault}", path = .path.display())]
    Unwritable {
        /// The file to be written.
        path: PathBuf,
        /// The tensor at fault.
        name: String,
        /// Why, and what to do.
        fault: String,
    },
    /// A tensor to be written has a name that the format keeps for itself.
    #[error("{path}: no tensor may be named `{name}`, the format keeps that name; rename it", path = .path.display())]
    ReservedName {
        /// The file to be written.
        path: PathBuf,
        /// The reserved name.
        name: String,
    },
}

impl FormatError {
    /// The header of the file at `path` cannot be read because of `fault`.
    pub(crate) fn header(path: &Path, fault: impl Into<String>) -> Self {
        Self::Header {
            path: path.to_path_buf(),
            fault: fault.into(),
        }
    }

    /// No tensor of `known`, the sorted names in the file at `path`, is called `name`.
    pub(crate) fn missing_tensor<'a>(
        path: &Path,
        name: &str,
        known: impl ExactSizeIterator<Item = &'a str>,
    ) -> Self {
        let count = known.len();
        let mut listed: Vec<_> = known.take(3).map(|n| format!("`{n}`")).collect();
        match count {
            0 => listed.push("none".into()),
            1..=3 => {}
            more => listed.push(format!("{} more", more - 3)),
        }
        Self::MissingTensor {
            path: path.to_path_buf(),
            name: name.to_owned(),
            known: listed.join(", "),
        }
    }

    /// The error for a failed `action` on `path`; a full disk gets its own variant.
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io {
                path,
                action,
                source,
            },
        }
    }
}
