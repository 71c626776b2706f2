//! Writing GGUF files: streamed, atomic, and the same bytes for the same content.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GgufField, GgufMetadata, MAGIC, MAX_AXES, types,
    value::write_string,
};
use crate::{
    FormatError, TensorContent, TensorHeader,
    tensor_write::{check_unique, write_tensors},
};

/// ggml's limit for tensor names (`GGML_MAX_NAME`, of which one byte ends the name).
const MAX_NAME_BYTES: usize = 63;
const VERSION: u32 = 3;

/// Writes `metadata` and `tensors` to `path` in one step and returns the file's size in bytes.
///
/// `content` is called once for each tensor, in order, when its bytes are due, so no more than one
/// tensor need be in memory. Tensors start at multiples of `general.alignment`, 32 where `metadata`
/// has no such key. Names have at most 63 bytes, shapes at most four axes. An existing file is
/// replaced as by [`write_file_atomic`](crate::write_file_atomic).
///
/// Numbers are encoded by [`TensorType::encode`](crate::TensorType::encode). llama.cpp reads matrices in
/// blocks only where rows are whole blocks, and wants vectors (norms, biases) in F32.
///
/// # Errors
/// Before anything is written: [`FormatError::DuplicateTensor`], [`FormatError::Unwritable`] for a
/// name, shape or type that GGUF cannot hold, [`FormatError::Header`] for an alignment that is no
/// power of two. Then [`FormatError::Unwritable`] if `content` gives another number of elements than
/// the shape, [`FormatError::DiskFull`] and [`FormatError::Io`]; the old file then stays.
pub fn write_gguf<'a>(
    path: impl AsRef<Path>,
    metadata: &GgufMetadata,
    tensors: &[TensorHeader],
    content: impl FnMut(&TensorHeader) -> TensorContent<'a>,
) -> Result<u64, FormatError> {
    let path = path.as_ref();
    let alignment = match GgufField::find(path, metadata, ALIGNMENT_KEY) {
        Some(field) => field.uint()?,
        None => DEFAULT_ALIGNMENT,
    };
    if !alignment.is_power_of_two() || alignment > u32::MAX.into() {
        let fault = format!("the alignment {alignment} is no power of two of 32 bits");
        return Err(FormatError::header(path, fault));
    }
    let sizes = check(path, tensors)?;
    let header = render_header(metadata, tensors, &sizes, alignment);
    let sized = tensors.iter().zip(sizes);
    write_tensors(path, &header, sized, alignment, content)
}

/// Checks what needs no data; returns the tensors' sizes in bytes.
fn check(path: &Path, tensors: &[TensorHeader]) -> Result<Vec<u64>, FormatError> {
    check_unique(path, tensors.iter().map(|tensor| tensor.name.as_str()))?;
    let mut sizes = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let refuse = |fault: String| Err(tensor.unwritable(path, fault));
        if tensor.name.len() > MAX_NAME_BYTES {
            return refuse(format!(
                "the name is longer than {MAX_NAME_BYTES} bytes, shorten it"
            ));
        }
        if tensor.shape.len() > MAX_AXES {
            return refuse(format!("it has more than {MAX_AXES} axes, reshape it"));
        }
        if types::to_number(tensor.dtype).is_none() {
            return refuse(format!("GGUF has no {}, convert it to F32", tensor.dtype));
        }
        match tensor.size_bytes() {
            Some(size) => sizes.push(size),
            None => {
                return refuse(format!(
                    "rows of shape {:?} are not whole blocks of {}, which have {} elements; \
                     write it as F16 or F32",
                    tensor.shape,
                    tensor.dtype,
                    tensor.dtype.block_len()
                ));
            }
        }
    }
    Ok(sizes)
}

/// Everything up to the first tensor's bytes, padding included.
fn render_header(
    metadata: &GgufMetadata,
    tensors: &[TensorHeader],
    sizes: &[u64],
    alignment: u64,
) -> Vec<u8> {
    let mut header = Vec::new();
    let mut render = || -> io::Result<()> {
        let out = &mut header as &mut dyn Write;
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&(tensors.len() as u64).to_le_bytes())?;
        out.write_all(&(metadata.len() as u64).to_le_bytes())?;
        for (key, value) in metadata {
            write_string(key, out)?;
            value.write(out)?;
        }
        let mut offset = 0u64;
        for (tensor, size) in tensors.iter().zip(sizes) {
            write_string(&tensor.name, out)?;
            out.write_all(&(tensor.shape.len() as u32).to_le_bytes())?;
            for axis in tensor.shape.iter().rev() {
                out.write_all(&(*axis as u64).to_le_bytes())?;
            }
            let number = types::to_number(tensor.dtype).expect("checked before");
            out.write_all(&number.to_le_bytes())?;
            out.write_all(&offset.to_le_bytes())?;
            offset += size.next_multiple_of(alignment);
        }
        Ok(())
    };
    render().expect("writing to a Vec cannot fail");
    header.resize(header.len().next_multiple_of(alignment as usize), 0);
    header
}
