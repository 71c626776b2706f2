//! The safetensors header, read strictly: every fault is found here and named with its tensor.
//!
//! The `safetensors` crate reports most faults without a name and lets a repeated name replace the
//! first; so entries are checked one by one before its own validation has the last word.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    ops::Range,
    path::Path,
};

use safetensors::SafeTensors;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::{Dtype, FormatError, TensorType};

/// The format's limit for the header, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Length of the field that holds the header's length.
const LENGTH_BYTES: u64 = 8;
/// The key of the text metadata, which no tensor may use.
pub(crate) const METADATA_KEY: &str = "__metadata__";

/// Where one tensor lies.
#[derive(Debug, Clone)]
pub(crate) struct TensorPlace {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Bytes from the start of the file.
    pub(crate) range: Range<usize>,
}

/// A checked header: every range lies inside the file and fits its shape.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) tensors: BTreeMap<String, TensorPlace>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Reads and checks the header of the file whose bytes are `bytes`; `path` is for messages.
pub(crate) fn read_header(path: &Path, bytes: &[u8]) -> Result<Header, FormatError> {
    let size = bytes.len() as u64;
    let truncated = |needed| FormatError::Truncated {
        path: path.to_path_buf(),
        found: size,
        needed,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(truncated(LENGTH_BYTES));
    };
    let header_size = u64::from_le_bytes(*length);
    if header_size > MAX_HEADER_BYTES {
        return Err(FormatError::HeaderTooLarge {
            path: path.to_path_buf(),
            found: header_size,
            limit: MAX_HEADER_BYTES,
        });
    }
    if header_size > rest.len() as u64 {
        return Err(truncated(LENGTH_BYTES + header_size));
    }
    let (header, data) = rest.split_at(header_size as usize);
    let raw: RawHeader =
        serde_json::from_slice(header).map_err(|e| FormatError::header(path, e.to_string()))?;
    let tensors = place_tensors(
        path,
        raw.tensors,
        data.len() as u64,
        bytes.len() - data.len(),
    )?;
    SafeTensors::read_metadata(bytes).map_err(|e| FormatError::header(path, e.to_string()))?;
    Ok(Header {
        tensors,
        metadata: raw.metadata,
    })
}

/// Checks that the tensors, in order of their offsets, cover the data without gap or overlap.
fn place_tensors(
    path: &Path,
    mut raw: Vec<(String, RawTensor)>,
    data_size: u64,
    data_start: usize,
) -> Result<BTreeMap<String, TensorPlace>, FormatError> {
    let mut seen = HashSet::new();
    if let Some((name, _)) = raw.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        let (path, name) = (path.to_path_buf(), name.clone());
        return Err(FormatError::DuplicateTensor { path, name });
    }
    raw.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut tensors = BTreeMap::new();
    let mut expected = 0;
    for (
        name,
        RawTensor {
            dtype,
            shape,
            data_offsets: (start, end),
        },
    ) in raw
    {
        let Some(dtype) = Dtype::from_name(&dtype) else {
            return Err(FormatError::UnknownDtype {
                path: path.to_path_buf(),
                name,
                dtype,
            });
        };
        if start != expected || end < start || end > data_size {
            return Err(FormatError::TensorOffsets {
                path: path.to_path_buf(),
                name,
                start,
                end,
                expected,
                limit: data_size,
            });
        }
        if TensorType::from(dtype).size_bytes(&shape) != Some(end - start) {
            return Err(FormatError::TensorSize {
                path: path.to_path_buf(),
                name,
                shape,
                dtype: dtype.into(),
                found: end - start,
            });
        }
        expected = end;
        let shape = shape.into_iter().map(|n| n as usize).collect();
        let range = data_start + start as usize..data_start + end as usize;
        tensors.insert(
            name,
            TensorPlace {
                dtype,
                shape,
                range,
            },
        );
    }
    if expected != data_size {
        let extra = data_size - expected;
        return Err(FormatError::TrailingBytes {
            path: path.to_path_buf(),
            extra,
        });
    }
    Ok(tensors)
}

/// The header as written: entries in order, repeated names and unknown dtypes included.
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let (mut tensors, mut metadata) = (Vec::new(), None);
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA_KEY {
                        if metadata.replace(map.next_value()?).is_some() {
                            return Err(A::Error::duplicate_field(METADATA_KEY));
                        }
                    } else {
                        let tensor = map
                            .next_value()
                            .map_err(|e| A::Error::custom(format!("tensor `{name}`: {e}")))?;
                        tensors.push((name, tensor));
                    }
                }
                Ok(RawHeader {
                    tensors,
                    metadata: metadata.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
