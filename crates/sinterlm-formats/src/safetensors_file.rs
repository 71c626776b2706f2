//! Reading safetensors files: names, shapes and bytes straight from the memory map.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Dtype, FormatError, MappedBytes, MappedFile, StoredTensor, TensorSource,
    header::{Header, TensorPlace, read_header},
};

/// A safetensors file, mapped; its header is checked when it is opened.
///
/// Format: <https://github.com/huggingface/safetensors#format>.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    map: Arc<MappedFile>,
    header: Header,
}

/// One stored tensor; the bytes are those of the memory map.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TensorView<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Axes from the outermost to the innermost; empty for a scalar.
    pub shape: Vec<usize>,
    /// Little-endian elements in row-major order, not necessarily aligned.
    pub data: &'a [u8],
}

impl SafetensorsFile {
    /// Maps the file at `path` and checks its whole header; reads no tensor.
    ///
    /// # Errors
    /// [`FormatError::Io`] if the file cannot be opened, otherwise the variant of the first fault:
    /// a length that cannot be, a header that is no JSON, a repeated name, an unknown dtype, bytes
    /// that overlap, leave a gap, lie outside the file or do not fit the shape.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::from_map(path, Arc::new(MappedFile::open(path)?))
    }

    /// The same for a file that is mapped or in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_map(path: impl AsRef<Path>, map: Arc<MappedFile>) -> Result<Self, FormatError> {
        let path = path.as_ref().to_path_buf();
        let header = read_header(&path, &map)?;
        Ok(Self { path, map, header })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// The text stored beside the tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, FormatError> {
        let TensorPlace {
            dtype,
            shape,
            range,
        } = self.place(name)?;
        Ok(TensorView {
            dtype: *dtype,
            shape: shape.clone(),
            data: self
                .map
                .get(range.clone())
                .expect("the header was checked against the file"),
        })
    }

    /// The elements of a float tensor as f32: F16, BF16 are widened, F64 is rounded.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`]; [`FormatError::NotFloat`] for integers and booleans.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>, FormatError> {
        TensorSource::to_f32(self, name)
    }

    /// The memory map, to share it with tensors that take no copy.
    pub fn map(&self) -> &Arc<MappedFile> {
        &self.map
    }

    /// Where the tensor's bytes lie in [`map`](Self::map).
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`].
    pub fn tensor_range(&self, name: &str) -> Result<Range<usize>, FormatError> {
        Ok(self.place(name)?.range.clone())
    }

    fn place(&self, name: &str) -> Result<&TensorPlace, FormatError> {
        self.header
            .tensors
            .get(name)
            .ok_or_else(|| FormatError::missing_tensor(&self.path, name, self.names()))
    }
}

impl TensorSource for SafetensorsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.names().collect()
    }

    fn stored(&self, name: &str) -> Result<StoredTensor, FormatError> {
        let place = self.place(name)?;
        Ok(StoredTensor {
            dtype: place.dtype.into(),
            shape: place.shape.clone(),
            bytes: MappedBytes::new(Arc::clone(&self.map), place.range.clone())
                .expect("the header was checked against the file"),
        })
    }
}
