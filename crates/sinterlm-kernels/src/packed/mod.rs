//! Weights in half precision or in blocks of small integers, as model files hold them: what the
//! bytes mean, and products with them. The CPU form, which reads the blocks in place, stands in
//! `native`; reading files is left to others.

#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod avx512;
#[cfg(feature = "flex")]
mod native;
#[cfg(feature = "flex")]
mod part;
#[cfg(feature = "flex")]
mod portable;
#[cfg(feature = "flex")]
mod training;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::{MatmulPrecision, Route, linear};

/// Weights of one block.
pub(crate) const BLOCK: usize = 32;

/// How a [`PackedMatrix`] stores 32 neighbouring weights of a row; names and layouts are ggml's
/// (<https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackedFormat {
    /// 32 numbers of IEEE half precision.
    F16,
    /// 32 numbers of bfloat16.
    Bf16,
    /// A half precision scale `d` and 32 signed bytes `q`: `d·q`.
    Q8_0,
    /// A scale `d` and 32 numbers `q` of 4 bits, the first half in the low bits: `d·(q − 8)`.
    Q4_0,
    /// A scale `d`, a minimum `m` and 32 numbers `q` of 4 bits, halves as above: `d·q + m`.
    Q4_1,
}

impl PackedFormat {
    /// Bytes of 32 weights.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 64,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
        }
    }
}

/// A matrix `[d_out, d_in]` in a [`PackedFormat`], not trainable.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    words: Tensor<1, Int>,
    format: PackedFormat,
    shape: [usize; 2],
}

impl PackedMatrix {
    /// A matrix of the blocks' bytes, row after row, on `device`. They are copied; see
    /// [`Self::from_words`] for a way without.
    ///
    /// # Panics
    /// If 32 does not divide `d_in`, or `bytes` does not hold `d_out · d_in / 32` blocks.
    pub fn from_bytes(
        bytes: &[u8],
        format: PackedFormat,
        [d_out, d_in]: [usize; 2],
        device: &Device,
    ) -> Self {
        assert_eq!(
            bytes.len(),
            d_out * d_in / BLOCK * format.block_bytes(),
            "PackedMatrix: the bytes must hold d_out * d_in / 32 blocks"
        );
        let words: Vec<i32> = bytes
            .chunks(4)
            .map(|chunk| {
                let mut word = [0; 4];
                word[..chunk.len()].copy_from_slice(chunk);
                i32::from_le_bytes(word)
            })
            .collect();
        let len = words.len();
        let words = TensorData::new(words, [len]);
        Self::from_words(words, format, [d_out, d_in], device)
    }

    /// A matrix of the blocks' bytes in little-endian words of type i32; bytes of the last word
    /// behind the last block are not read. On flex the data are not copied.
    ///
    /// # Panics
    /// If 32 does not divide `d_in`, or `words` are too few or not i32.
    pub fn from_words(
        words: TensorData,
        format: PackedFormat,
        [d_out, d_in]: [usize; 2],
        device: &Device,
    ) -> Self {
        assert!(
            d_in.is_multiple_of(BLOCK),
            "PackedMatrix: d_in {d_in} must be a multiple of 32"
        );
        assert_eq!(words.dtype(), DType::I32, "PackedMatrix: words must be i32");
        let blocks = d_out * d_in / BLOCK;
        assert!(
            words.num_elements() * 4 >= blocks * format.block_bytes(),
            "PackedMatrix: {} words are too few for {blocks} blocks",
            words.num_elements()
        );
        Self {
            words: Tensor::from_data(words, (device, DType::I32)),
            format,
            shape: [d_out, d_in],
        }
    }

    /// `[d_out, d_in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// How the weights are stored.
    pub fn format(&self) -> PackedFormat {
        self.format
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.words.device()
    }

    /// The same weights on another device.
    #[must_use]
    pub fn to_device(self, device: &Device) -> Self {
        Self {
            words: self.words.to_device(device),
            ..self
        }
    }

