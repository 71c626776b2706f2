//! Writing safetensors files: streamed, atomic, and the same bytes for the same content.

use std::{borrow::Cow, collections::BTreeMap, collections::HashSet, path::Path};

use safetensors::tensor::TensorInfo;

use crate::{Dtype, FormatError, TensorType, header::METADATA_KEY, write_file_atomic};

/// A tensor to be written.
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
/// Tensors are ordered by element size, largest first, then by name, so that all are aligned and
/// equal content gives equal bytes; the order of `entries` has no effect. Data is streamed: no
/// copy of a tensor is made. An existing file is replaced as by
/// [`write_file_atomic`](crate::write_file_atomic).
///
/// # Errors
/// Before anything is written: [`FormatError::DuplicateTensor`], [`FormatError::ReservedName`],
/// [`FormatError::TensorSize`] if bytes do not fit the shape. Then [`FormatError::DiskFull`] and
/// [`FormatError::Io`].
pub fn write_safetensors(
    path: impl AsRef<Path>,
    entries: &[TensorEntry<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<u64, FormatError> {
    let path = path.as_ref();
    check_entries(path, entries)?;
    let mut ordered: Vec<_> = entries.iter().collect();
    ordered.sort_by(|a, b| {
        let descending_size = b.dtype.size_bytes().cmp(&a.dtype.size_bytes());
        descending_size.then_with(|| a.name.cmp(&b.name))
    });
    let header = render_header(&ordered, metadata);
    let data_size: usize = ordered.iter().map(|entry| entry.data.len()).sum();
    write_file_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        ordered
            .iter()
            .try_for_each(|entry| out.write_all(&entry.data))
    })?;
    Ok((8 + header.len() + data_size) as u64)
}

fn check_entries(path: &Path, entries: &[TensorEntry<'_>]) -> Result<(), FormatError> {
    let mut seen = HashSet::new();
    for entry in entries {
        let (path, name) = (|| path.to_path_buf(), || entry.name.clone());
        if entry.name == METADATA_KEY {
            return Err(FormatError::ReservedName {
                path: path(),
                name: name(),
            });
        }
        if !seen.insert(entry.name.as_str()) {
            return Err(FormatError::DuplicateTensor {
                path: path(),
                name: name(),
            });
        }
        let shape: Vec<_> = entry.shape.iter().map(|n| *n as u64).collect();
        if TensorType::from(entry.dtype).size_bytes(&shape) != Some(entry.data.len() as u64) {
            return Err(FormatError::TensorSize {
                path: path(),
                name: name(),
                shape,
                dtype: entry.dtype.into(),
                found: entry.data.len() as u64,
            });
        }
    }
    Ok(())
}

/// The JSON header, padded with spaces so that the data starts at a multiple of eight bytes.
///
/// The `safetensors` crate keeps metadata in a hash map, whose order differs from run to run; so
/// only its `TensorInfo` is used, and the object around it is put together here.
fn render_header(ordered: &[&TensorEntry<'_>], metadata: &BTreeMap<String, String>) -> String {
    let json = "strings, numbers and maps of them are always JSON";
    let mut members = Vec::with_capacity(ordered.len() + 1);
    if !metadata.is_empty() {
        let text = serde_json::to_string(metadata).expect(json);
        members.push(format!("\"{METADATA_KEY}\":{text}"));
    }
    let mut offset = 0;
    for entry in ordered {
        let info = TensorInfo {
            dtype: entry.dtype.to_safetensors(),
            shape: entry.shape.clone(),
            data_offsets: (offset, offset + entry.data.len()),
        };
        offset += entry.data.len();
        let name = serde_json::to_string(&entry.name).expect(json);
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
