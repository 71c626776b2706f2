//! Writing tensors into a file one at a time: what a header says of them, their elements, and the
//! loop over both. The containers format the headers.

use std::{
    borrow::Cow,
    collections::HashSet,
    io::{self, Write},
    path::Path,
};

use crate::{FormatError, TensorType, write_file_atomic};

/// Values that are encoded at once; whole blocks of every type.
const CHUNK: usize = 1 << 16;

/// A tensor to be written, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorHeader {
    /// Name, unique in the file.
    pub name: String,
    /// How the elements are stored.
    pub dtype: TensorType,
    /// Axes from the outermost to the innermost; rows are whole blocks.
    pub shape: Vec<usize>,
}

impl TensorHeader {
    /// Bytes of the elements, see [`TensorType::size_bytes`].
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        let shape: Vec<_> = self.shape.iter().map(|n| *n as u64).collect();
        self.dtype.size_bytes(&shape)
    }

    /// The error of a tensor that the format cannot hold.
    pub(crate) fn unwritable(&self, path: &Path, fault: String) -> FormatError {
        FormatError::Unwritable {
            path: path.to_path_buf(),
            name: self.name.clone(),
            fault,
        }
    }
}

/// The elements of a tensor to be written.
#[derive(Debug, Clone)]
pub enum TensorContent<'a> {
    /// Numbers, encoded as the tensor's type demands while they are written.
    Values(Cow<'a, [f32]>),
    /// Bytes that are encoded already.
    Encoded(Cow<'a, [u8]>),
}

impl TensorContent<'_> {
    /// Why these are not the elements of `tensor`, which has `size` bytes.
    fn fault(&self, tensor: &TensorHeader, size: u64) -> Option<String> {
        let TensorHeader { dtype, shape, .. } = tensor;
        match self {
            Self::Encoded(bytes) if bytes.len() as u64 != size => Some(format!(
                "{} bytes were given, {size} are needed",
                bytes.len()
            )),
            Self::Values(_) if !dtype.can_encode() => Some(format!(
                "{dtype} cannot be encoded; use F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1 or Q4_0"
            )),
            Self::Values(values) if values.len() != shape.iter().product::<usize>() => Some(
                format!("{} values were given for the shape {shape:?}", values.len()),
            ),
            _ => None,
        }
    }

    fn write(&self, dtype: TensorType, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Encoded(bytes) => out.write_all(bytes),
            Self::Values(values) => {
                let mut buffer = Vec::new();
                values.chunks(CHUNK).try_for_each(|chunk| {
                    buffer.resize(chunk.len() / dtype.block_len() * dtype.block_bytes(), 0);
                    dtype.encode(chunk, &mut buffer);
                    out.write_all(&buffer)
                })
            }
        }
    }
}

/// Refuses two tensors of one name.
pub(crate) fn check_unique<'a>(
    path: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), FormatError> {
    let mut seen = HashSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(FormatError::DuplicateTensor {
            path: path.to_path_buf(),
            name: name.to_owned(),
        }),
    }
}

/// Writes a file in one step and returns its size in bytes: `header`, then `tensors` with the sizes that
/// stand beside them, each filled up to a multiple of `alignment`.
///
/// `content` is asked for one tensor at a time, and what it gave is dropped before the next.
pub(crate) fn write_tensors<'t, 'c>(
    path: &Path,
    header: &[u8],
    tensors: impl IntoIterator<Item = (&'t TensorHeader, u64)>,
    alignment: u64,
    mut content: impl FnMut(&TensorHeader) -> TensorContent<'c>,
) -> Result<u64, FormatError> {
    let mut written = header.len() as u64;
    let mut refused = None;
    let outcome = write_file_atomic(path, |out| {
        out.write_all(header)?;
        for (tensor, size) in tensors {
            let content = content(tensor);
            if let Some(fault) = content.fault(tensor, size) {
                refused = Some(tensor.unwritable(path, fault));
                return Err(io::ErrorKind::InvalidData.into());
            }
            content.write(tensor.dtype, out)?;
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
