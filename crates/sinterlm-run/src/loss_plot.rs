//! `loss.png`: training and validation loss over tokens.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use plotters::{
    prelude::*,
    style::{FontDesc, FontFamily, FontStyle, register_font},
};
use serde_json::Value;

use crate::{Event, Observer, RunError, atomic::write_atomic};

/// Width and height of the picture in pixels.
const SIZE: (u32, u32) = (1200, 750);
/// Drawn this much larger and averaged down, as the drawing library leaves lines jagged.
const OVERSAMPLING: u32 = 2;
/// More points than pixels say nothing; neighbours are averaged down to this many.
const MAX_POINTS: usize = 600;
const TRAIN: RGBColor = RGBColor(0x4c, 0x78, 0xa8);
const VALID: RGBColor = RGBColor(0xe4, 0x57, 0x56);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

static FONT: LazyLock<bool> = LazyLock::new(|| {
    let bytes = include_bytes!("../assets/DejaVuSans-ascii.ttf");
    register_font("sinterlm", FontStyle::Normal, bytes).is_ok()
});

/// Draws the losses at every evaluation and at the end of the run.
///
/// A picture that cannot be drawn or written is no reason to end a run: as an observer it only
/// warns.
#[derive(Debug)]
pub struct LossPlot {
    path: PathBuf,
    /// Tokens and nats per token.
    train: Vec<(f64, f64)>,
    valid: Vec<(f64, f64)>,
}

impl LossPlot {
    /// Draws to `path`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            train: Vec::new(),
            valid: Vec::new(),
        }
    }

    /// Takes over the points of a metrics file, for a resumed run; lines that are none are skipped.
    #[must_use]
    pub fn with_history(mut self, metrics_path: impl AsRef<Path>) -> Self {
        let text = fs::read_to_string(metrics_path).unwrap_or_default();
        for line in text.lines() {
            let Ok(row) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let Some(tokens) = row["tokens"].as_f64() else {
                continue;
            };
            if let Some(loss) = row["train/loss"].as_f64() {
                self.train.push((tokens, loss));
            }
            if let Some(loss) = row["valid/loss"].as_f64() {
                self.valid.push((tokens, loss));
            }
        }
        self
    }

    /// Draws the points so far as a PNG of 1200 x 750 pixels, in one step; without a point it
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
        let (train, valid) = (drawable(&self.train), drawable(&self.valid));
        let Some(frame) = Frame::around(&train, &valid) else {
            return Ok(());
        };
        if !*FONT {
            return Err(fault("the embedded font is damaged".into()));
        }
        let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
        let mut pixels = vec![0xff; (width * height * 3) as usize];
        render(&mut pixels, (width, height), &frame, &train, &valid)
            .map_err(|e| fault(e.to_string()))?;
        let png = encode(&averaged_down(&pixels)).map_err(|e| fault(e.to_string()))?;
        write_atomic(&self.path, &png)
    }
}

impl Observer for LossPlot {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        match event {
            Event::Step(record) if record.log => {
                self.train.push((record.tokens as f64, record.loss));
                return Ok(());
            }
            Event::Evaluated(record) => self.valid.push((record.tokens as f64, record.loss)),
            Event::Finished { .. } => {}
            _ => return Ok(()),
        }
        if let Err(error) = self.draw() {
            tracing::warn!("{error}");
        }
        Ok(())
    }
}

/// The ranges of both axes; tokens are counted in `unit`.
struct Frame {
    unit: f64,
    unit_name: &'static str,
    tokens: std::ops::Range<f64>,
    loss: std::ops::Range<f64>,
}

impl Frame {
    /// The frame that shows all points, `None` without points.
    fn around(train: &[(f64, f64)], valid: &[(f64, f64)]) -> Option<Self> {
        let all = || train.iter().chain(valid);
        let most = all().map(|p| p.0).reduce(f64::max)?;
        let low = all().map(|p| p.1).reduce(f64::min)?;
        let high = all().map(|p| p.1).reduce(f64::max)?;
        let (unit, unit_name) = match most {
            1e9.. => (1e9, "billions"),
            1e6.. => (1e6, "millions"),
            1e3.. => (1e3, "thousands"),
            _ => (1.0, "count"),
        };
        let margin = ((high - low) * 0.06).max(0.01);
        Some(Self {
            unit,
            unit_name,
            tokens: 0.0..(most / unit).max(1e-9) * 1.02,
            loss: low - margin..high + margin,
        })
    }
}

/// Finite points, neighbours averaged until few enough are left.
fn drawable(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<_> = points.iter().filter(|p| p.1.is_finite()).copied().collect();
    let group = finite.len().div_ceil(MAX_POINTS).max(1);
    let mean = |group: &[(f64, f64)]| {
        let sum = group
            .iter()
            .fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        (sum.0 / group.len() as f64, sum.1 / group.len() as f64)
    };
    finite.chunks(group).map(mean).collect()
}

