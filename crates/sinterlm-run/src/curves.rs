//! The figures of a run over its tokens, as plots and the report draw them.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

/// One value of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) tokens: f64,
    pub(crate) value: f64,
}

/// All figures of a run by their metric name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curves {
    /// The last step seen.
    pub(crate) steps: u64,
    figures: BTreeMap<String, Vec<Point>>,
}

impl Curves {
    /// Reads the figures of a metrics file. Lines that hold none are skipped; a missing file is
    /// empty.
    pub(crate) fn read(metrics_path: &Path) -> Self {
        let mut curves = Self::default();
        let text = fs::read_to_string(metrics_path).unwrap_or_default();
        for line in text.lines() {
            let Ok(Value::Object(row)) = serde_json::from_str(line) else {
                continue;
            };
            let Some(tokens) = row.get("tokens").and_then(Value::as_f64) else {
                continue;
            };
            let step = row.get("step").and_then(Value::as_u64);
            curves.steps = curves.steps.max(step.unwrap_or(0));
            for (name, value) in &row {
                if let Some(value) = value.as_f64().filter(|_| name.contains('/')) {
                    curves.push(name, tokens, value);
                }
            }
        }
        curves
    }

    /// Adds a value; one that is not finite cannot be drawn and is left out.
    pub(crate) fn push(&mut self, name: &str, tokens: f64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let point = Point { tokens, value };
        match self.figures.get_mut(name) {
            Some(points) => points.push(point),
            None => drop(self.figures.insert(name.to_owned(), vec![point])),
        }
    }

    /// The values of a figure in the order in which they came; an unknown figure has none.
    pub(crate) fn get(&self, name: &str) -> &[Point] {
        self.figures.get(name).map_or(&[], Vec::as_slice)
    }

    /// The names of all figures, sorted.
    #[cfg(feature = "report")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.figures.keys().map(String::as_str)
    }
}

/// Neighbouring points as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    /// Mean of the tokens.
    pub(crate) tokens: f64,
    /// Mean of the values.
    pub(crate) mean: f64,
    /// The least of the values.
    pub(crate) low: f64,
    /// The greatest of the values.
    pub(crate) high: f64,
}

/// Puts points into at most `most` buckets of equal size: more points than pixels show nothing.
pub(crate) fn thinned(points: &[Point], most: usize) -> Vec<Bucket> {
    let size = points.len().div_ceil(most.max(1)).max(1);
    let bucket = |points: &[Point]| {
        let mean = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        let values = || points.iter().map(|point| point.value);
        Bucket {
            tokens: mean(|point| point.tokens),
            mean: mean(|point| point.value),
            low: values().fold(f64::INFINITY, f64::min),
            high: values().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    points.chunks(size).map(bucket).collect()
}

/// The unit in which an axis counts tokens, so that its numbers are short, and the unit's name.
pub(crate) fn token_unit(most: f64) -> (f64, &'static str) {
    match most {
        1e9.. => (1e9, "billions"),
        1e6.. => (1e6, "millions"),
        1e3.. => (1e3, "thousands"),
        _ => (1.0, "count"),
    }
}

/// A number in its shortest form: `2.5`, `300`, `3e-5`.
pub(crate) fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        // Rounded first: ticks are sums, and 3e-5 may be a little less.
        let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
        return if rounded.abs() < 1e-12 {
            "0".into()
        } else {
            format!("{rounded:e}")
        };
    }
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_points_become_few_and_keep_their_extremes() {
        let mut points: Vec<Point> = (0..100_000)
            .map(|at| Point {
                tokens: f64::from(at),
                value: 2.0,
            })
            .collect();
        points[77_777].value = 90.0;
        let buckets = thinned(&points, 600);
        assert!(buckets.len() <= 600, "{}", buckets.len());
        assert!((buckets[0].mean - 2.0).abs() < 1e-9);
        assert_eq!(
            buckets.iter().filter(|bucket| bucket.high > 89.0).count(),
            1
        );
        assert!(buckets.iter().all(|bucket| bucket.low <= bucket.mean));
        assert_eq!(thinned(&points[..3], 600).len(), 3);
        assert!(thinned(&[], 600).is_empty());
    }

    #[test]
    fn damaged_lines_and_values_that_are_no_numbers_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let lines = [
            r#"{"step":1,"tokens":64,"train/loss":5.5,"train/lr":0.001}"#,
            r#"{"step":2,"tokens":128,"train/loss":null}"#,
            "[1, 2]",
            r#"{"step":3,"tokens":192,"valid/loss":4.5}"#,
            r#"{"step":4,"tok"#,
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        let curves = Curves::read(&path);
        let point = |tokens, value| Point { tokens, value };
        assert_eq!(curves.get("train/loss"), [point(64.0, 5.5)]);
        assert_eq!(curves.get("valid/loss"), [point(192.0, 4.5)]);
        assert_eq!((curves.get("step"), curves.steps), ([].as_slice(), 3));
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 2.5, 300.0, 0.012, 3e-5, 0.000_299_999_999].map(short);
        assert_eq!(texts, ["0", "2.5", "300", "0.012", "3e-5", "3e-4"]);
    }
}
