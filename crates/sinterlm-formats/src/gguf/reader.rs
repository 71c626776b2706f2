//! Reading GGUF files: the header is checked whole, tensors stay in the memory map.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GgufField, GgufMetadata, GgufValue, MAGIC, MAX_AXES, types,
    value::read_string,
};
use crate::{
    FormatError, MappedFile, StoredTensor, TensorSource, TensorType,
    cursor::Cursor,
    source::{Place, Places},
};

/// The longest metadata key that the format allows, in bytes.
const MAX_KEY_BYTES: usize = 65_535;
/// Least bytes of a metadata entry: key length, type, one byte.
const LEAST_ENTRY: u64 = 8 + 4 + 1;
/// Least bytes of a tensor's description: name length, number of axes, type, offset.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// A GGUF file of version 2 or 3, mapped; its header is checked when it is opened.
///
/// ```
/// # use sinterlm_formats::{GgufFile, TensorSource};
/// # fn show(path: &str) -> Result<(), sinterlm_formats::FormatError> {
/// let file = GgufFile::open(path)?;
/// let family = file.require("general.architecture")?.text()?;
/// let blocks = file.require(&format!("{family}.block_count"))?.uint()?;
/// let template = file.field("tokenizer.chat_template").map(|f| f.text()).transpose()?;
/// let first = file.to_f32("blk.0.attn_q.weight")?; // [d_out, d_in], dequantised
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GgufFile {
    metadata: GgufMetadata,
    places: Places,
}

impl GgufFile {
    /// Maps the file at `path` and checks its whole header; reads no tensor.
    ///
    /// # Errors
    /// [`FormatError::Io`] if the file cannot be opened; [`FormatError::Truncated`] if it ends
    /// before what it promises; [`FormatError::Header`] for another format or version, an unknown
    /// or too deeply nested value, text that is not UTF-8, a repeated key, an alignment that is no
    /// power of two, more than four axes, or rows that are not whole blocks;
    /// [`FormatError::DuplicateTensor`], [`FormatError::UnknownDtype`];
    /// [`FormatError::TensorOffsets`] for tensors that overlap, leave a gap or leave the file.
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
        let mut cursor = Cursor::new(path, &map);
        let (tensor_count, entry_count) = read_start(&mut cursor)?;
        let metadata = read_metadata(&mut cursor, entry_count)?;
        let alignment = alignment(path, &metadata)?;
        let infos = read_infos(&mut cursor, tensor_count)?;
        let data_start = (cursor.position() as u64).next_multiple_of(alignment);
        let tensors = place_tensors(path, infos, data_start, map.len() as u64, alignment)?;
        let path = path.to_path_buf();
        Ok(Self {
            metadata,
            places: Places { path, map, tensors },
        })
    }

    /// All metadata.
    pub fn metadata(&self) -> &GgufMetadata {
        &self.metadata
    }

    /// The metadata field `key`, `None` if the file has none.
    pub fn field(&self, key: &str) -> Option<GgufField<'_>> {
        GgufField::find(&self.places.path, &self.metadata, key)
    }

    /// The metadata field `key`, which the caller cannot do without.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`].
    pub fn require(&self, key: &str) -> Result<GgufField<'_>, FormatError> {
        self.field(key).ok_or_else(|| FormatError::MissingKey {
            path: self.places.path.clone(),
            key: key.to_owned(),
        })
    }
}

impl TensorSource for GgufFile {
    fn path(&self) -> &Path {
        &self.places.path
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.places.names()
    }

    fn stored(&self, name: &str) -> Result<StoredTensor, FormatError> {
        self.places.stored(name)
    }
}

/// A tensor's description as written.
struct Info {
    name: String,
    dtype: TensorType,
    shape: Vec<u64>,
    offset: u64,
}

