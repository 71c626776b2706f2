//! The one way to read tensors by name whatever the container; what names mean is left to others.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{FormatError, MappedBytes, MappedFile, TensorType};

/// A container of named tensors.
///
/// Model code reads every container through this trait; [`WeightFile`](crate::WeightFile) opens
/// the right one.
pub trait TensorSource: fmt::Debug + Send + Sync {
    /// The file or index that was opened, for messages.
    fn path(&self) -> &Path;

    /// The names of all tensors, sorted.
    fn tensor_names(&self) -> Vec<&str>;

    /// Type, shape and bytes of the tensor called `name`; mapped bytes are not copied.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`].
    fn stored(&self, name: &str) -> Result<StoredTensor, FormatError>;

    /// The elements of the float tensor called `name` as f32, in row-major order.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`]; [`FormatError::NotFloat`] for integers and booleans.
    fn to_f32(&self, name: &str) -> Result<Vec<f32>, FormatError> {
        let tensor = self.stored(name)?;
        tensor.to_f32().ok_or_else(|| FormatError::NotFloat {
            path: self.path().to_path_buf(),
            name: name.to_owned(),
            dtype: tensor.dtype,
        })
    }
}

/// One stored tensor, which keeps the file it lies in mapped.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredTensor {
    /// How the elements are encoded.
    pub dtype: TensorType,
    /// Axes from the outermost to the innermost; empty for a scalar.
    pub shape: Vec<usize>,
    /// Little-endian elements or blocks in row-major order, not necessarily aligned. Exactly as
    /// many as the shape needs; may become a tensor's storage without a copy.
    pub bytes: MappedBytes,
}

impl StoredTensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.block_bytes() * self.dtype.block_len()
    }

    /// Whether an axis has length 0.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The elements in place; `None` unless they are F32, aligned, and the machine little-endian.
    pub fn as_f32(&self) -> Option<&[f32]> {
        let in_place = self.dtype == crate::Dtype::F32.into() && cfg!(target_endian = "little");
        bytemuck::try_cast_slice(&self.bytes)
            .ok()
            .filter(|_| in_place)
    }

    /// The elements as f32, see [`TensorType::decode`]; `None` for integers and booleans.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        if !self.dtype.is_float() {
            return None;
        }
        let mut values = vec![0.0; self.len()];
        self.dtype.decode(&self.bytes, &mut values);
        Some(values)
    }
}

/// Where a checked tensor lies in its file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dtype: TensorType,
    pub(crate) shape: Vec<usize>,
    /// Bytes from the start of the file; inside it, and as many as the shape needs.
    pub(crate) range: Range<usize>,
}

/// A mapped file and where its tensors lie in it.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) path: PathBuf,
    pub(crate) map: Arc<MappedFile>,
    pub(crate) tensors: BTreeMap<String, Place>,
}

impl Places {
    /// Names of all tensors, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// The tensor called `name`.
    pub(crate) fn stored(&self, name: &str) -> Result<StoredTensor, FormatError> {
        let place = self.tensors.get(name).ok_or_else(|| {
            FormatError::missing_tensor(&self.path, name, self.tensors.keys().map(String::as_str))
        })?;
        Ok(StoredTensor {
            dtype: place.dtype,
            shape: place.shape.clone(),
            bytes: MappedBytes::new(Arc::clone(&self.map), place.range.clone())
                .expect("places are checked against the file"),
        })
    }
}
