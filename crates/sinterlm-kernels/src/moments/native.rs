//! Moments on flex: the buffers behind one, cut into pieces for tasks, and the 8-bit code.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{DType, Device, Int, Tensor, TensorData, bf16},
};
use rayon::prelude::*;

use super::{BLOCK, Moment, MomentFormat, MomentKind, Storage, WORDS};
use crate::{
    buffer,
    isa::{Kernel, vectorized},
};

/// Values per task; a multiple of the blocks.
pub(crate) const TASK: usize = 1 << 14;

/// Zeros in buffers that the system has zeroed. `Tensor::zeros` takes a second buffer and copies; the
/// first leaves a gap in the heap that lasts as long as the moment.
pub(super) fn zeros(len: usize, format: MomentFormat, device: &Device) -> Storage {
    let blocks = len.div_ceil(BLOCK);
    let floats = |len: usize| {
        let zeros = TensorData::new(vec![0f32; len], [len]);
        Tensor::from_data(zeros, (device, DType::F32))
    };
    match format {
        MomentFormat::F32 => Storage::Float(floats(len)),
        MomentFormat::Bf16 => {
            let zeros = TensorData::new(vec![bf16::ZERO; len], [len]);
            Storage::Float(Tensor::from_data(zeros, (device, DType::BF16)))
        }
        MomentFormat::Int8 => {
            let words = TensorData::new(vec![0i32; blocks * WORDS], [blocks * WORDS]);
            let words = Tensor::from_data(words, (device, DType::I32));
            Storage::Codes(words, floats(blocks))
        }
    }
}

/// The buffers behind a moment.
pub(crate) struct Buffers {
    kind: MomentKind,
    len: usize,
    parts: Parts,
}

enum Parts {
    F32(FlexTensor),
    Bf16(FlexTensor),
    Int8(FlexTensor, FlexTensor),
}

/// One task's share of a moment.
pub(crate) enum Piece<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
    Int8(MomentKind, &'a mut [i32], &'a mut [f32]),
}

impl Buffers {
    pub(crate) fn new(moment: Moment) -> Self {
        let parts = match moment.storage {
            Storage::Float(values) if values.dtype() == DType::BF16 => {
                Parts::Bf16(buffer::whole(values))
            }
            Storage::Float(values) => Parts::F32(buffer::whole(values)),
            Storage::Codes(words, scales) => Parts::Int8(ints(words), buffer::whole(scales)),
        };
        Self {
            kind: moment.kind,
            len: moment.len,
            parts,
        }
    }

    pub(crate) fn into_moment(self) -> Moment {
        let storage = match self.parts {
            Parts::F32(values) | Parts::Bf16(values) => Storage::Float(buffer::tensor(values)),
            Parts::Int8(words, scales) => Storage::Codes(
                Tensor::from_primitive::<Flex>(words),
                buffer::tensor(scales),
            ),
        };
        Moment {
            kind: self.kind,
            len: self.len,
            storage,
        }
    }

    /// Pieces of [`TASK`] values; the last may be shorter.
    pub(crate) fn pieces(&mut self) -> Vec<Piece<'_>> {
        const BLOCKS: usize = TASK / BLOCK;
        match &mut self.parts {
            Parts::F32(values) => values
                .storage_mut::<f32>()
                .chunks_mut(TASK)
                .map(Piece::F32)
                .collect(),
            Parts::Bf16(values) => values
                .storage_mut::<bf16>()
                .chunks_mut(TASK)
                .map(Piece::Bf16)
                .collect(),
            Parts::Int8(words, scales) => words
                .storage_mut::<i32>()
                .chunks_mut(BLOCKS * WORDS)
                .zip(scales.storage_mut::<f32>().chunks_mut(BLOCKS))
                .map(|(words, scales)| Piece::Int8(self.kind, words, scales))
                .collect(),
        }
    }
}

fn ints(tensor: Tensor<1, Int>) -> FlexTensor {
    let primitive = tensor
        .try_into_primitive::<Flex>()
        .expect("the native route is taken on flex");
    primitive.to_contiguous()
}

impl Piece<'_> {
    /// Reads block number `at` of the piece; what lies behind its values is not changed or 0.
    #[inline(always)]
    pub(crate) fn read(&self, at: usize, out: &mut [f32; BLOCK]) {
        let first = at * BLOCK;
        match self {
            Self::F32(values) => {
                let values = &values[first..values.len().min(first + BLOCK)];
                out[..values.len()].copy_from_slice(values);
            }
            Self::Bf16(values) => {
                let values = &values[first..values.len().min(first + BLOCK)];
                for (out, value) in out.iter_mut().zip(values) {
                    *out = f32::from_bits(u32::from(value.to_bits()) << 16);
                }
            }
            Self::Int8(kind, words, scales) => {
                let words = &words[at * WORDS..][..WORDS];
                match kind {
                    MomentKind::First => unpack(words, out, |word, shift| {
                        first_value((word << (24 - shift)) >> 24, scales[at])
                    }),
                    MomentKind::Second => unpack(words, out, |word, shift| {
                        second_value((word >> shift) & 255, scales[at])
                    }),
                }
            }
        }
    }

    /// Writes block number `at`: the values that the piece has of it, the others must be 0.
    #[inline(always)]
    pub(crate) fn write(&mut self, at: usize, values: &[f32; BLOCK]) {
        let first = at * BLOCK;
        match self {
            Self::F32(out) => {
                let end = out.len().min(first + BLOCK);
                let out = &mut out[first..end];
                out.copy_from_slice(&values[..out.len()]);
            }
            Self::Bf16(out) => {
                let end = out.len().min(first + BLOCK);
                for (out, &value) in out[first..end].iter_mut().zip(values) {
                    *out = bf16::from_bits(nearest_bf16(value));
                }
            }
            Self::Int8(kind, words, scales) => {
                // As integers, positive floats have the same order and any order of comparison.
                let largest = values.iter().map(|x| x.abs().to_bits()).max();
                let scale = f32::from_bits(largest.unwrap_or(0)).min(f32::MAX);
                scales[at] = scale;
                let divisor = if scale > 0.0 { scale } else { 1.0 };
                let words = &mut words[at * WORDS..][..WORDS];
                match kind {
                    MomentKind::First => pack(words, values, |x| first_code(x, divisor)),
                    MomentKind::Second => pack(words, values, |x| second_code(x, divisor)),
                }
            }
        }
    }
}