    /// Memory of the weights.
    pub fn size_bytes(&self) -> usize {
        self.words.dims()[0] * 4
    }

    /// The weights as f32, `[d_out, d_in]`.
    pub fn unpack(&self) -> Tensor<2> {
        match Route::of(&self.words.device(), DType::F32) {
            #[cfg(feature = "flex")]
            Route::Native => native::unpack(self),
            _ => {
                let blocks = self.shape[0] * self.shape[1] / BLOCK;
                let bytes = blocks * self.format.block_bytes();
                let bytes = bytes_of(self.words.clone()).narrow(0, 0, bytes);
                composed(
                    bytes.reshape([blocks, self.format.block_bytes()]),
                    self.format,
                )
                .reshape(self.shape)
            }
        }
    }

    /// The rows at `ids` as f32, as an embedding looks them up.
    ///
    /// # Shapes
    /// - `ids`: `[batch, seq]`, each below `d_out`
    /// - returns `[batch, seq, d_in]`
    ///
    /// # Panics
    /// On flex if an id is not below `d_out`; other backends do not check.
    pub fn rows(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = ids.dims();
        let [d_out, d_in] = self.shape;
        match Route::of(&self.words.device(), DType::F32) {
            #[cfg(feature = "flex")]
            Route::Native => native::rows(self, ids),
            _ => {
                let row_bytes = d_in / BLOCK * self.format.block_bytes();
                let bytes = bytes_of(self.words.clone()).narrow(0, 0, d_out * row_bytes);
                let bytes = bytes.reshape([d_out, row_bytes]);
                let bytes = bytes.select(0, ids.reshape([batch * seq]));
                let block_bytes = self.format.block_bytes();
                let blocks = batch * seq * d_in / BLOCK;
                composed(bytes.reshape([blocks, block_bytes]), self.format)
                    .reshape([batch, seq, d_in])
            }
        }
    }
}

/// `y = x Wᵀ + b` over the last axis of `x`, with `W` packed.
///
/// `W` is frozen: under autodiff there are gradients of `x`, `dx = dy W`, and of `b`, and none of `W`.
///
/// The native form (flex) reads the blocks in place and forms sums in f32, in an order that is the same
/// for any number of rows up to [`FEW_ROWS`](crate::FEW_ROWS); for more rows, and for `dx`, parts of `W`
/// are unpacked for a matrix product. Other backends unpack all of `W`, and keep it until the backward pass.
///
/// # Shapes
/// - `x`: `[.., d_in]`, f32
/// - `weight`: `[d_out, d_in]`
/// - `bias`: `[d_out]`
/// - returns `[.., d_out]`
///
/// # Panics
/// If the widths of `x`, `weight` and `bias` do not fit.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{PackedFormat, PackedMatrix, packed_linear};
///
/// let device = Device::flex();
/// // One row: the scale 0.5 in half precision, then 32 times the number 2.
/// let block = [&[0x00, 0x38][..], &[2; 32]].concat();
/// let weight = PackedMatrix::from_bytes(&block, PackedFormat::Q8_0, [1, 32], &device);
/// let y = packed_linear(Tensor::<2>::ones([1, 32], &device), &weight, None);
/// assert_eq!(y.into_scalar::<f32>(), 32.0);
/// ```
pub fn packed_linear<const D: usize>(
    x: Tensor<D>,
    weight: &PackedMatrix,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [d_out, d_in] = weight.shape;
    let mut dims = x.dims();
    assert_eq!(
        dims[D - 1],
        d_in,
        "packed_linear: the last axis of x must be d_in of the weight [d_out, d_in]"
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [d_out], "packed_linear: bias must be [d_out]");
    }
    match Route::of(&x.device(), x.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => {
            let rows = dims[..D - 1].iter().product::<usize>();
            let x = x.reshape([rows, d_in]);
            let y = match bias {
                bias if !x.is_autodiff() => native::linear(x, weight, bias),
                Some(bias) => training::linear(x, weight) + bias.unsqueeze(),
                None => training::linear(x, weight),
            };
            dims[D - 1] = d_out;
            y.reshape(dims)
        }
        _ => {
            let unpacked = weight.unpack();
            let unpacked = if x.is_autodiff() {
                unpacked.autodiff()
            } else {
                unpacked
            };
            linear(x, unpacked, bias, MatmulPrecision::F32)
        }
    }
}

