//! `loss.png`: training and validation loss over tokens, learning rate and gradient norm below.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontDesc, FontFamily, FontStyle, register_font},
};
use sinterlm_formats::write_file_atomic;

use crate::{
    Event, Observer, RunError,
    curves::{Bucket, Curves, axis, thinned, tick_label, token_unit},
};

/// Width and height of the picture in pixels.
const SIZE: (u32, u32) = (1200, 1000);
/// Height of the losses' panel; the others share what is below.
const LOSS_HEIGHT: u32 = 640;
/// Drawn this much larger and averaged down, as the drawing library leaves lines jagged.
const OVERSAMPLING: u32 = 2;
/// Most points of a curve.
const MAX_POINTS: usize = 600;
/// Drawing may take one part in so many of the run's time.
const SHARE: u32 = 300;
/// Least time between two drawings.
const PAUSE: Duration = Duration::from_secs(5);
const TRAIN: RGBColor = RGBColor(0x4c, 0x78, 0xa8);
const VALID: RGBColor = RGBColor(0xe4, 0x57, 0x56);
const OTHER: RGBColor = RGBColor(0x54, 0x9e, 0x6d);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

static FONT: LazyLock<bool> = LazyLock::new(|| {
    let bytes = include_bytes!("../assets/DejaVuSans-ascii.ttf");
    register_font("sinterlm", FontStyle::Normal, bytes).is_ok()
});

/// Draws at log intervals and evaluations, as often as a third of a per cent of the run's time
/// allows, and at the end of the run.
///
/// As an observer it only warns of a picture that cannot be drawn or written; the run continues.
#[derive(Debug)]
pub struct LossPlot {
    path: PathBuf,
    curves: Curves,
    /// The earliest time of the next drawing.
    not_before: Option<Instant>,
}

impl LossPlot {
    /// Memory that drawing takes for a moment: the picture, what it is averaged down from, and an
    /// eighth for its compression.
    pub const DRAWING_BYTES: u64 =
        3 * (SIZE.0 * SIZE.1 * (OVERSAMPLING * OVERSAMPLING + 1)) as u64 * 9 / 8;

    /// Draws to `path`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            curves: Curves::default(),
            not_before: Instant::now().checked_add(PAUSE),
        }
    }

    /// Loads the points of a metrics file, for a resumed run; lines that hold none are skipped.
    #[must_use]
    pub fn with_history(mut self, metrics_path: impl AsRef<Path>) -> Self {
        self.curves = Curves::read(metrics_path.as_ref());
        self
    }

    /// Draws the points so far as a PNG of 1200 x 1000 pixels, in one step; without a loss it
    /// does nothing.
    ///
    /// # Errors
    /// [`RunError::Plot`] if drawing fails, [`RunError::Io`] or [`RunError::DiskFull`] if writing
    /// does.
    pub fn draw(&self) -> Result<(), RunError> {
        let fault = |fault: String| RunError::Plot {
            path: self.path.clone(),
            fault,
        };
        let panels = Panels::of(&self.curves);
        if panels.loss.most_tokens() <= 0.0 {
            return Ok(());
        }
        if !*FONT {
            return Err(fault("the embedded font is damaged".into()));
        }
        let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
        let mut pixels = vec![0xff; (width * height * 3) as usize];
        panels
            .render(&mut pixels, (width, height))
            .map_err(|e| fault(e.to_string()))?;
        let png = encode(&averaged_down(&pixels)).map_err(|e| fault(e.to_string()))?;
        Ok(write_file_atomic(&self.path, |out| out.write_all(&png))?)
    }

    fn draw_or_warn(&mut self) {
        let started = Instant::now();
        if let Err(error) = self.draw() {
            tracing::warn!("{error}");
        }
        let pause = PAUSE.max(started.elapsed() * SHARE);
        self.not_before = Instant::now().checked_add(pause);
    }
}

