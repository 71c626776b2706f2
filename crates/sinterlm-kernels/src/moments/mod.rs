//! The state of optimizers in 32, 16 or 8 bits: storage, the 8-bit code and its composed form. The
//! CPU form is in `native`; the updates themselves are left to `adamw` and `muon`.

#[cfg(feature = "flex")]
pub(crate) mod native;
#[cfg(test)]
#[cfg(feature = "flex")]
mod tests;

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};

use crate::Route;

/// Values that share a scale in the 8-bit format.
pub(crate) const BLOCK: usize = 256;
/// Words of a block: word `i` holds the codes of the values `i`, `i + 64`, `i + 128`, `i + 192`,
/// lowest byte first, so that each byte position is a run of neighbours.
pub(crate) const WORDS: usize = BLOCK / 4;

/// Number format of a [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentFormat {
    /// 4 bytes a value.
    F32,
    /// 2 bytes a value, rounded to nearest: a relative error of up to 2⁻⁹. Changes of less than
    /// that are lost, so a second moment needs `1 − beta2` well above 2⁻⁸.
    Bf16,
    /// 1 byte a value, and 4 for each block of 256; see [`Moment`].
    Int8,
}

/// What a moment averages; decides its 8-bit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentKind {
    /// Gradients: values of any sign.
    First,
    /// Squares of gradients: no value is negative.
    Second,
}

/// A vector of optimizer state in one of three formats.
///
/// The 8-bit format keeps `s = max |x|` of each block of 256 values (Dettmers et al. 2022,
/// <https://arxiv.org/abs/2110.02861>) and codes the values by a fourth-power law in place of the
/// paper's table: `m = ±s·(c/127)⁴` for first moments, `√v = √s·(c/255)⁴` for second ones, rounded
/// to the nearest code. That spans 8 and 9 decades with steps of `4/c` of the value, and needs no
/// look-up. A positive second moment never rounds to 0, which would blow up `m/√v`; the table's does
/// where gradients within a block differ by orders of magnitude.
///
/// Reading a moment and storing it again changes nothing.
#[derive(Clone, Debug)]
pub struct Moment {
    kind: MomentKind,
    len: usize,
    storage: Storage,
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // two handles against one, beside thousands of values
enum Storage {
    /// `[len]`
    Float(Tensor<1>),
    /// `[blocks * WORDS]`, i32, and `[blocks]`
    Codes(Tensor<1, Int>, Tensor<1>),
}

/// An 8-bit [`Moment`] on the host, to be written to a file and put back as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct MomentCodes {
    /// A code for each value; signed bytes for first moments.
    pub codes: Vec<u8>,
    /// The scale of each block of 256 values.
    pub scales: Vec<f32>,
}

impl Moment {
    /// Zeros, on a device without autodiff.
    pub fn zeros(len: usize, kind: MomentKind, format: MomentFormat, device: &Device) -> Self {
        let blocks = len.div_ceil(BLOCK);
        let floats = |len, dtype| Tensor::zeros([len], (device, dtype));
        let storage = match (Route::of(device, DType::F32), format) {
            #[cfg(feature = "flex")]
            (Route::Native, format) => native::zeros(len, format, device),
            (_, MomentFormat::F32) => Storage::Float(floats(len, DType::F32)),
            (_, MomentFormat::Bf16) => Storage::Float(floats(len, DType::BF16)),
            (_, MomentFormat::Int8) => Storage::Codes(
                Tensor::zeros([blocks * WORDS], (device, DType::I32)),
                floats(blocks, DType::F32),
            ),
        };
        Self { kind, len, storage }
    }

    /// Stores a plain tensor (without autodiff), rounded to the format; `F32` takes it as it is.
    pub fn new(values: Tensor<1>, kind: MomentKind, format: MomentFormat) -> Self {
        let [len] = values.dims();
        let storage = match format {
            MomentFormat::F32 => Storage::Float(values),
            MomentFormat::Bf16 => Storage::Float(values.cast(FloatDType::BF16)),
            MomentFormat::Int8 => match Route::of(&values.device(), values.dtype()) {
                #[cfg(feature = "flex")]
                Route::Native => native::encode(values, kind),
                _ => encode(values, kind),
            },
        };
        Self { kind, len, storage }
    }

    /// The values, `[len]`, f32.
    pub fn into_values(self) -> Tensor<1> {
        match self.storage {
            Storage::Float(values) if values.dtype() == DType::BF16 => values.cast(FloatDType::F32),
            Storage::Float(values) => values,
            Storage::Codes(words, scales) => match Route::of(&scales.device(), scales.dtype()) {
                #[cfg(feature = "flex")]
                Route::Native => native::decode(words, scales, self.kind, self.len),
                _ => decode(words, &scales, self.kind, self.len),
            },
        }
    }

    /// The codes of an 8-bit moment; `None` in the other formats.
    pub fn to_codes(&self) -> Option<MomentCodes> {
        let Storage::Codes(words, scales) = &self.storage else {
            return None;
        };
        let words = words.clone().into_data();
        let words: Vec<i32> = words.try_into_vec().expect("words are i32");
        let mut codes = Vec::with_capacity(4 * words.len());
        for block in words.chunks_exact(WORDS) {
            for plane in 0..4 {
                codes.extend(block.iter().map(|word| (word >> (8 * plane)) as u8));
            }
        }
        codes.truncate(self.len);
        let scales = scales.clone().into_data();
        let scales = scales.try_into_vec().expect("scales are f32");
        Some(MomentCodes { codes, scales })
    }

