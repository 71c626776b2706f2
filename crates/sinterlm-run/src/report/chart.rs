//! Curves as SVG that takes its colours from the page's style sheet.

use std::{fmt::Write as _, ops::Range};

use super::html::escaped;
use crate::curves::{Bucket, axis, short, tick_label, token_unit};

/// Most points of a curve.
pub(super) const MAX_POINTS: usize = 500;
/// Space for the labels: left, right, above, below.
const MARGINS: [f64; 4] = [62.0, 14.0, 12.0, 42.0];

/// Curves over one pair of axes.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    pub(super) series: Vec<Series<'a>>,
    /// Whether the values' axis begins at 0.
    pub(super) from_zero: bool,
    /// Whether it is as wide as the page, or half of it.
    pub(super) is_wide: bool,
}

/// One curve; `class` names its colour.
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    pub(super) points: Vec<Bucket>,
}

impl Chart<'_> {
    /// Width and height.
    fn size(&self) -> [f64; 2] {
        if self.is_wide {
            [1040.0, 380.0]
        } else {
            [512.0, 240.0]
        }
    }

    /// The figure; `None` without a point.
    pub(super) fn render(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let most = points().map(|p| p.tokens).reduce(f64::max)?;
        let low = points().map(|p| p.mean).reduce(f64::min)?;
        let high = points().map(|p| p.mean).reduce(f64::max)?;
        let (unit, unit_name) = token_unit(most);
        let axes = Axes {
            tokens: axis(0.0, most / unit, true, 0.0),
            values: axis(low, high, self.from_zero, 0.05),
            unit,
            size: self.size(),
        };

        let [width, height] = self.size();
        let title = escaped(self.title);
        let class = if self.is_wide { " class=\"wide\"" } else { "" };
        let mut svg = format!("<figure{class}><figcaption>{title}");
        for series in self
            .series
            .iter()
            .filter(|s| !s.name.is_empty() && !s.points.is_empty())
        {
            let (class, name) = (series.class, escaped(series.name));
            put(
                &mut svg,
                format_args!(" <span class=\"key {class}\">{name}</span>"),
            );
        }
        put(
            &mut svg,
            format_args!(
                "</figcaption><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">"
            ),
        );
        axes.draw(&mut svg, &format!("tokens ({unit_name})"), self.unit);
        for series in &self.series {
            axes.curve(&mut svg, series);
        }
        svg.push_str("</svg></figure>");
        Some(svg)
    }
}

struct Axes {
    tokens: Range<f64>,
    values: Range<f64>,
    unit: f64,
    size: [f64; 2],
}

impl Axes {
    fn x(&self, tokens: f64) -> f64 {
        let [left, right, ..] = MARGINS;
        left + tokens / self.tokens.end * (self.size[0] - left - right)
    }

    /// Values beyond the axis are drawn at its end.
    fn y(&self, value: f64) -> f64 {
        let [.., above, below] = MARGINS;
        let share = (value - self.values.start) / (self.values.end - self.values.start);
        self.size[1] - below - share.clamp(0.0, 1.0) * (self.size[1] - above - below)
    }

    fn draw(&self, svg: &mut String, x_name: &str, y_name: &str) {
        let [left, right, above, below] = MARGINS;
        let [width, height] = self.size;
        let (end, bottom) = (width - right, height - below);
        let (step, values) = ticks(&self.values, (height / 52.0) as usize);
        for value in values {
            let (y, text) = (self.y(value), tick_label(value, step));
            put(
                svg,
                format_args!("<path class=\"grid\" d=\"M{left} {y:.1}H{end}\"/>"),
            );
            let (x, y) = (left - 7.0, y + 4.0);
            put(
                svg,
                format_args!("<text class=\"end\" x=\"{x}\" y=\"{y:.1}\">{text}</text>"),
            );
        }
        let (step, places) = ticks(&self.tokens, (width / 90.0) as usize);
        for tokens in places {
            let (x, y, text) = (self.x(tokens), bottom + 17.0, tick_label(tokens, step));
            put(
                svg,
                format_args!("<text class=\"mid\" x=\"{x:.1}\" y=\"{y}\">{text}</text>"),
            );
        }
        put(
            svg,
            format_args!("<path class=\"axis\" d=\"M{left} {above}V{bottom}H{end}\"/>"),
        );
        let (x, y) = (f64::midpoint(left, end), height - 5.0);
        put(
            svg,
            format_args!("<text class=\"mid name\" x=\"{x}\" y=\"{y}\">{x_name}</text>"),
        );
        let (y, name) = (f64::midpoint(above, bottom), escaped(y_name));
        put(
            svg,
            format_args!(
                "<text class=\"mid name\" transform=\"translate(13 {y}) rotate(-90)\">{name}</text>"
            ),
        );
    }

    /// Draws the line of the means and, where points were thinned, the span from low to high behind
    /// it.
    fn curve(&self, svg: &mut String, series: &Series<'_>) {
        let (points, class) = (&series.points, series.class);
        let at = |point: &Bucket, value: f64| (self.x(point.tokens / self.unit), self.y(value));
        if points.iter().any(|p| p.high > p.low) {
            put(svg, format_args!("<path class=\"span {class}\" d=\"M"));
            for point in points {
                let (x, y) = at(point, point.high);
                put(svg, format_args!("{x:.1} {y:.1} "));
            }
            for point in points.iter().rev() {
                let (x, y) = at(point, point.low);
                put(svg, format_args!("{x:.1} {y:.1} "));
            }
            svg.push_str("Z\"/>");
        }
        put(
            svg,
            format_args!("<polyline class=\"line {class}\" points=\""),
        );
        for point in points {
            let (x, y) = at(point, point.mean);
            put(svg, format_args!("{x:.1},{y:.1} "));
        }
        svg.push_str("\"/>");
        // Few points get dots; as a line, a single one would not show.
        if points.len() <= 40 {
            for point in points {
                let ((x, y), tokens) = (at(point, point.mean), point.tokens as u64);
                let value = short(point.mean);
                put(
                    svg,
                    format_args!(
                        "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{value} at {tokens} tokens</title></circle>"
                    ),
                );
            }
        }
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a String cannot fail");
}

/// Round numbers within a range, about `wanted` of them but two where they can be had, and the step
/// between them: 1, 2 or 5 times a power of 10.
fn ticks(range: &Range<f64>, wanted: usize) -> (f64, Vec<f64>) {
    let raw = (range.end - range.start) / wanted.max(2) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fit = factors.iter().position(|factor| factor * power >= raw);
    let places = |step: f64| {
        let first = (range.start / step).ceil() as i64;
        let last = (range.end / step).floor() as i64;
        let numbers = (first..=last).take(50);
        numbers.map(|n| n as f64 * step).collect::<Vec<_>>()
    };
    let finer = factors[..=fit.unwrap_or(3)].iter().rev();
    let mut found = finer.map(|factor| (factor * power, places(factor * power)));
    let widest = (power, places(power));
    found.find(|(_, places)| places.len() > 1).unwrap_or(widest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks(&(0.0..10.0), 5).1, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let odd = ticks(&(1.93..2.41), 5).1;
        assert!(
            odd.len() > 2 && odd.iter().all(|t| (1.93..=2.41).contains(t)),
            "{odd:?}"
        );
        assert_eq!(ticks(&(0.6..9.4), 4).1, [2.0, 4.0, 6.0, 8.0]);
        assert!(ticks(&(0.0..f64::NAN), 5).1.len() <= 50);
    }
}