impl Observer for LossPlot {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        match event {
            Event::Step(record) if record.log => {
                let tokens = record.tokens as f64;
                self.curves.push("train/loss", tokens, record.loss);
                self.curves.push("train/lr", tokens, record.lr);
                self.curves
                    .push("train/grad_norm", tokens, record.grad_norm);
            }
            Event::Evaluated(record) => {
                let tokens = record.tokens as f64;
                if let Some(loss) = record.figure("valid/loss") {
                    self.curves.push("valid/loss", tokens, loss);
                }
            }
            Event::Finished { .. } => self.not_before = Some(Instant::now()),
            _ => return Ok(()),
        }
        if self.not_before.is_some_and(|time| time <= Instant::now()) {
            self.draw_or_warn();
        }
        Ok(())
    }
}

/// One curve of a panel.
struct Series {
    name: &'static str,
    points: Vec<Bucket>,
    color: RGBColor,
    width: u32,
}

/// Curves over one pair of axes.
struct Panel {
    title: &'static str,
    unit: &'static str,
    series: Vec<Series>,
    from_zero: bool,
}

impl Panel {
    fn most_tokens(&self) -> f64 {
        let points = self.series.iter().flat_map(|series| &series.points);
        points.map(|point| point.tokens).fold(0.0, f64::max)
    }

    fn range(&self) -> Range<f64> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let low = points()
            .map(|point| point.mean)
            .fold(f64::INFINITY, f64::min);
        let high = points()
            .map(|point| point.mean)
            .fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return 0.0..1.0;
        }
        axis(low, high, self.from_zero, 0.06)
    }
}

/// The three panels of the picture.
struct Panels {
    loss: Panel,
    below: [Panel; 2],
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Fault = Box<dyn std::error::Error>;

impl Panels {
    fn of(curves: &Curves) -> Self {
        let series = |figure: &str, name, color, width| Series {
            name,
            points: thinned(curves.get(figure), MAX_POINTS),
            color,
            width,
        };
        let alone = |figure: &str, title, unit| Panel {
            title,
            unit,
            series: vec![series(figure, "", OTHER, 2)],
            from_zero: true,
        };
        Self {
            loss: Panel {
                title: "Loss",
                unit: "nats per token",
                series: vec![
                    series("train/loss", "training", TRAIN, 2),
                    series("valid/loss", "validation", VALID, 3),
                ],
                from_zero: false,
            },
            below: [
                alone("train/lr", "Learning rate", "learning rate"),
                alone(
                    "train/grad_norm",
                    "Gradient norm",
                    "L2 norm before clipping",
                ),
            ],
        }
    }

