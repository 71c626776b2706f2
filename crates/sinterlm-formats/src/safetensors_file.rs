//! Reading safetensors files: names, shapes and bytes straight from the memory map.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use half::{bf16, f16};

use crate::{
    Dtype, FormatError, MappedFile,
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
        let path = path.as_ref().to_path_buf();
        let map = Arc::new(MappedFile::open(&path)?);
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
        let TensorView { dtype, data, .. } = self.tensor(name)?;
        Ok(match dtype {
            Dtype::F32 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b).into())
                .collect(),
            Dtype::BF16 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| bf16::from_le_bytes(*b).into())
                .collect(),
            Dtype::F64 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b) as f32)
                .collect(),
            _ => {
                let (path, name) = (self.path.clone(), name.to_owned());
                return Err(FormatError::NotFloat { path, name, dtype });
            }
        })
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
        self.header.tensors.get(name).ok_or_else(|| {
            let mut known: Vec<_> = self.names().take(3).map(|n| format!("`{n}`")).collect();
            match self.names().len() {
                0 => known.push("none".into()),
                1..=3 => {}
                more => known.push(format!("{} more", more - 3)),
            }
            FormatError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }
}