fn render(
    pixels: &mut [u8],
    size: (u32, u32),
    frame: &Frame,
    train: &[(f64, f64)],
    valid: &[(f64, f64)],
) -> Result<(), Box<dyn std::error::Error>> {
    let scale = OVERSAMPLING;
    let font = |size: u32| {
        FontDesc::new(
            FontFamily::Name("sinterlm"),
            f64::from(size * scale),
            FontStyle::Normal,
        )
    };
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(18 * scale)
        .margin_right(30 * scale)
        .caption("Loss over tokens", font(26).color(&INK))
        .x_label_area_size(58 * scale)
        .y_label_area_size(78 * scale)
        .build_cartesian_2d(frame.tokens.clone(), frame.loss.clone())?;
    chart
        .configure_mesh()
        .x_desc(format!("tokens trained on ({})", frame.unit_name))
        .y_desc("loss (nats per token)")
        .x_labels(9)
        .y_labels(9)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .label_style(font(17).color(&INK))
        .axis_desc_style(font(19).color(&INK))
        .axis_style(INK.stroke_width(scale))
        .bold_line_style(GRID.stroke_width(scale))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let series = [
        ("training", train, TRAIN, 2),
        ("validation", valid, VALID, 3),
    ];
    for (name, points, color, width) in series {
        if points.is_empty() {
            continue;
        }
        let scaled = || points.iter().map(|p| (p.0 / frame.unit, p.1));
        let stroke = color.stroke_width(width * scale);
        let length = (26 * scale) as i32;
        chart
            .draw_series(LineSeries::new(scaled(), stroke))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + length, y)], stroke));
        // Few points are told apart from a line; a single one would not show at all.
        if points.len() <= 50 {
            let radius = 5 * scale;
            chart.draw_series(scaled().map(|p| Circle::new(p, radius, color.filled())))?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(16 * scale)
        .legend_area_size(36 * scale)
        .label_font(font(18).color(&INK))
        .background_style(WHITE.mix(0.85))
        .border_style(GRID.stroke_width(scale))
        .draw()?;
    root.present()?;
    Ok(())
}

/// A number without the zeros that say nothing: `2.5`, `300`.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.into()
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
    use super::*;
    use crate::{EvalRecord, MetricsFile, StepRecord};

    fn step(step: u64, loss: f64) -> StepRecord {
        StepRecord {
            step,
            tokens: 2048 * step,
            loss,
            lr: 1e-3,
            grad_norm: 1.0,
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
                    loss,
                    figures: vec![],
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
    fn the_plot_is_a_png_of_the_agreed_size_with_both_curves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.png");
        let mut plot = LossPlot::new(&path);
        // Only drawing at the end: drawing ten times shows nothing new.
        (plot.train, plot.valid) = (
            (1..=90)
                .map(|x| (x as f64 * 1e4, 9.0 - x as f64 / 20.0))
                .collect(),
            vec![(9e5, 5.0)],
        );
        plot.on_event(&Event::Finished {
            step: 90,
            reason: "all steps are done",
        })
        .unwrap();
        let (info, pixels) = decode(&path);
        assert_eq!(
            (info.width, info.height, info.color_type),
            (1200, 750, png::ColorType::Rgb)
        );
        assert!(holds(&pixels, TRAIN) && holds(&pixels, VALID) && holds(&pixels, INK));
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
        plot.on_event(&Event::Step(&step(0, 4.0))).unwrap();
        plot.draw().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_plot_that_cannot_be_written_does_not_end_the_run() {
        let mut plot = LossPlot::new("/no/such/folder/loss.png");
        plot.on_event(&Event::Step(&step(1, 4.0))).unwrap();
        assert!(plot.draw().is_err());
        plot.on_event(&Event::Finished {
            step: 1,
            reason: "done",
        })
        .unwrap();
    }

    #[test]
    fn a_resumed_plot_has_the_points_of_the_metrics_file() {
        let dir = tempfile::tempdir().unwrap();
        let metrics_path = dir.path().join("metrics.jsonl");
        play(&mut MetricsFile::open(&metrics_path).unwrap());
        let plot = LossPlot::new(dir.path().join("loss.png")).with_history(&metrics_path);
        assert_eq!((plot.train.len(), plot.valid.len()), (1200, 10));
        assert_eq!(plot.train[0].0.to_bits(), 2048f64.to_bits());
        assert!(drawable(&plot.train).len() <= MAX_POINTS);
        plot.draw().unwrap();
        if let Some(keep) = std::env::var_os("SINTERLM_KEEP_PLOT") {
            fs::copy(dir.path().join("loss.png"), keep).unwrap();
        }
    }
}