    fn render(&self, pixels: &mut [u8], size: (u32, u32)) -> Result<(), Fault> {
        let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (above, below) = root.split_vertically(LOSS_HEIGHT * OVERSAMPLING);
        let (left, right) = below.split_horizontally(SIZE.0 * OVERSAMPLING / 2);
        let most = self.loss.most_tokens();
        self.loss.render(&above, most, 9)?;
        for (panel, area) in self.below.iter().zip([&left, &right]) {
            panel.render(area, most, 5)?;
        }
        root.present()?;
        Ok(())
    }
}

impl Panel {
    fn render(&self, area: &Area<'_>, most_tokens: f64, labels: usize) -> Result<(), Fault> {
        let scale = OVERSAMPLING;
        let font = |size: u32| {
            FontDesc::new(
                FontFamily::Name("sinterlm"),
                f64::from(size * scale),
                FontStyle::Normal,
            )
        };
        let (unit, unit_name) = token_unit(most_tokens);
        let (tokens, values) = (0.0..most_tokens / unit * 1.02, self.range());
        // The library chooses round steps, up to `labels` of them.
        let step = |range: &Range<f64>| (range.end - range.start) / labels as f64;
        let (x_step, y_step) = (step(&tokens), step(&values));
        let mut chart = ChartBuilder::on(area)
            .margin(16 * scale)
            .margin_right(28 * scale)
            .caption(self.title, font(22).color(&INK))
            .x_label_area_size(52 * scale)
            .y_label_area_size(80 * scale)
            .build_cartesian_2d(tokens, values)?;
        chart
            .configure_mesh()
            .x_desc(format!("tokens trained on ({unit_name})"))
            .y_desc(self.unit)
            .x_labels(labels)
            .y_labels(labels)
            .x_label_formatter(&|x| tick_label(*x, x_step))
            .y_label_formatter(&|y| tick_label(*y, y_step))
            .label_style(font(16).color(&INK))
            .axis_desc_style(font(17).color(&INK))
            .axis_style(INK.stroke_width(scale))
            .bold_line_style(GRID.stroke_width(scale))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for series in self
            .series
            .iter()
            .filter(|series| !series.points.is_empty())
        {
            let scaled = || series.points.iter().map(|p| (p.tokens / unit, p.mean));
            let stroke = series.color.stroke_width(series.width * scale);
            let length = (26 * scale) as i32;
            let drawn = chart.draw_series(LineSeries::new(scaled(), stroke))?;
            if !series.name.is_empty() {
                drawn
                    .label(series.name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + length, y)], stroke));
            }
            // Few points get dots; as a line, a single one would not show.
            if series.points.len() <= 50 {
                let (radius, fill) = ((series.width + 2) * scale, series.color.filled());
                chart.draw_series(scaled().map(|p| Circle::new(p, radius, fill)))?;
            }
        }
        if self.series.iter().any(|series| !series.name.is_empty()) {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .margin(16 * scale)
                .legend_area_size(36 * scale)
                .label_font(font(18).color(&INK))
                .background_style(WHITE.mix(0.85))
                .border_style(GRID.stroke_width(scale))
                .draw()?;
        }
        Ok(())
    }
}

/// The mean of each square of oversampled pixels, as RGB of [`SIZE`].
fn averaged_down(pixels: &[u8]) -> Vec<u8> {
    let (n, width) = (OVERSAMPLING as usize, SIZE.0 as usize);
    let mut out = Vec::with_capacity(width * SIZE.1 as usize * 3);
    for rows in pixels.chunks_exact(n * n * width * 3) {
        for x in 0..width {
            for channel in 0..3 {
                let at = |dy: usize, dx: usize| rows[((dy * width + x) * n + dx) * 3 + channel];
                let sum: usize = (0..n)
                    .flat_map(|dy| (0..n).map(move |dx| (dy, dx)))
                    .map(|(dy, dx)| usize::from(at(dy, dx)))
                    .sum();
                out.push((sum / (n * n)) as u8);
            }
        }
    }
    out
}

