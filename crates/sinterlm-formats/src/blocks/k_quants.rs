//! The blocks of 256 numbers ("k-quants"): Q2_K to Q6_K, read only.

use half::f16;

/// Numbers in a block.
pub(super) const LEN: usize = 256;

/// `scales[16], qs[64], d, dmin`: 16 groups of 16; number = `d * scale * q - dmin * min`.
pub(super) fn decode_q2_k(block: &[u8; 84], out: &mut [f32; LEN]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (scale(block, 80), scale(block, 82));
    for (group, values) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (dl, ml) = (
            d * f32::from(scales[group] & 15),
            dmin * f32::from(scales[group] >> 4),
        );
        let (bytes, shift) = two_bits(quants, group);
        for (value, byte) in values.iter_mut().zip(bytes) {
            *value = dl * f32::from(byte >> shift & 3) - ml;
        }
    }
}

/// `hmask[32], qs[64], scales[12], d`: 16 groups of 16; number = `d * (scale - 32) * q`, where `q`
/// has two bits in `qs` and a clear bit in `hmask` subtracts 4.
pub(super) fn decode_q3_k(block: &[u8; 110], out: &mut [f32; LEN]) {
    let (mask, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = scale(block, 108);
    for (group, values) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = packed[group % 8] >> (4 * (group / 8)) & 15;
        let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
        let dl = d * f32::from((low | high << 4) as i8 - 32);
        let (bytes, shift) = two_bits(quants, group);
        let mask_bytes = &mask[16 * (group % 2)..];
        for ((value, byte), mask) in values.iter_mut().zip(bytes).zip(mask_bytes) {
            let minus = if mask >> (group / 2) & 1 == 0 { 4 } else { 0 };
            *value = dl * f32::from((byte >> shift & 3) as i8 - minus);
        }
    }
}

/// `d, dmin, scales[12], qs[128]`: 8 groups of 32; number = `d * scale * q - dmin * min`.
pub(super) fn decode_q4_k(block: &[u8; 144], out: &mut [f32; LEN]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (scales, quants) = (&block[4..16], &block[16..]);
    for (group, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (sc, m) = six_bits(scales, group);
        let (dl, ml) = (d * f32::from(sc), dmin * f32::from(m));
        let shift = 4 * (group % 2);
        for (value, byte) in values.iter_mut().zip(&quants[32 * (group / 2)..]) {
            *value = dl * f32::from(byte >> shift & 15) - ml;
        }
    }
}

/// `d, dmin, scales[12], qh[32], qs[128]`: as Q4_K, with a fifth bit in `qh`.
pub(super) fn decode_q5_k(block: &[u8; 176], out: &mut [f32; LEN]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (scales, high, quants) = (&block[4..16], &block[16..48], &block[48..]);
    for (group, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (sc, m) = six_bits(scales, group);
        let (dl, ml) = (d * f32::from(sc), dmin * f32::from(m));
        let shift = 4 * (group % 2);
        let low = &quants[32 * (group / 2)..];
        for ((value, byte), bits) in values.iter_mut().zip(low).zip(high) {
            let number = byte >> shift & 15 | (bits >> group & 1) << 4;
            *value = dl * f32::from(number) - ml;
        }
    }
}

/// `ql[128], qh[64], scales[16], d`: 16 groups of 16; number = `d * scale * (q - 32)`.
pub(super) fn decode_q6_k(block: &[u8; 210], out: &mut [f32; LEN]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = scale(block, 208);
    for (group, values) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let dl = d * f32::from(scales[group] as i8);
        // Each half of 128 numbers has four runs of 32: two in the lower, two in the upper bits.
        let (half, run, start) = (group / 8, group % 8 / 2, group % 2 * 16);
        let low = &low[64 * half + 32 * (run % 2) + start..];
        let high = &high[32 * half + start..];
        for ((value, byte), bits) in values.iter_mut().zip(low).zip(high) {
            let number = byte >> (4 * (run / 2)) & 15 | (bits >> (2 * run) & 3) << 4;
            *value = dl * f32::from(number as i8 - 32);
        }
    }
}

/// The F16 at byte `at`.
fn scale(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The bytes and the shift of a group of 16 numbers of two bits: each 32 bytes hold 128 numbers,
/// first the lowest two bits of all, then the next two.
fn two_bits(quants: &[u8], group: usize) -> (&[u8], usize) {
    let (half, run, start) = (group / 8, group % 8 / 2, group % 2 * 16);
    (&quants[32 * half + start..], 2 * run)
}

/// Scale and minimum of a group of 32: six bits each, the last four groups' upper two bits stand in
/// the upper bits of the first eight bytes (ggml's `get_scale_min_k4`).
fn six_bits(scales: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        (scales[group] & 63, scales[group + 4] & 63)
    } else {
        let (low, first, second) = (scales[group + 4], scales[group - 4], scales[group]);
        (low & 15 | first >> 6 << 4, low >> 4 | second >> 6 << 4)
    }
}