    /// Puts codes back, on a device without autodiff; `None` where there is not a scale for each
    /// block.
    pub fn from_codes(parts: MomentCodes, kind: MomentKind, device: &Device) -> Option<Self> {
        let MomentCodes { codes, scales } = parts;
        let (len, blocks) = (codes.len(), scales.len());
        if len.div_ceil(BLOCK) != blocks {
            return None;
        }
        let mut words = vec![0i32; blocks * WORDS];
        for (words, codes) in words.chunks_exact_mut(WORDS).zip(codes.chunks(BLOCK)) {
            for (plane, codes) in codes.chunks(WORDS).enumerate() {
                for (word, code) in words.iter_mut().zip(codes) {
                    *word |= i32::from(*code) << (8 * plane);
                }
            }
        }
        let words = TensorData::new(words, [blocks * WORDS]);
        let scales = TensorData::new(scales, [blocks]);
        let storage = Storage::Codes(
            Tensor::from_data(words, (device, DType::I32)),
            Tensor::from_data(scales, (device, DType::F32)),
        );
        Some(Self { kind, len, storage })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The format it is stored in.
    pub fn format(&self) -> MomentFormat {
        match &self.storage {
            Storage::Float(values) if values.dtype() == DType::BF16 => MomentFormat::Bf16,
            Storage::Float(_) => MomentFormat::F32,
            Storage::Codes(..) => MomentFormat::Int8,
        }
    }

    /// Bytes of its storage.
    pub fn size_bytes(&self) -> usize {
        match &self.storage {
            Storage::Float(values) => self.len * values.dtype().size(),
            Storage::Codes(words, scales) => 4 * (words.dims()[0] + scales.dims()[0]),
        }
    }

    /// Runs `update` on the values in the given shape, and stores what it gives back.
    pub(crate) fn update<const D: usize, R>(
        self,
        shape: [usize; D],
        update: impl FnOnce(Tensor<D>) -> (Tensor<D>, R),
    ) -> (Self, R) {
        let (kind, format, len) = (self.kind, self.format(), self.len);
        let (values, result) = update(self.into_values().reshape(shape));
        (Self::new(values.reshape([len]), kind, format), result)
    }

    /// Whether the native kernels read it.
    #[cfg(feature = "flex")]
    pub(crate) fn is_native(&self) -> bool {
        match &self.storage {
            Storage::Float(values) => matches!(values.dtype(), DType::F32 | DType::BF16),
            Storage::Codes(..) => true,
        }
    }
}

impl MomentKind {
    /// The largest code.
    fn levels(self) -> f32 {
        match self {
            Self::First => 127.0,
            Self::Second => 255.0,
        }
    }
}

fn encode(values: Tensor<1>, kind: MomentKind) -> Storage {
    let [len] = values.dims();
    let blocks = len.div_ceil(BLOCK);
    let padding = Tensor::zeros([blocks * BLOCK - len], (&values.device(), values.dtype()));
    let values = Tensor::cat(vec![values, padding], 0).reshape([blocks, BLOCK]);
    let size = values.clone().abs();
    let scales = size.clone().max_dim(1).clamp_max(f32::MAX); // [blocks, 1]
    let is_zero = scales.clone().equal_scalar(0.0);
    let share = (size / scales.clone().mask_fill(is_zero, 1.0)).clamp_max(1.0);
    let root = share.sqrt().sqrt();
    let codes = match kind {
        MomentKind::First => {
            let codes = root.mul_scalar(kind.levels()).add_scalar(0.5).floor();
            codes * values.sign()
        }
        MomentKind::Second => {
            let codes = root.sqrt().mul_scalar(kind.levels()).add_scalar(0.5);
            let is_normal = values.greater_equal_scalar(f32::MIN_POSITIVE);
            let codes = codes.floor();
            codes.clone().mask_where(is_normal, codes.clamp_min(1.0))
        }
    };
    let codes = codes.int().cast(burn::tensor::IntDType::I32);
    let codes = codes.bitwise_and_scalar(255).reshape([blocks, 4, WORDS]);
    let plane = |plane: usize| {
        let codes = codes.clone().slice([0..blocks, plane..plane + 1, 0..WORDS]);
        codes.bitwise_left_shift_scalar(8 * plane as i32)
    };
    let words = (1..4).fold(plane(0), |words, at| words.bitwise_or(plane(at)));
    Storage::Codes(words.reshape([blocks * WORDS]), scales.reshape([blocks]))
}

fn decode(words: Tensor<1, Int>, scales: &Tensor<1>, kind: MomentKind, len: usize) -> Tensor<1> {
    let [blocks] = scales.dims();
    let words = words.reshape([blocks, 1, WORDS]);
    let plane = |plane: i32| {
        let high = words.clone().bitwise_left_shift_scalar(24 - 8 * plane);
        let code = high.bitwise_right_shift_scalar(24); // spreads the sign
        match kind {
            MomentKind::First => code,
            MomentKind::Second => code.bitwise_and_scalar(255),
        }
    };
    let codes = Tensor::cat((0..4).map(plane).collect(), 1)
        .reshape([blocks, BLOCK])
        .cast(FloatDType::F32);
    let root = codes.clone().div_scalar(kind.levels());
    let fourth = root.square().square();
    let share = match kind {
        MomentKind::First => fourth * codes.sign(),
        MomentKind::Second => fourth.square(),
    };
    let values = share * scales.clone().reshape([blocks, 1]);
    let is_tiny = values.clone().abs().lower_scalar(f32::MIN_POSITIVE);
    let values = values.mask_fill(is_tiny, 0.0).reshape([blocks * BLOCK]);
    values.narrow(0, 0, len)
}
