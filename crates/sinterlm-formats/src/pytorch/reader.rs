//! Reading PyTorch's archives: tensors by name, in place where they are contiguous.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    is_bare_pickle,
    pickle::{TensorRecord, read_tensors},
    zip,
};
use crate::{FormatError, MappedBytes, MappedFile, StoredTensor, TensorSource, TensorType};

/// The name of the pickle, below the archive's one folder.
const PICKLE: &str = "data.pkl";
/// Longest pickle that is read, in bytes.
const MAX_PICKLE_BYTES: usize = 64 << 20;

/// A file written by `torch.save`, mapped: a dictionary of tensors, or nested dictionaries, whose
/// keys are joined by dots (`model.lm_head.weight`). Entries that are no tensors are passed over.
///
/// Reading the pickle runs nothing; references to classes and functions other than those of tensors
/// are refused.
#[derive(Debug)]
pub struct PytorchFile {
    path: PathBuf,
    map: Arc<MappedFile>,
    tensors: BTreeMap<String, View>,
}

/// A tensor as a view of its storage.
#[derive(Debug)]
struct View {
    dtype: TensorType,
    shape: Vec<usize>,
    /// Bytes from the start of the file: of the tensor if `strides` is empty, else of its storage
    /// from the first element on.
    range: Range<usize>,
    /// Elements from one index to the next; empty for what lies in row-major order.
    strides: Vec<usize>,
}

impl PytorchFile {
    /// Maps the file at `path`, reads its directory and its pickle, and checks that every tensor
    /// lies in its storage.
    ///
    /// # Errors
    /// [`FormatError::Io`] if the file cannot be opened; [`FormatError::Truncated`] if it ends
    /// before what it promises; [`FormatError::Header`] for a format of before PyTorch 1.6, an
    /// archive that is damaged or compressed, or a pickle that holds no dictionary or refers to
    /// something else than tensors; [`FormatError::TensorOffsets`] for a tensor that leaves its
    /// storage.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::from_map(path, Arc::new(MappedFile::open(path)?))
    }

    /// The same for a file that is mapped or in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_map(path: impl AsRef<Path>, map: Arc<MappedFile>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let fault = |text: &str| Err(FormatError::header(path, text));
        if is_bare_pickle(&map) {
            return fault(
                "it is a bare pickle, saved before PyTorch 1.6 or without torch.save; \
                 load it in PyTorch and save it anew, best as safetensors",
            );
        }
        let entries = zip::entries(path, &map)?;
        let pickle = entries.iter().find(|(name, _)| {
            name.strip_suffix(PICKLE)
                .is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
        });
        let Some((name, range)) = pickle else {
            return fault("the archive holds no data.pkl, so torch.save did not write it");
        };
        let folder = name.strip_suffix(PICKLE).expect("found by this suffix");
        let is_big = |range: &Range<usize>| &map[range.clone()] != b"little";
        if entries
            .get(&format!("{folder}byteorder"))
            .is_some_and(is_big)
        {
            return fault("it was saved on a big-endian machine, save it again on another");
        }
        if range.len() > MAX_PICKLE_BYTES {
            return fault("the pickle is longer than 64 MiB, save the state dictionary alone");
        }
        let mut tensors = BTreeMap::new();
        for (name, record) in read_tensors(path, &map[range.clone()])? {
            let Some(storage) = entries.get(&format!("{folder}data/{}", record.key)) else {
                let key: String = record.key.chars().take(80).collect();
                let fault = format!("the storage `{key}` of tensor `{name}` is missing");
                return Err(FormatError::header(path, fault));
            };
            let view = View::new(path, &name, &record, storage)?;
            tensors.insert(name, view);
        }
        Ok(Self {
            path: path.to_path_buf(),
            map,
            tensors,
        })
    }
}

impl TensorSource for PytorchFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn stored(&self, name: &str) -> Result<StoredTensor, FormatError> {
        let view = self.tensors.get(name).ok_or_else(|| {
            FormatError::missing_tensor(&self.path, name, self.tensors.keys().map(String::as_str))
        })?;
        let bytes = if view.strides.is_empty() {
            MappedBytes::new(Arc::clone(&self.map), view.range.clone())
        } else {
            let copy = view.gather(&self.map[view.range.clone()]);
            let range = 0..copy.len();
            MappedBytes::new(Arc::new(copy.into()), range)
        };
        Ok(StoredTensor {
            dtype: view.dtype,
            shape: view.shape.clone(),
            bytes: bytes.expect("views are checked against the file"),
        })
    }
}

impl View {
    /// The view `record` of the bytes `storage` of the file.
    fn new(
        path: &Path,
        name: &str,
        record: &TensorRecord<'_>,
        storage: &Range<usize>,
    ) -> Result<Self, FormatError> {
        let dtype = TensorType::from(record.dtype);
        let element = dtype.block_bytes() as u64;
        let leaves = |start: u64, end: u64| FormatError::TensorOffsets {
            path: path.to_path_buf(),
            name: name.to_owned(),
            start,
            end,
            expected: start,
            limit: storage.len() as u64,
        };
        let start = record.offset.saturating_mul(element);
        let Some(size) = dtype.size_bytes(&record.shape) else {
            return Err(leaves(start, u64::MAX));
        };
        let shape = record.shape.iter().map(|n| *n as usize).collect();
        if size == 0 {
            let (range, strides) = (storage.start..storage.start, Vec::new());
            return Ok(Self {
                dtype,
                shape,
                range,
                strides,
            });
        }
        let is_contiguous = is_row_major(&record.shape, &record.strides);
        let extent = if is_contiguous {
            size
        } else {
            extent(record).saturating_mul(element)
        };
        let end = start.saturating_add(extent);
        // A view that repeats elements could claim any size.
        if end > storage.len() as u64 || size > storage.len() as u64 {
            return Err(leaves(start, end.max(start.saturating_add(size))));
        }
        let strides = if is_contiguous {
            Vec::new()
        } else {
            // The step along an axis of length 1 is never made and may be anything.
            let steps = record.strides.iter().zip(&record.shape);
            steps
                .map(|(stride, length)| if *length == 1 { 0 } else { *stride as usize })
                .collect()
        };
        let range = storage.start + start as usize..storage.start + end as usize;
        Ok(Self {
            dtype,
            shape,
            range,
            strides,
        })
    }

    /// The elements in row-major order; `bytes` starts at the first and ends with the last.
    fn gather(&self, bytes: &[u8]) -> Vec<u8> {
        let element = self.dtype.block_bytes();
        let count = self.shape.iter().product::<usize>();
        let mut copy = Vec::with_capacity(count * element);
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        for _ in 0..count {
            copy.extend_from_slice(&bytes[at * element..][..element]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        copy
    }
}

/// Whether elements lie one after the other in row-major order; axes of length 1 do not matter.
fn is_row_major(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(length, stride)| {
        let fits = *length == 1 || *stride == expected;
        expected *= length;
        fits
    })
}

/// Elements from the first to the last of a view that is not empty.
fn extent(record: &TensorRecord<'_>) -> u64 {
    let steps = record.shape.iter().zip(&record.strides);
    steps.fold(1, |extent: u64, (length, stride)| {
        extent.saturating_add((length - 1).saturating_mul(*stride))
    })
}
