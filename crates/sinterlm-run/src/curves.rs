//! The figures of a run over its tokens, as plots and the report draw them.

use std::{collections::BTreeMap, fs, ops::Range, path::Path};

use serde_json::Value;

/// Values beyond it are not drawn: their differences and sums would overflow.
const MOST_DRAWN: f64 = 1e300;

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

    /// Adds a value; one that is not finite or that near to it cannot be drawn and is left out.
    pub(crate) fn push(&mut self, name: &str, tokens: f64, value: f64) {
        let is_drawn = |number: f64| number.abs() <= MOST_DRAWN;
        if !is_drawn(value) || !is_drawn(tokens) {
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

/// The range of an axis for values from `low` to `high`, with `room`, a share of it, at both ends but
/// none beyond 0. Values that stay the same have an axis from 0, those that stay 0 one up to 1: a
/// line in the middle of tiny steps would show changes where there are none.
pub(crate) fn axis(low: f64, high: f64, from_zero: bool, room: f64) -> Range<f64> {
    let size = low.abs().max(high.abs());
    if size < 1.0 / MOST_DRAWN {
        return 0.0..1.0;
    }
    let (low, high) = if from_zero || high - low < size * 1e-6 {
        (low.min(0.0), high.max(0.0))
    } else {
        (low, high)
    };
    let room = (high - low) * room;
    let beyond = |end: f64| if end == 0.0 { 0.0 } else { room };
    low - beyond(low)..high + beyond(high)
}

/// A number at an axis whose labels are `step` apart: `10k` for 10000, and with as many digits as tell
/// it from its neighbours.
pub(crate) fn tick_label(value: f64, step: f64) -> String {
    let size = value.abs();
    if size < step * 1e-6 {
        return "0".into();
    }
    let digits = |unit: f64| (unit / step).log10().ceil().clamp(0.0, 12.0) as usize;
    let cut = |text: &str| {
        let without_zeros = text.trim_end_matches('0').trim_end_matches('.');
        let is_fraction = text.contains('.');
        if is_fraction { without_zeros } else { text }.to_owned()
    };
    if !(1e-3..1e9).contains(&size) {
        let text = format!("{value:.*e}", digits(10f64.powf(size.log10().floor())));
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", cut(digits));
    }
    match (size >= 1e4, step) {
        (true, 0.1..) => format!("{}k", short(value / 1e3)),
        (false, 1e-4..) => short(value),
        _ => cut(&format!("{value:.*}", digits(1.0))),
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
    fn axes_show_no_changes_where_there_are_none() {
        let of = |low, high, from_zero| axis(low, high, from_zero, 0.05);
        for from_zero in [true, false] {
            assert_eq!(of(0.0, 0.0, from_zero), 0.0..1.0);
            assert_eq!(of(1e-310, 1e-310, from_zero), 0.0..1.0);
            assert_eq!(of(20.0, 20.0, from_zero), 0.0..21.0);
            assert_eq!(of(-20.0, -20.0, from_zero), -21.0..0.0);
        }
        assert_eq!(of(2.0, 2.0 + 1e-9, false).start.to_bits(), 0);
        assert_eq!(of(2.0, 4.0, false), 1.9..4.1);
        assert_eq!(of(2.0, 4.0, true), 0.0..4.2);
        assert_eq!(of(0.0, 4.0, false), 0.0..4.2, "a count is not below 0");
        let widest = of(-MOST_DRAWN, MOST_DRAWN, false);
        assert!((widest.end - widest.start).is_finite());
    }

    #[test]
    fn labels_of_an_axis_differ_and_stay_short() {
        let labels = |values: [f64; 3], step| values.map(|value| tick_label(value, step));
        assert_eq!(labels([0.0, 1e4, 25e3], 5e3), ["0", "10k", "25k"]);
        assert_eq!(labels([1.5, 2.0, -2.5], 0.5), ["1.5", "2", "-2.5"]);
        assert_eq!(
            labels([1e-5, 1.5e-5, 3e-5], 5e-6),
            ["1e-5", "1.5e-5", "3e-5"]
        );
        assert_eq!(labels([2e300, 1e9, 2.5e9], 5e8), ["2e300", "1e9", "2.5e9"]);
        assert_eq!(
            labels([2.00001, 2.00002, 20_000.0], 1e-5),
            ["2.00001", "2.00002", "20000"]
        );
        assert_eq!(
            labels([1e-14, 2e-14, 1e-21], 1e-14),
            ["1e-14", "2e-14", "0"]
        );
    }

    #[test]
    fn values_that_cannot_be_drawn_are_left_out() {
        let mut curves = Curves::default();
        for value in [f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, 1e300] {
            curves.push("a/b", 1.0, value);
        }
        assert_eq!(curves.get("a/b").len(), 1);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 2.5, 300.0, 0.012, 3e-5, 0.000_299_999_999].map(short);
        assert_eq!(texts, ["0", "2.5", "300", "0.012", "3e-5", "3e-4"]);
    }
}
