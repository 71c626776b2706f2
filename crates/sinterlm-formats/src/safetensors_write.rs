//! Writing safetensors files: streamed, atomic, and the same bytes for the same content.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    path::Path,
};

use safetensors::tensor::TensorInfo;

use crate::{
    Dtype, FormatError, TensorContent, TensorHeader, TensorType,
    header::METADATA_KEY,
    tensor_write::{check_unique, write_tensors},
};

/// A tensor to be written, with its bytes.
#[derive(Debug, Clone)]
pub struct TensorEntry<'a> {
    /// Name, unique in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Axes from the outermost to the innermost; empty for a scalar.
    pub shape: Vec<usize>,
    /// Little-endian elements in row-major order.
    pub data: Cow<'a, [u8]>,
}

impl<'a> TensorEntry<'a> {
    /// An entry of f32 elements, without a copy on little-endian machines.
    pub fn from_f32(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        data: &'a [f32],
    ) -> Self {
        let bytes = if cfg!(target_endian = "little") {
            Cow::Borrowed(bytemuck::cast_slice(data))
        } else {
            Cow::Owned(data.iter().flat_map(|x| x.to_le_bytes()).collect())
        };
        Self {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.into(),
            data: bytes,
        }
    }
}

/// Writes `entries` and `metadata` to `path` in one step and returns the file's size in bytes.
///
/// As [`stream_safetensors`], for bytes that are in memory anyway: no copy of a tensor is made.
///
/// # Errors
/// As [`stream_safetensors`], and [`FormatError::TensorSize`] if bytes do not fit the shape, before
/// anything is written.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    entries: &[TensorEntry<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<u64, FormatError> {
    let path = path.as_ref();
    let mut tensors = Vec::with_capacity(entries.len());
    let mut data = HashMap::with_capacity(entries.len());
    for entry in entries {
        let tensor = TensorHeader {
            name: entry.name.clone(),
            dtype: entry.dtype.into(),
            shape: entry.shape.clone(),
        };
        let found = entry.data.len() as u64;
        if tensor.size_bytes() != Some(found) {
            return Err(FormatError::TensorSize {
                path: path.to_path_buf(),
                name: tensor.name,
                shape: tensor.shape.iter().map(|n| *n as u64).collect(),
                dtype: tensor.dtype,
                found,
            });
        }
        data.insert(entry.name.as_str(), &*entry.data);
        tensors.push(tensor);
    }
    stream_safetensors(path, &tensors, metadata, |tensor| {
        TensorContent::Encoded(Cow::Borrowed(data[tensor.name.as_str()]))
    })
}

/// Writes `tensors` and `metadata` to `path` in one step and returns the file's size in bytes.
///
/// Tensors are ordered by element size, largest first, then by name, so that all are aligned and
/// equal content gives equal bytes; the order of `tensors` has no effect. `content` is called once
/// for each of them, in the file's order, when its bytes are due, so no more than one tensor need be
/// in memory. An existing file is replaced as by [`write_file_atomic`](crate::write_file_atomic).
///
/// # Errors
/// Before anything is written: [`FormatError::DuplicateTensor`], [`FormatError::ReservedName`],
/// [`FormatError::Unwritable`] for blocks and for shapes too large. Then [`FormatError::Unwritable`]
/// if `content` gives another number of elements than the shape, [`FormatError::DiskFull`] and
/// [`FormatError::Io`]; the old file then stays.
pub fn stream_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: &[TensorHeader],
    metadata: &BTreeMap<String, String>,
    content: impl FnMut(&TensorHeader) -> TensorContent<'a>,
) -> Result<u64, FormatError> {
    let path = path.as_ref();
    check_unique(path, tensors.iter().map(|tensor| tensor.name.as_str()))?;
    let places = tensors.iter().map(|tensor| Place::of(path, tensor));
    let mut places = places.collect::<Result<Vec<_>, _>>()?;
    places.sort_by(|a, b| {
        let descending_size = b.dtype.size_bytes().cmp(&a.dtype.size_bytes());
        descending_size.then_with(|| a.tensor.name.cmp(&b.tensor.name))
    });
    let header = render_header(&places, metadata);
    let mut start = (header.len() as u64).to_le_bytes().to_vec();
    start.extend(header.into_bytes());
    let sized = places.iter().map(|place| (place.tensor, place.size as u64));
    write_tensors(path, &start, sized, 1, content)
}

/// A tensor whose type and size safetensors can hold.
struct Place<'a> {
    tensor: &'a TensorHeader,
    dtype: Dtype,
    size: usize,
}

impl<'a> Place<'a> {
    fn of(path: &Path, tensor: &'a TensorHeader) -> Result<Self, FormatError> {
        if tensor.name == METADATA_KEY {
            return Err(FormatError::ReservedName {
                path: path.to_path_buf(),
                name: tensor.name.clone(),
            });
        }
        let TensorType::Plain(dtype) = tensor.dtype else {
            let fault = format!("safetensors has no {}, convert it to F32", tensor.dtype);
            return Err(tensor.unwritable(path, fault));
        };
        let size = tensor.size_bytes().and_then(|size| size.try_into().ok());
        let too_large = || {
            let fault = format!("the shape {:?} is too large", tensor.shape);
            tensor.unwritable(path, fault)
        };
        Ok(Self {
            tensor,
            dtype,
            size: size.ok_or_else(too_large)?,
        })
    }
}

/// The JSON header, padded with spaces so that the data starts at a multiple of eight bytes.
///
/// The `safetensors` crate keeps metadata in a hash map, whose order differs from run to run; so
/// only its `TensorInfo` is used, and the object around it is put together here.
fn render_header(ordered: &[Place<'_>], metadata: &BTreeMap<String, String>) -> String {
    let json = "strings, numbers and maps of them are always JSON";
    let mut members = Vec::with_capacity(ordered.len() + 1);
    if !metadata.is_empty() {
        let text = serde_json::to_string(metadata).expect(json);
        members.push(format!("\"{METADATA_KEY}\":{text}"));
    }
    let mut offset = 0;
    for Place {
        tensor,
        dtype,
        size,
    } in ordered
    {
        let info = TensorInfo {
            dtype: dtype.to_safetensors(),
            shape: tensor.shape.clone(),
            data_offsets: (offset, offset + size),
        };
        offset += size;
        let name = serde_json::to_string(&tensor.name).expect(json);
        members.push(format!(
            "{name}:{}",
            serde_json::to_string(&info).expect(json)
        ));
    }
    let mut header = format!("{{{}}}", members.join(","));
    let padding = header.len().next_multiple_of(8) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));
    header
}