#[inline(always)]
fn unpack(words: &[i32], out: &mut [f32; BLOCK], value: impl Fn(i32, i32) -> f32) {
    for (plane, out) in out.chunks_exact_mut(WORDS).enumerate() {
        for (out, word) in out.iter_mut().zip(words) {
            *out = value(*word, 8 * plane as i32);
        }
    }
}

#[inline(always)]
fn pack(words: &mut [i32], values: &[f32; BLOCK], code: impl Fn(f32) -> i32) {
    words.fill(0);
    for (plane, values) in values.chunks_exact(WORDS).enumerate() {
        for (word, &value) in words.iter_mut().zip(values) {
            *word |= (code(value) & 255) << (8 * plane);
        }
    }
}

/// `c` for `x = ±scale·(c/127)⁴`, with the sign of `x`.
#[inline(always)]
fn first_code(x: f32, scale: f32) -> i32 {
    let root = (x.abs() / scale).min(1.0).sqrt().sqrt();
    let code = (root * 127.0 + 0.5) as i32;
    if x < 0.0 { -code } else { code }
}

#[inline(always)]
fn first_value(code: i32, scale: f32) -> f32 {
    let root = code as f32 / 127.0;
    let fourth = (root * root) * (root * root);
    normal((fourth * scale).copysign(root))
}

/// `c` for `x = scale·(c/255)⁸`, at least 1 for a positive `x`.
#[inline(always)]
fn second_code(x: f32, scale: f32) -> i32 {
    let root = (x / scale).min(1.0).sqrt().sqrt().sqrt();
    let code = (root * 255.0 + 0.5) as i32;
    if x >= f32::MIN_POSITIVE {
        code.max(1)
    } else {
        code
    }
}

#[inline(always)]
fn second_value(code: i32, scale: f32) -> f32 {
    let root = code as f32 / 255.0;
    let fourth = (root * root) * (root * root);
    normal((fourth * fourth) * scale)
}

/// 0 for a subnormal number, whose few bits might not lead back to its code.
#[inline(always)]
fn normal(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// Round to nearest, ties to even; NaN stays NaN.
#[inline(always)]
fn nearest_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    if x.is_nan() { 0x7fc0 } else { rounded }
}

/// Stores values in 8 bits.
pub(super) fn encode(values: Tensor<1>, kind: MomentKind) -> Storage {
    let [len] = values.dims();
    let values = buffer::whole(values);
    let blocks = len.div_ceil(BLOCK);
    let mut words = vec![0i32; blocks * WORDS];
    let mut scales = vec![0.0f32; blocks];
    words
        .par_chunks_mut(WORDS)
        .zip(&mut scales)
        .zip(values.storage::<f32>().par_chunks(BLOCK))
        .for_each(|((words, scale), values)| {
            let mut block = [0.0; BLOCK];
            block[..values.len()].copy_from_slice(values);
            let piece = Piece::Int8(kind, words, std::slice::from_mut(scale));
            vectorized(Encode(piece, &block));
        });
    let words = FlexTensor::from_data(TensorData::new(words, [blocks * WORDS]));
    Storage::Codes(
        Tensor::from_primitive::<Flex>(words),
        buffer::tensor(buffer::from_vec(scales, [blocks])),
    )
}

struct Encode<'a>(Piece<'a>, &'a [f32; BLOCK]);

impl Kernel for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.0.write(0, self.1);
    }
}

/// Reads values stored in 8 bits.
pub(super) fn decode(
    words: Tensor<1, Int>,
    scales: Tensor<1>,
    kind: MomentKind,
    len: usize,
) -> Tensor<1> {
    let storage = Storage::Codes(words, scales);
    let mut buffers = Buffers::new(Moment { kind, len, storage });
    let mut values = vec![0.0f32; len];
    let pieces = buffers.pieces();
    pieces
        .into_par_iter()
        .zip(values.par_chunks_mut(TASK))
        .for_each(|(piece, values)| vectorized(Decode(piece, values)));
    buffer::tensor(buffer::from_vec(values, [len]))
}

struct Decode<'a>(Piece<'a>, &'a mut [f32]);

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut block = [0.0; BLOCK];
        for (at, values) in self.1.chunks_mut(BLOCK).enumerate() {
            self.0.read(at, &mut block);
            values.copy_from_slice(&block[..values.len()]);
        }
    }
}