/// Checks magic and version; returns the numbers of tensors and of metadata entries.
fn read_start(cursor: &mut Cursor<'_>) -> Result<(u64, u64), FormatError> {
    if cursor.array()? != MAGIC {
        return Err(cursor.fault("the first four bytes are not GGUF"));
    }
    match cursor.u32()? {
        2 | 3 => {}
        version if (2..=3).contains(&version.swap_bytes()) => {
            return Err(cursor.fault("the file is big-endian, convert it to little-endian"));
        }
        version => {
            return Err(cursor.fault(format!(
                "GGUF version {version} is unknown, 2 and 3 are read"
            )));
        }
    }
    Ok((cursor.u64()?, cursor.u64()?))
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<GgufMetadata, FormatError> {
    cursor.check_count(count, LEAST_ENTRY)?;
    let mut metadata = GgufMetadata::new();
    for _ in 0..count {
        let key = read_string(cursor)?;
        if key.len() > MAX_KEY_BYTES {
            return Err(cursor.fault(format!("a key is longer than {MAX_KEY_BYTES} bytes")));
        }
        let number = cursor.u32()?;
        let value = GgufValue::read(cursor, number)?;
        if metadata.contains_key(&key) {
            return Err(cursor.fault(format!("the key `{key}` stands twice")));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(path: &Path, metadata: &GgufMetadata) -> Result<u64, FormatError> {
    let Some(field) = GgufField::find(path, metadata, ALIGNMENT_KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let alignment = field.uint()?;
    if alignment.is_power_of_two() && alignment <= u32::MAX.into() {
        Ok(alignment)
    } else {
        let fault = format!("the alignment {alignment} is no power of two of 32 bits");
        Err(FormatError::header(path, fault))
    }
}

fn read_infos(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Info>, FormatError> {
    cursor.check_count(count, LEAST_TENSOR)?;
    let mut infos = Vec::new();
    for _ in 0..count {
        let name = read_string(cursor)?;
        let axes = cursor.u32()?;
        if axes as usize > MAX_AXES {
            let fault = format!("tensor `{name}` has {axes} axes, at most {MAX_AXES} are allowed");
            return Err(cursor.fault(fault));
        }
        let mut shape = vec![0; axes as usize];
        for axis in shape.iter_mut().rev() {
            *axis = cursor.u64()?;
        }
        let dtype = match types::from_number(cursor.u32()?) {
            Ok(dtype) => dtype,
            Err(dtype) => {
                return Err(FormatError::UnknownDtype {
                    path: cursor.path().to_path_buf(),
                    name,
                    dtype,
                });
            }
        };
        infos.push(Info {
            name,
            dtype,
            shape,
            offset: cursor.u64()?,
        });
    }
    Ok(infos)
}

/// Checks that the tensors, in order of their offsets, lie in the file one after the other, each
/// at the next multiple of `alignment`, as ggml demands it.
fn place_tensors(
    path: &Path,
    mut infos: Vec<Info>,
    data_start: u64,
    file_size: u64,
    alignment: u64,
) -> Result<BTreeMap<String, Place>, FormatError> {
    let limit = file_size.saturating_sub(data_start);
    let mut sized = Vec::with_capacity(infos.len());
    for info in infos.drain(..) {
        let Some(size) = info.dtype.size_bytes(&info.shape) else {
            let Info {
                name, dtype, shape, ..
            } = info;
            let fault = format!(
                "tensor `{name}` of shape {shape:?} is too large or has rows that are not whole \
                 blocks of {dtype}"
            );
            return Err(FormatError::header(path, fault));
        };
        sized.push((info, size));
    }
    sized.sort_by_key(|(info, size)| (info.offset, *size));
    let mut tensors = BTreeMap::new();
    let mut expected = 0u64;
    for (info, size) in sized {
        let Info {
            name,
            dtype,
            shape,
            offset,
        } = info;
        let end = offset.saturating_add(size);
        if offset != expected || end > limit {
            return Err(FormatError::TensorOffsets {
                path: path.to_path_buf(),
                name,
                start: offset,
                end,
                expected,
                limit,
            });
        }
        if tensors.contains_key(&name) {
            let path = path.to_path_buf();
            return Err(FormatError::DuplicateTensor { path, name });
        }
        expected = end.next_multiple_of(alignment);
        let range = (data_start + offset) as usize..(data_start + end) as usize;
        let shape = shape.into_iter().map(|n| n as usize).collect();
        tensors.insert(
            name,
            Place {
                dtype,
                shape,
                range,
            },
        );
    }
    Ok(tensors)
}
