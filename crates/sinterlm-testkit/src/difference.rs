//! The gradient by central differences; comparing it with the analytic one is the test's part.

/// The gradient of `function` at `point` by central differences, in f64.
///
/// `(f(x + h·e_i) − f(x − h·e_i)) / 2h` for each element, with `h = ∛ε · max(1, |x_i|)`, which
/// balances truncation (order `h²`) against rounding (order `ε/h`). Costs two calls for each
/// element: keep `point` small.
///
/// ```
/// let gradient = sinterlm_testkit::finite_difference(&[2.0, 3.0], |x| x[0] * x[1]);
/// assert!((gradient[0] - 3.0).abs() < 1e-8 && (gradient[1] - 2.0).abs() < 1e-8);
/// ```
pub fn finite_difference(point: &[f64], mut function: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = point.to_vec();
    let mut gradient = Vec::with_capacity(point.len());
    for (i, &x) in point.iter().enumerate() {
        let h = f64::EPSILON.cbrt() * x.abs().max(1.0);
        // What was really added: `x + h` rounds.
        let (above, below) = (x + h, x - h);
        moved[i] = above;
        let upper = function(&moved);
        moved[i] = below;
        let lower = function(&moved);
        moved[i] = x;
        gradient.push((upper - lower) / (above - below));
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FINITE_DIFFERENCE_F64, assert_close};

    #[test]
    fn agrees_with_the_derivative_of_a_curved_function() {
        let point = [0.3, -1.7, 40.0];
        let gradient = finite_difference(&point, |x| x.iter().map(|v| v.sin() * v).sum());
        let expected: Vec<f64> = point.iter().map(|v: &f64| v.cos() * v + v.sin()).collect();
        assert_close(&gradient, &expected, FINITE_DIFFERENCE_F64, "gradient");
    }
}