fn encode(pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{EvalRecord, MetricsFile, StepRecord};

    fn step(step: u64, loss: f64) -> StepRecord {
        StepRecord {
            step,
            tokens: 2048 * step,
            loss,
            lr: 1e-2 * (step.min(60) as f64 / 60.0) * (1.0 - step as f64 / 1300.0),
            grad_norm: 0.6 + 2.0 / (step as f64).sqrt() + 0.1 * (step % 7) as f64,
            tokens_per_second: 1.0,
            extra: vec![],
            log: true,
        }
    }

    /// Events of a plausible run: a falling, noisy training loss and ten evaluations.
    fn play(observer: &mut dyn Observer) {
        for at in 1..=1200u64 {
            let noise = (at * 2_654_435_761 % 1000) as f64 / 1000.0 - 0.5;
            let smooth = 1.9 + 5.0 / (1.0 + at as f64 / 40.0);
            observer
                .on_event(&Event::Step(&step(at, smooth + 0.25 * noise)))
                .unwrap();
            if at % 120 == 0 {
                let (tokens, loss) = (2048 * at, smooth + 0.12);
                let record = EvalRecord {
                    step: at,
                    tokens,
                    figures: vec![("valid/loss".into(), loss)],
                };
                observer.on_event(&Event::Evaluated(&record)).unwrap();
            }
        }
    }

    fn decode(path: &Path) -> (png::OutputInfo, Vec<u8>) {
        let file = std::io::BufReader::new(fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info, pixels)
    }

    fn holds(pixels: &[u8], color: RGBColor) -> bool {
        pixels
            .chunks_exact(3)
            .any(|p| p == [color.0, color.1, color.2])
    }

    #[test]
    fn the_plot_is_a_png_of_the_agreed_size_with_all_curves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.png");
        let mut plot = LossPlot::new(&path);
        play(&mut plot);
        plot.on_event(&Event::Finished {
            step: 90,
            reason: "all steps are done",
        })
        .unwrap();
        let (info, pixels) = decode(&path);
        assert_eq!(
            (info.width, info.height, info.color_type),
            (1200, 1000, png::ColorType::Rgb)
        );
        // The losses above, learning rate and gradient norm in the halves below.
        let (above, below) = pixels.split_at((1200 * LOSS_HEIGHT * 3) as usize);
        assert!([TRAIN, VALID, INK].iter().all(|&color| holds(above, color)));
        for half in [0..600, 600..1200] {
            let in_half = |row: &[u8]| holds(&row[3 * half.start..3 * half.end], OTHER);
            assert!(below.chunks_exact(1200 * 3).any(in_half), "{half:?}");
        }
        if let Some(keep) = std::env::var_os("SINTERLM_KEEP_PLOT") {
            fs::copy(path, keep).unwrap();
        }
    }

    #[test]
    fn odd_runs_draw_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.png");
        let mut plot = LossPlot::new(&path);
        plot.draw().unwrap();
        assert!(!path.exists(), "nothing to draw yet");
        plot.on_event(&Event::Step(&step(1, f64::NAN))).unwrap();
        plot.draw().unwrap();
        plot.on_event(&Event::Step(&step(2, 4.0))).unwrap();
        plot.draw().unwrap();
        assert!(path.exists());
        for [loss, other] in [
            [0.0, 0.0],
            [1e-310, 1e-310],
            [f64::MAX, 1e300],
            [1e300, -1e300],
        ] {
            let mut plot = LossPlot::new(&path);
            for at in 1..=2 {
                let record = StepRecord {
                    lr: other,
                    grad_norm: other,
                    ..step(at, loss)
                };
                plot.on_event(&Event::Step(&record)).unwrap();
            }
            assert!(Panels::of(&plot.curves).loss.range().end >= 1.0);
            plot.draw().unwrap();
        }
    }

    #[test]
    fn drawing_takes_a_small_share_of_the_time_and_no_run_ends_by_it() {
        let mut plot = LossPlot::new("/no/such/folder/loss.png");
        play(&mut plot);
        assert!(plot.draw().is_err());
        let early = plot.not_before.unwrap();
        let finished = Event::Finished {
            step: 1,
            reason: "done",
        };
        let started = Instant::now();
        plot.on_event(&finished).unwrap();
        let (took, pause) = (started.elapsed(), plot.not_before.unwrap() - started);
        assert!(plot.not_before.unwrap() > early && pause >= PAUSE);
        assert!(pause >= took * (SHARE / 2), "{pause:?} after {took:?}");
    }

    #[test]
    fn a_resumed_plot_has_the_points_of_the_metrics_file() {
        let dir = tempfile::tempdir().unwrap();
        let metrics_path = dir.path().join("metrics.jsonl");
        play(&mut MetricsFile::open(&metrics_path).unwrap());
        let plot = LossPlot::new(dir.path().join("loss.png")).with_history(&metrics_path);
        let counts = ["train/loss", "train/lr", "train/grad_norm", "valid/loss"]
            .map(|name| plot.curves.get(name).len());
        assert_eq!(counts, [1200, 1200, 1200, 10]);
        assert_eq!(
            plot.curves.get("train/loss")[0].tokens.to_bits(),
            2048f64.to_bits()
        );
    }
}
