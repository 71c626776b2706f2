//! Progress on a terminal as a bar, elsewhere as plain lines.

use std::io::{self, IsTerminal};

use indicatif::{ProgressDrawTarget, ProgressStyle};

use crate::{
    Event, Observer, ProgressLines, RunError, StepRecord,
    progress_lines::{Pace, line_of},
    readable::{duration, thousands},
};

/// A bar on stderr with step, loss, tokens per second and the time left.
///
/// Where stderr is no terminal, or `quiet` is asked for, it is [`ProgressLines`].
#[derive(Debug)]
pub struct ProgressBar(Form);

#[derive(Debug)]
enum Form {
    Bar {
        bar: indicatif::ProgressBar,
        pace: Pace,
    },
    Lines(ProgressLines),
}

impl ProgressBar {
    /// A bar if stderr is a terminal and `quiet` is false, else plain lines.
    pub fn new(quiet: bool) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self(Form::Lines(ProgressLines::new()));
        }
        Self::on(ProgressDrawTarget::stderr())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}")
            .expect("the template is a constant")
            .progress_chars("=> ");
        let bar = indicatif::ProgressBar::with_draw_target(Some(0), target).with_style(style);
        Self(Form::Bar {
            bar,
            pace: Pace::default(),
        })
    }
}

impl Observer for ProgressBar {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        let (bar, pace) = match &mut self.0 {
            Form::Lines(lines) => return lines.on_event(event),
            Form::Bar { bar, pace } => (bar, pace),
        };
        pace.note(event);
        match event {
            Event::Step(record) => {
                bar.set_position(record.step);
                bar.set_message(message(record, pace));
            }
            Event::Started {
                max_steps, step, ..
            } => {
                bar.set_length(*max_steps);
                bar.set_position(*step);
                bar.println(line_of(event, pace).unwrap_or_default());
            }
            Event::Finished { .. } => {
                bar.finish_and_clear();
                // The bar is gone, so its printing is too: the last line goes out by itself.
                return ProgressLines::new().on_event(event);
            }
            _ => {
                if let Some(line) = line_of(event, pace) {
                    bar.println(line);
                }
            }
        }
        Ok(())
    }
}

fn message(record: &StepRecord, pace: &Pace) -> String {
    let left = pace
        .time_left(record.step)
        .map(|t| format!("  {} left", duration(t)));
    let speed = thousands(record.tokens_per_second.round() as u64);
    format!(
        "loss {:.4}  {speed} tokens/s{}",
        record.loss,
        left.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_stands_at_the_step_and_tells_its_figures() {
        let mut progress = ProgressBar::on(ProgressDrawTarget::hidden());
        let started = Event::Started {
            kind: "pretrain",
            max_steps: 9,
            step: 3,
            tokens: 384,
            parameters: 1,
        };
        progress.on_event(&started).unwrap();
        let record = StepRecord {
            step: 9,
            tokens: 1152,
            loss: 2.5,
            lr: 1e-3,
            grad_norm: 0.5,
            tokens_per_second: 8160.4,
            extra: vec![],
            log: false,
        };
        progress.on_event(&Event::Step(&record)).unwrap();
        let Form::Bar { bar, .. } = &progress.0 else {
            panic!("a target was given")
        };
        assert_eq!((bar.position(), bar.length()), (9, Some(9)));
        assert_eq!(bar.message(), "loss 2.5000  8,160 tokens/s  0s left");
    }
}
