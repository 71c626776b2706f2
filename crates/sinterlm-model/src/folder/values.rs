//! From a tensor in a file to a parameter's values: in the memory map where they can stay there, else
//! decoded and put into our order by all threads.

use std::borrow::Cow;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, TensorData};
use rayon::prelude::*;
use sinterlm_formats::{BlockType, Dtype, StoredTensor, TensorType};
use sinterlm_kernels::{PackedFormat, PackedMatrix};

use super::place::Form;
use super::report::LoadReport;
use crate::init::Values;

/// How weights are held in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightsAs {
    /// As numbers in f32, trainable.
    #[default]
    F32,
    /// Matrices in F16, BF16, Q8_0, Q4_0 or Q4_1 stay in that type, mostly in the memory map, and
    /// products read them there: less memory, faster generation, the same numbers. For inference;
    /// other types become f32.
    Stored,
}

/// Numbers decoded by one task; whole blocks of any type.
const TASK_NUMBERS: usize = 1 << 15;
/// Weights that share a block in packed matrices.
const BLOCK: usize = 32;

/// The values of a parameter of `shape`, which lies in the file in the form given.
pub(super) fn values_of(
    stored: StoredTensor,
    (form, weights): (Form, WeightsAs),
    shape: &[usize],
    device: &Device,
    report: &mut LoadReport,
) -> Values {
    if weights == WeightsAs::Stored
        && let Some(format) = packed_format(stored.dtype)
        && let &[rows, cols] = shape
        && cols.is_multiple_of(BLOCK)
        && form.keeps_rows()
    {
        let plain = device.clone().without_autodiff(); // frozen, on a device that trains, too
        return Values::Packed(packed(stored, form, format, [rows, cols], &plain, report));
    }
    let size_bytes = 4 * shape.iter().product::<usize>();
    if stored.as_f32().is_some() && form.keeps_rows() {
        let row_bytes = 4 * shape[1..].iter().product::<usize>();
        let file = bytes::Bytes::from_owner(stored.bytes.clone());
        if let Cow::Borrowed(part) = form.rows(&file, shape[0], row_bytes) {
            report.mapped_bytes += size_bytes;
            let bytes = mapped(&file, part);
            return Values::Numbers(TensorData::from_bytes(bytes, shape.to_vec(), DType::F32));
        }
    }
    report.copied_bytes += size_bytes;
    let numbers = match stored.as_f32() {
        Some(numbers) => Cow::Borrowed(numbers),
        None => Cow::Owned(decoded(&stored)),
    };
    Values::Numbers(TensorData::new(
        form.restore(numbers, shape),
        shape.to_vec(),
    ))
}

/// The type of packed matrices that equals a file's.
fn packed_format(dtype: TensorType) -> Option<PackedFormat> {
    Some(match dtype {
        TensorType::Plain(Dtype::F16) => PackedFormat::F16,
        TensorType::Plain(Dtype::BF16) => PackedFormat::Bf16,
        TensorType::Blocks(BlockType::Q8_0) => PackedFormat::Q8_0,
        TensorType::Blocks(BlockType::Q4_0) => PackedFormat::Q4_0,
        TensorType::Blocks(BlockType::Q4_1) => PackedFormat::Q4_1,
        _ => return None,
    })
}

fn packed(
    stored: StoredTensor,
    form: Form,
    format: PackedFormat,
    [rows, cols]: [usize; 2],
    device: &Device,
    report: &mut LoadReport,
) -> PackedMatrix {
    let row_bytes = cols / BLOCK * format.block_bytes();
    report.packed_bytes += rows * row_bytes;
    let file = bytes::Bytes::from_owner(stored.bytes);
    let part = form.rows(&file, rows, row_bytes);
    // Tensors of words can't begin or end between words; GGUF files begin all tensors at one.
    let in_words = part.len().is_multiple_of(4) && part.as_ptr().addr().is_multiple_of(4);
    match part {
        Cow::Borrowed(part) if in_words && cfg!(target_endian = "little") => {
            report.mapped_bytes += part.len();
            let words = mapped(&file, part);
            let words = TensorData::from_bytes(words, [part.len() / 4], DType::I32);
            PackedMatrix::from_words(words, format, [rows, cols], device)
        }
        part => {
            report.copied_bytes += part.len();
            PackedMatrix::from_bytes(&part, format, [rows, cols], device)
        }
    }
}

/// `part` of a mapped file, without a copy.
fn mapped(file: &bytes::Bytes, part: &[u8]) -> Bytes {
    Bytes::from_shared(file.slice_ref(part), AllocationProperty::File)
}

/// All numbers of a tensor of floats.
pub(super) fn decoded(stored: &StoredTensor) -> Vec<f32> {
    let dtype = stored.dtype;
    let task_bytes = TASK_NUMBERS / dtype.block_len() * dtype.block_bytes();
    let mut numbers = vec![0.0; stored.len()];
    let parts = numbers.par_chunks_mut(TASK_NUMBERS);
    parts
        .zip(stored.bytes.par_chunks(task_bytes))
        .for_each(|(numbers, bytes)| dtype.decode(bytes, numbers));
    numbers
}
