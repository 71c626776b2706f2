//! Comparing numbers: the named tolerances and one assertion with a report that helps.
//! What is compared, and why a looser tolerance is right, is said by the test.

/// How far a value may lie from the expected one.
///
/// `|actual − expected| ≤ absolute + relative · (|expected| + rms)`, where `rms` is the root mean
/// square of all expected values: rounding in a sum scales with its terms, so small elements of a
/// tensor carry the noise of the large ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Part that scales with the expected values.
    pub relative: f64,
    /// Part that does not; it matters where all expected values are (near) zero.
    pub absolute: f64,
}

/// One operation computed in f32: sums of up to some thousand products in any order of combination
/// differ by about `√n · 6e-8`.
pub const SINGLE_OP_F32: Tolerance = Tolerance {
    relative: 1e-5,
    absolute: 1e-7,
};

/// Logits, losses, gradients and weights after ten steps of a small model in f32 against a
/// reference in f64. PyTorch's own f32 run needs 4e-6 for gradients and 3e-5 for the weights.
pub const WHOLE_MODEL_F32: Tolerance = Tolerance {
    relative: 1e-4,
    absolute: 1e-6,
};

/// One operation on bf16 inputs: 8 bits of significand, so one rounding is up to 2^-9 of the value;
/// room for eight of them.
pub const BF16: Tolerance = Tolerance {
    relative: 1.6e-2,
    absolute: 1e-3,
};

/// [`finite_difference`](crate::finite_difference) of a function computed in f64 against its
/// analytic gradient: truncation and rounding each near 1e-10 of the function's scale.
pub const FINITE_DIFFERENCE_F64: Tolerance = Tolerance {
    relative: 1e-6,
    absolute: 1e-8,
};

/// Asserts that `actual` equals `expected` within `tolerance`, element by element.
///
/// # Panics
/// If the lengths differ, or an element lies outside or is not a number (two equal infinities
/// agree). The report names `what`, the worst element with both values and the allowed difference,
/// and how many elements are outside.
#[track_caller]
pub fn assert_close<A, E>(actual: &[A], expected: &[E], tolerance: Tolerance, what: &str)
where
    A: Copy + Into<f64>,
    E: Copy + Into<f64>,
{
    assert_eq!(
        actual.len(),
        expected.len(),
        "{what}: lengths differ (actual, expected)"
    );
    let expected: Vec<f64> = expected.iter().map(|&e| e.into()).collect();
    let mean_square = expected.iter().map(|e| e * e).sum::<f64>() / expected.len().max(1) as f64;
    let rms = if mean_square.is_finite() {
        mean_square.sqrt()
    } else {
        0.0
    };
    // How many times the allowed difference; above 1 is outside.
    let excess = |a: f64, e: f64| {
        #[allow(
            clippy::float_cmp,
            reason = "bits that agree need no tolerance; infinities too"
        )]
        if a == e {
            return 0.0;
        }
        let ratio = (a - e).abs() / (tolerance.absolute + tolerance.relative * (e.abs() + rms));
        // NaN anywhere, or an infinite value against a finite one, whose ratio is no number.
        if ratio.is_nan() || !e.is_finite() {
            f64::INFINITY
        } else {
            ratio
        }
    };
    let (mut outside, mut worst, mut first) = (0, (0, 0.0), None);
    for (i, (&a, &e)) in actual.iter().zip(&expected).enumerate() {
        let ratio = excess(a.into(), e);
        if ratio > 1.0 {
            outside += 1;
            first.get_or_insert(i);
        }
        if ratio > worst.1 {
            worst = (i, ratio);
        }
    }
    if let Some(first) = first {
        let (index, ratio) = worst;
        let (a, e): (f64, f64) = (actual[index].into(), expected[index]);
        panic!(
            "{what}: {outside} of {} elements are outside the tolerance, the first at {first}\n  \
             worst at {index}: actual {a:e}, expected {e:e}, difference {:e}, {ratio:.1} times \
             what is allowed\n  expected values have rms {rms:e}; {tolerance:?}",
            expected.len(),
            (a - e).abs(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_pass_and_infinities_agree() {
        assert_close(
            &[1.0_f32, f32::INFINITY],
            &[1.0_f64, f64::INFINITY],
            SINGLE_OP_F32,
            "x",
        );
        assert_close::<f32, f32>(&[], &[], SINGLE_OP_F32, "nothing");
    }

    #[test]
    fn small_elements_may_carry_the_noise_of_large_ones() {
        assert_close(&[100.0, 1e-4], &[100.0, 0.0], SINGLE_OP_F32, "x");
    }

    #[test]
    #[should_panic(expected = "logits: 1 of 3 elements are outside the tolerance, the first at 1")]
    fn a_difference_is_reported_with_its_place() {
        assert_close(&[1.0, 2.1, 3.0], &[1.0, 2.0, 3.0], SINGLE_OP_F32, "logits");
    }

    #[test]
    #[should_panic(expected = "worst at 2: actual NaN")]
    fn not_a_number_is_the_worst() {
        assert_close(&[1.5, 2.0, f64::NAN], &[1.0, 2.0, 3.0], SINGLE_OP_F32, "x");
    }

    #[test]
    #[should_panic(expected = "1 of 1 elements")]
    fn a_number_never_equals_an_expected_nan() {
        assert_close(&[1.0], &[f64::NAN], BF16, "x");
    }

    #[test]
    #[should_panic(expected = "lengths differ")]
    fn lengths_must_agree() {
        assert_close(&[1.0], &[1.0, 1.0], BF16, "x");
    }
}
