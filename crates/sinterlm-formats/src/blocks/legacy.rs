//! The blocks of 32 numbers: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0, read and written.
//!
//! A block is its scale `d`, for the `_1` types its minimum `m`, for the 5-bit types a word with
//! the highest bit of each number, then the low halves: byte `i` holds number `i` in its lower and
//! number `i + 16` in its upper four bits. Encoders compute in f32 and in ggml's order, without
//! fused multiply-adds, so that the bytes are equal on every machine.

use half::f16;

/// Numbers in a block.
pub(super) const LEN: usize = 32;
const HALF: usize = LEN / 2;

pub(super) fn decode_q4_0(block: &[u8; 18], out: &mut [f32; LEN]) {
    let d = scale(block, 0);
    for i in 0..HALF {
        let byte = block[2 + i];
        out[i] = f32::from((byte & 15) as i8 - 8) * d;
        out[i + HALF] = f32::from((byte >> 4) as i8 - 8) * d;
    }
}

pub(super) fn decode_q4_1(block: &[u8; 20], out: &mut [f32; LEN]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for i in 0..HALF {
        let byte = block[4 + i];
        out[i] = f32::from(byte & 15) * d + m;
        out[i + HALF] = f32::from(byte >> 4) * d + m;
    }
}

pub(super) fn decode_q5_0(block: &[u8; 22], out: &mut [f32; LEN]) {
    let d = scale(block, 0);
    let high = high_bits(block, 2);
    for i in 0..HALF {
        let (low, up) = five_bits(block[6 + i], high, i);
        out[i] = f32::from(low as i8 - 16) * d;
        out[i + HALF] = f32::from(up as i8 - 16) * d;
    }
}

pub(super) fn decode_q5_1(block: &[u8; 24], out: &mut [f32; LEN]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    let high = high_bits(block, 4);
    for i in 0..HALF {
        let (low, up) = five_bits(block[8 + i], high, i);
        out[i] = f32::from(low) * d + m;
        out[i + HALF] = f32::from(up) * d + m;
    }
}

pub(super) fn decode_q8_0(block: &[u8; 34], out: &mut [f32; LEN]) {
    let d = scale(block, 0);
    for (value, byte) in out.iter_mut().zip(&block[2..]) {
        *value = f32::from(*byte as i8) * d;
    }
}

pub(super) fn encode_q4_0(values: &[f32; LEN], block: &mut [u8; 18]) {
    let (d, inverse) = step(largest(values) / -8.0);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for i in 0..HALF {
        let number = |x: f32| ((x * inverse + 8.5) as u8).min(15);
        block[2 + i] = number(values[i]) | number(values[i + HALF]) << 4;
    }
}

pub(super) fn encode_q4_1(values: &[f32; LEN], block: &mut [u8; 20]) {
    let (min, max) = range(values);
    let (d, inverse) = step((max - min) / 15.0);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(min).to_le_bytes());
    for i in 0..HALF {
        let number = |x: f32| (((x - min) * inverse + 0.5) as u8).min(15);
        block[4 + i] = number(values[i]) | number(values[i + HALF]) << 4;
    }
}

pub(super) fn encode_q5_0(values: &[f32; LEN], block: &mut [u8; 22]) {
    let (d, inverse) = step(largest(values) / -16.0);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let numbers = values.map(|x| ((x * inverse + 16.5) as u8).min(31));
    put_five_bits(&numbers, &mut block[2..]);
}

pub(super) fn encode_q5_1(values: &[f32; LEN], block: &mut [u8; 24]) {
    let (min, max) = range(values);
    let (d, inverse) = step((max - min) / 31.0);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(min).to_le_bytes());
    let numbers = values.map(|x| (((x - min) * inverse + 0.5) as u8).min(31));
    put_five_bits(&numbers, &mut block[4..]);
}

pub(super) fn encode_q8_0(values: &[f32; LEN], block: &mut [u8; 34]) {
    let (d, inverse) = step(largest(values).abs() / 127.0);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (byte, x) in block[2..].iter_mut().zip(values) {
        *byte = (x * inverse).round() as i8 as u8;
    }
}

/// The F16 at byte `at`.
fn scale(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The word of highest bits at byte `at`.
fn high_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Numbers `i` and `i + 16` of a 5-bit block.
fn five_bits(byte: u8, high: u32, i: usize) -> (u8, u8) {
    let low = byte & 15 | ((high >> i) as u8 & 1) << 4;
    let up = byte >> 4 | ((high >> (i + HALF)) as u8 & 1) << 4;
    (low, up)
}

/// Writes the word of highest bits and the low halves.
fn put_five_bits(numbers: &[u8; LEN], out: &mut [u8]) {
    let high = (0..LEN).fold(0, |word, i| word | u32::from(numbers[i] >> 4) << i);
    out[..4].copy_from_slice(&high.to_le_bytes());
    for i in 0..HALF {
        out[4 + i] = numbers[i] & 15 | (numbers[i + HALF] & 15) << 4;
    }
}

/// A step between numbers and its inverse, 0 for the step 0.
fn step(d: f32) -> (f32, f32) {
    (d, if d == 0.0 { 0.0 } else { 1.0 / d })
}

/// The first value whose magnitude is largest, with its sign.
fn largest(values: &[f32; LEN]) -> f32 {
    let mut best = 0.0f32;
    for &x in values {
        if x.abs() > best.abs() {
            best = x;
        }
    }
    best
}

fn range(values: &[f32; LEN]) -> (f32, f32) {
    let (mut min, mut max) = (f32::MAX, f32::MIN);
    for &x in values {
        if x < min {
            min = x;
        }
        if x > max {
            max = x;
        }
    }
    (min, max)
}