/// The bytes of little-endian words, one to an element.
fn bytes_of(words: Tensor<1, Int>) -> Tensor<1, Int> {
    let byte = |at: i32| {
        words
            .clone()
            .bitwise_right_shift_scalar(8 * at)
            .bitwise_and_scalar(255)
    };
    let bytes: Tensor<2, Int> = Tensor::stack((0..4).map(byte).collect(), 1);
    let len = bytes.dims()[0] * 4;
    bytes.reshape([len])
}

/// `[blocks, block_bytes]` to `[blocks, 32]`.
fn composed(bytes: Tensor<2, Int>, format: PackedFormat) -> Tensor<2> {
    let [blocks, size] = bytes.dims();
    let part = |from: usize, to: usize| bytes.clone().slice([0..blocks, from..to]);
    // The number of two bytes at `from`, for `count` of them.
    let pairs = |from: usize, count: usize| {
        let pairs = part(from, from + 2 * count).reshape([blocks, count, 2]);
        let byte = |at: usize| {
            let byte = pairs.clone().slice([0..blocks, 0..count, at..at + 1]);
            byte.reshape([blocks, count])
        };
        byte(0) + byte(1).mul_scalar(256)
    };
    let half = |from: usize, count: usize| float_of(pairs(from, count), 5, 10);
    let nibbles = |from: usize| {
        let pairs = part(from, size);
        let low = pairs.clone().bitwise_and_scalar(15);
        let high = pairs.bitwise_right_shift_scalar(4);
        Tensor::cat(vec![low, high], 1)
    };
    match format {
        PackedFormat::F16 => half(0, BLOCK),
        PackedFormat::Bf16 => float_of(pairs(0, BLOCK), 8, 7),
        PackedFormat::Q8_0 => {
            let q = part(2, size);
            let negative = q.clone().greater_elem(127).int().mul_scalar(256);
            (q - negative).float() * half(0, 1)
        }
        PackedFormat::Q4_0 => nibbles(2).sub_scalar(8).float() * half(0, 1),
        PackedFormat::Q4_1 => nibbles(4).float() * half(0, 1) + half(2, 1),
    }
}

/// The values of floating-point numbers given by their bits: sign, `exponent` bits and `mantissa`
/// bits; infinities and NaN alike become infinite.
fn float_of(bits: Tensor<2, Int>, exponent: i32, mantissa: i32) -> Tensor<2> {
    let [rows, cols] = bits.dims();
    let device = bits.device();
    let count = 1 << exponent;
    let bias = count / 2 - 1;
    // 2^(e − bias − mantissa), exact in a table as it isn't from `exp`.
    let scales: Vec<f32> = (0..count)
        .map(|e: i32| {
            if e == count - 1 {
                f32::INFINITY
            } else {
                2f64.powi(e.max(1) - bias - mantissa) as f32
            }
        })
        .collect();
    let scales = Tensor::<1>::from_data(TensorData::new(scales, [count as usize]), &device);
    let e = bits
        .clone()
        .bitwise_right_shift_scalar(mantissa)
        .bitwise_and_scalar(count - 1);
    let scale = scales
        .select(0, e.clone().reshape([rows * cols]))
        .reshape([rows, cols]);
    let leading = e.greater_elem(0).int().mul_scalar(1 << mantissa);
    let digits = bits.clone().bitwise_and_scalar((1 << mantissa) - 1) + leading;
    let sign = bits.bitwise_right_shift_scalar(exponent + mantissa).float();
    digits.float() * scale * sign.mul_scalar(-2.0).add_scalar(1.0)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests;
