//! Tensors in a few figures, and the list of a forward pass's activations in them: what is looked at
//! when a value is not finite. Who asks, and what is made of it, is left to the caller.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Tensor;

/// Sees the named activations of a forward pass; clones share what they saw.
///
/// Each is read to the host at once, which waits for the device: not for every step.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<Mutex<Vec<TensorSummary>>>);

/// A tensor in a few figures.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSummary {
    /// Path of the parameter, or of the part whose output it is.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Number format, `f32`.
    pub dtype: String,
    /// Smallest finite value; not a number where there is none.
    pub min: f32,
    /// Largest finite value; not a number where there is none.
    pub max: f32,
    /// Values that are infinite or not a number.
    pub not_finite: usize,
    /// For `[batch, seq, ..]`: the rows with such values, each with the first position that has one.
    pub rows: Vec<[usize; 2]>,
}

impl Probe {
    /// Takes note of a tensor.
    pub fn see<const D: usize>(&self, name: &str, tensor: &Tensor<D>) {
        let summary = TensorSummary::of(name, tensor.clone());
        // A push leaves nothing half done.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(summary);
    }

    /// What was seen so far, in its order; the probe forgets it.
    pub fn take(&self) -> Vec<TensorSummary> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TensorSummary {
    /// Reads a tensor of any rank.
    pub fn of<const D: usize>(name: &str, tensor: Tensor<D>) -> Self {
        let dims = tensor.dims();
        let dtype = format!("{:?}", tensor.dtype()).to_lowercase();
        let data = tensor.without_autodiff().into_data().convert::<f32>();
        let values = data.as_slice::<f32>().expect("just converted to f32");
        let (mut min, mut max, mut not_finite) = (f32::NAN, f32::NAN, 0);
        let mut rows: Vec<[usize; 2]> = Vec::new();
        let [seq, width] = if D > 1 {
            [dims[1], dims[2..].iter().product::<usize>()]
        } else {
            [1, 1]
        };
        for (at, &value) in values.iter().enumerate() {
            if value.is_finite() {
                (min, max) = (min.min(value), max.max(value)); // ignore the NaN they start as
                continue;
            }
            not_finite += 1;
            let row = at / (seq * width);
            if rows.last().is_none_or(|[last, _]| *last != row) {
                rows.push([row, at / width % seq]);
            }
        }
        Self {
            name: name.to_owned(),
            shape: dims.to_vec(),
            dtype,
            min,
            max,
            not_finite,
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_summary_says_where_a_value_is_not_finite_and_spans_the_others() {
        let inf = f32::INFINITY;
        let x = [
            [[1.0, -2.0], [3.0, 4.0], [5.0, 6.0]],
            [[1.0, 2.0], [3.0, f32::NAN], [inf, -inf]],
        ];
        let x = Tensor::<3>::from_data(x, &Device::flex());
        let probe = Probe::default();
        probe.clone().see("blocks.0", &x);
        let summary = probe.take().pop().expect("one was seen");
        assert_eq!((summary.min, summary.max), (-2.0, 6.0));
        assert_eq!((summary.not_finite, summary.rows), (3, vec![[1, 1]]));
        assert_eq!(
            (summary.name.as_str(), summary.dtype.as_str()),
            ("blocks.0", "f32")
        );
        assert!(probe.take().is_empty());
    }

    #[test]
    fn no_finite_value_is_no_span() {
        let summary = TensorSummary::of(
            "x",
            Tensor::<1>::from_data([f32::NAN, f32::NAN], &Device::flex()),
        );
        assert!(summary.min.is_nan() && summary.max.is_nan());
        assert_eq!(summary.not_finite, 2);
    }
}
