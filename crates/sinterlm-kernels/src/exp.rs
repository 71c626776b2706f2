//! Elementary functions that the compiler can vectorise: no branch, no table, no library call.
#![allow(clippy::inline_always)] // only inlined code takes on the caller's instruction set

/// `eˣ` to about 1.5 ulp for `x` in [-87.3, 88.3], beyond that the value at the border; NaN stays.
///
/// Range reduction by ln 2 and the polynomial of Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 · 2²³: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 355.0 / 512.0; // few bits: times a power it is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let r = x - power * LN2_HIGH - power * LN2_LOW;
    let mut y = 1.987_569_1e-4;
    for c in [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_6e-1,
        0.5,
    ] {
        y = y * r + c;
    }
    let two_to_power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (y * r * r + r + 1.0) * two_to_power
}

/// `tanh x` to about 6e-7 relative; NaN stays.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    // Taylor series where 1 − 2/(e²ˣ + 1) would cancel; its next term is below 1e-8 there.
    let mut series = 62.0 / 2835.0;
    for c in [-17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
        series = series * square + c;
    }
    let quotient = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if square < 0.06 { series * x } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_tanh_agree_with_f64() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let (found, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (found / wanted - 1.0).abs() < 2e-7,
                "exp({x}) = {found}, not {wanted}"
            );
            let x = x / 10.0;
            let (found, wanted) = (f64::from(tanh(x)), f64::from(x).tanh());
            assert!(
                (found - wanted).abs() <= 6e-7 * wanted.abs(),
                "tanh({x}) = {found}"
            );
        }
        assert!(exp(-1e9) < 1e-37 && exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }
}
