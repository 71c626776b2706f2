//! `tensorboard/`: the figures and samples of a run as event files for TensorBoard. `wire` makes
//! their bytes.

mod wire;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{Event, Observer, RunError, SampleText, utc::unix_time};
use wire::Message;

/// What all names of event files begin with; a number follows.
const PREFIX: &str = "events.out.tfevents.";

/// Writes every figure of `metrics.jsonl` as a scalar and every sample as a text, under the same
/// names, into a file of its own for each process that works on the run.
///
/// A resumed run begins with a mark that makes readers drop the events of later steps in earlier
/// files, so no step shows twice. If the file can't be written, one warning is given and the run
/// continues without further events.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    /// `None` once writing failed.
    file: Option<File>,
}

impl TensorBoard {
    /// Creates `folder` and a new event file in it, sorted behind those that are there.
    ///
    /// # Errors
    /// [`RunError::Io`] or [`RunError::DiskFull`].
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, RunError> {
        let folder = folder.as_ref();
        let make = || -> io::Result<(PathBuf, File)> {
            fs::create_dir_all(folder)?;
            let path = folder.join(next_name(folder)?);
            let mut options = OpenOptions::new();
            let mut file = options.create_new(true).append(true).open(&path)?;
            let version = Message::default()
                .double(1, unix_time())
                .text(3, "brain.Event:2");
            file.write_all(&version.into_record())?;
            Ok((path, file))
        };
        let (path, file) = make().map_err(|e| RunError::io(folder, "write event files to", e))?;
        Ok(Self {
            path,
            file: Some(file),
        })
    }

    fn write(&mut self, event: Message) {
        let Some(file) = &mut self.file else {
            return;
        };
        if let Err(error) = file.write_all(&event.into_record()) {
            let path = self.path.display();
            tracing::warn!("{path}: cannot be written ({error}); the run continues without it");
            self.file = None;
        }
    }
}

impl Observer for TensorBoard {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        match event {
            // SessionLog with status START: readers drop all events from this step on.
            Event::Started { step, .. } => {
                self.write(at(step + 1).message(7, Message::default().int(1, 1)));
            }
            Event::Step(record) if record.log => {
                let extra = record.extra.iter().map(|(name, value)| (&**name, *value));
                let own = [
                    ("train/loss", record.loss),
                    ("train/lr", record.lr),
                    ("train/grad_norm", record.grad_norm),
                    ("train/tokens_per_second", record.tokens_per_second),
                ];
                self.write(scalars(record.step, own.into_iter().chain(extra)));
            }
            Event::Evaluated(record) => {
                let figures = record.figures.iter().map(|(name, value)| (&**name, *value));
                self.write(scalars(record.step, figures));
            }
            Event::Sampled { step, samples, .. } => self.write(texts(*step, samples)),
            _ => {}
        }
        Ok(())
    }
}

// Field numbers are those of TensorBoard's event.proto, summary.proto and tensor.proto.

/// An `Event` of this moment.
fn at(step: u64) -> Message {
    Message::default().double(1, unix_time()).int(2, step)
}

/// An `Event` with a `Summary` of one `simple_value` a figure.
fn scalars<'a>(step: u64, figures: impl Iterator<Item = (&'a str, f64)>) -> Message {
    let value =
        |(name, value): (&str, f64)| Message::default().text(1, name).float(2, value as f32);
    let summary = figures.fold(Message::default(), |all, figure| {
        all.message(1, value(figure))
    });
    at(step).message(5, summary)
}

/// An `Event` with a `Summary` of one text a sample, for the text plugin.
fn texts(step: u64, samples: &[SampleText]) -> Message {
    const STRING: u64 = 7; // DataType DT_STRING
    const TENSOR: u64 = 2; // DataClass DATA_CLASS_TENSOR
    let value = |(number, sample): (usize, &SampleText)| {
        let plugin = Message::default().text(1, "text");
        let metadata = Message::default().message(1, plugin).int(4, TENSOR);
        let tensor = Message::default()
            .int(1, STRING)
            .message(2, Message::default()) // a shape without axes
            .text(8, &markdown(sample));
        Message::default()
            .text(1, &format!("samples/{}", number + 1))
            .message(8, tensor)
            .message(9, metadata)
    };
    let samples = samples.iter().enumerate();
    let summary = samples.fold(Message::default(), |all, sample| {
        all.message(1, value(sample))
    });
    at(step).message(5, summary)
}

/// The prompt in bold and what follows it, as Markdown that shows every sign as itself.
fn markdown(sample: &SampleText) -> String {
    let escaped = |text: &str| {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\n' => out.push_str("  \n"), // two spaces: a line break
                c if c.is_ascii_punctuation() => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    };
    format!(
        "**{}** {}",
        escaped(sample.prompt.trim()),
        escaped(&sample.text)
    )
}

/// A name that sorts behind those in the folder: readers take files in the order of names, and the
/// clock may have been set back since the last one.
fn next_name(folder: &Path) -> io::Result<String> {
    let mut number = unix_time() as u64;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let known = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let known = known.and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
        number = number.max(known.map_or(0, |known| known + 1));
    }
    Ok(format!("{PREFIX}{number:010}.sinterlm"))
}

#[cfg(test)]
mod tests;
