//! Writing GGUF files: streamed, atomic, and the same bytes for the same content.

use std::{
    borrow::Cow,
    collections::HashSet,
    io::{self, Write},
    path::Path,
};

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GgufField, GgufMetadata, MAGIC, MAX_AXES, types,
    value::write_string,
};
use crate::{FormatError, TensorType, write_file_atomic};

/// ggml's limit for tensor names (`GGML_MAX_NAME`, of which one byte ends the name).
const MAX_NAME_BYTES: usize = 63;
/// Values that are encoded at once; whole blocks of every type.
const CHUNK: usize = 1 << 16;
const VERSION: u32 = 3;

/// A tensor to be written: what stands of it in the header.
#[derive(Debug, Clone)]
pub struct GgufTensor {
    /// Name, unique in the file, at most 63 bytes.
    pub name: String,
    /// How the elements are stored.
    pub dtype: TensorType,
    /// Axes from the outermost to the innermost, at most four; rows are whole blocks.
    pub shape: Vec<usize>,
}

/// The elements of a tensor to be written.
#[derive(Debug, Clone)]
pub enum GgufData<'a> {
    /// Numbers, encoded as the tensor's type demands while they are written.
    Values(Cow<'a, [f32]>),
    /// Bytes that are encoded already.
    Encoded(Cow<'a, [u8]>),
}

/// Writes `metadata` and `tensors` to `path` in one step and returns the file's size in bytes.
///
/// `data` is called once for each tensor, in order, when its bytes are due, so no more than one
/// tensor need be in memory. Tensors start at multiples of `general.alignment`, 32 where
/// `metadata` has no such key. An existing file is replaced as by
/// [`write_file_atomic`](crate::write_file_atomic).
///
/// Numbers are encoded by [`TensorType::encode`]. llama.cpp reads matrices in blocks only where
/// rows are whole blocks, and wants vectors (norms, biases) in F32.
///
/// # Errors
/// Before anything is written: [`FormatError::DuplicateTensor`], [`FormatError::Unwritable`] for a
/// name, shape or type that GGUF cannot hold, [`FormatError::Header`] for an alignment that is no
/// power of two. Then [`FormatError::Unwritable`] if `data` gives another number of elements than
/// the shape, [`FormatError::DiskFull`] and [`FormatError::Io`]; the old file then stays.
pub fn write_gguf<'a>(
    path: impl AsRef<Path>,
    metadata: &GgufMetadata,
    tensors: &[GgufTensor],
    mut data: impl FnMut(&GgufTensor) -> GgufData<'a>,
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
    let mut written = header.len() as u64;
    let mut refused = None;
    let outcome = write_file_atomic(path, |out| {
        out.write_all(&header)?;
        for (tensor, size) in tensors.iter().zip(&sizes) {
            if let Err(fault) = fits(path, tensor, *size, &data(tensor), out)? {
                refused = Some(fault);
                return Err(io::ErrorKind::InvalidData.into());
            }
            let padding = size.next_multiple_of(alignment) - size;
            io::copy(&mut io::Read::take(io::repeat(0), padding), out)?;
            written += size + padding;
        }
        Ok(())
    });
    match refused {
        Some(fault) => Err(fault),
        None => outcome.map(|()| written),
    }
}

/// Checks what needs no data; returns the tensors' sizes in bytes.
fn check(path: &Path, tensors: &[GgufTensor]) -> Result<Vec<u64>, FormatError> {
    let mut seen = HashSet::new();
    let mut sizes = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let refuse = |fault: String| Err(unwritable(path, tensor, fault));
        if !seen.insert(tensor.name.as_str()) {
            return Err(FormatError::DuplicateTensor {
                path: path.to_path_buf(),
                name: tensor.name.clone(),
            });
        }
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
        let shape: Vec<_> = tensor.shape.iter().map(|n| *n as u64).collect();
        match tensor.dtype.size_bytes(&shape) {
            Some(size) => sizes.push(size),
            None => {
                return refuse(format!(
                    "rows of shape {shape:?} are not whole blocks of {}, which have {} elements; \
                     write it as F16 or F32",
                    tensor.dtype,
                    tensor.dtype.block_len()
                ));
            }
        }
    }
    Ok(sizes)
}

fn unwritable(path: &Path, tensor: &GgufTensor, fault: String) -> FormatError {
    FormatError::Unwritable {
        path: path.to_path_buf(),
        name: tensor.name.clone(),
        fault,
    }
}

/// Everything up to the first tensor's bytes, padding included.
fn render_header(
    metadata: &GgufMetadata,
    tensors: &[GgufTensor],
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

/// Writes one tensor's bytes, or tells why `data` is not that tensor's.
fn fits(
    path: &Path,
    tensor: &GgufTensor,
    size: u64,
    data: &GgufData<'_>,
    out: &mut dyn Write,
) -> io::Result<Result<(), FormatError>> {
    let dtype = tensor.dtype;
    let refuse = |fault: String| Ok(Err(unwritable(path, tensor, fault)));
    match data {
        GgufData::Encoded(bytes) if bytes.len() as u64 != size => refuse(format!(
            "{} bytes were given, {size} are needed",
            bytes.len()
        )),
        GgufData::Encoded(bytes) => out.write_all(bytes).map(Ok),
        GgufData::Values(_) if !dtype.can_encode() => refuse(format!(
            "{dtype} cannot be encoded; use F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1 or Q4_0"
        )),
        GgufData::Values(values) if values.len() != tensor.shape.iter().product::<usize>() => {
            let (found, shape) = (values.len(), &tensor.shape);
            refuse(format!("{found} values were given for the shape {shape:?}"))
        }
        GgufData::Values(values) => {
            let mut buffer = Vec::new();
            for chunk in values.chunks(CHUNK) {
                buffer.resize(chunk.len() / dtype.block_len() * dtype.block_bytes(), 0);
                dtype.encode(chunk, &mut buffer);
                out.write_all(&buffer)?;
            }
            Ok(Ok(()))
        }
    }
}
