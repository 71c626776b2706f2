//! Progress as plain lines: for logs, pipes and quiet terminals.

use std::{
    fmt::{self, Write as _},
    io::{self, Stderr, Write},
    time::{Duration, Instant},
};

use crate::{
    Event, Observer, RunError, StepRecord,
    readable::{duration, thousands},
};

/// Writes one line per log interval, evaluation and checkpoint, to stderr unless told otherwise.
pub struct ProgressLines<W = Stderr> {
    out: W,
    pace: Pace,
}

impl ProgressLines {
    /// Writes to stderr.
    pub fn new() -> Self {
        Self::to(io::stderr())
    }
}

impl Default for ProgressLines {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write + Send> ProgressLines<W> {
    /// Writes to `out`.
    pub fn to(out: W) -> Self {
        Self {
            out,
            pace: Pace::default(),
        }
    }
}

impl<W: Write + Send> Observer for ProgressLines<W> {
    /// Never fails: a run continues when nobody reads its progress any more.
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        self.pace.note(event);
        if let Some(line) = line_of(event, &self.pace) {
            let _ = writeln!(self.out, "{line}");
        }
        Ok(())
    }
}

impl<W> fmt::Debug for ProgressLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressLines").finish_non_exhaustive()
    }
}

/// Where the run began and how far it is to go, for the time left.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) max_steps: u64,
    started: Option<(Instant, u64)>,
}

impl Pace {
    /// Remembers the start.
    pub(crate) fn note(&mut self, event: &Event<'_>) {
        if let Event::Started {
            max_steps, step, ..
        } = event
        {
            self.max_steps = *max_steps;
            self.started = Some((Instant::now(), *step));
        }
    }

    /// Time left at the mean pace since the start, evaluations and checkpoints included.
    pub(crate) fn time_left(&self, step: u64) -> Option<Duration> {
        let (started, first) = self.started?;
        let done = step.checked_sub(first).filter(|done| *done > 0)?;
        let left = self.max_steps.saturating_sub(step);
        Duration::try_from_secs_f64(started.elapsed().as_secs_f64() / done as f64 * left as f64)
            .ok()
    }
}

/// The line for an event, `None` for steps between log intervals and other silent events.
pub(crate) fn line_of(event: &Event<'_>, pace: &Pace) -> Option<String> {
    Some(match event {
        Event::Started {
            kind,
            max_steps,
            step,
            tokens,
            parameters,
        } => {
            let parameters = thousands(*parameters);
            let from = match step {
                0 => String::new(),
                _ => format!(
                    ", going on after step {step} and {} tokens",
                    thousands(*tokens)
                ),
            };
            format!("{kind}: {max_steps} steps, {parameters} parameters{from}")
        }
        Event::Step(record) if record.log => step_line(record, pace),
        Event::Evaluated(record) => {
            let mut line = format!("step {}", record.step);
            let mut figures = record.figures.iter();
            figures
                .try_for_each(|(name, value)| write!(line, "  {name} {value:.4}"))
                .expect("writing to a String cannot fail");
            line
        }
        Event::Checkpoint { step, path } => format!("step {step}  checkpoint {}", path.display()),
        Event::Note { text } => (*text).to_owned(),
        Event::Finished { step, reason } => format!("step {step}  finished: {reason}"),
        _ => return None,
    })
}

fn step_line(record: &StepRecord, pace: &Pace) -> String {
    let StepRecord {
        step,
        loss,
        lr,
        grad_norm,
        tokens_per_second,
        ..
    } = record;
    let left = pace
        .time_left(*step)
        .map(|t| format!("  {} left", duration(t)));
    format!(
        "step {step}/{}  loss {loss:.4}  lr {lr:.2e}  grad norm {grad_norm:.3}  {} tokens/s{}",
        pace.max_steps,
        thousands(tokens_per_second.round() as u64),
        left.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EvalRecord;

    #[test]
    fn each_event_worth_reading_is_one_line() {
        let mut out = Vec::new();
        let mut lines = ProgressLines::to(&mut out);
        let mut step = StepRecord {
            step: 4,
            tokens: 512,
            loss: 3.456_78,
            lr: 1e-3,
            grad_norm: 0.5,
            tokens_per_second: 8160.4,
            extra: vec![],
            log: false,
        };
        let figures = vec![
            ("valid/loss".into(), 3.0),
            ("valid/perplexity".into(), 20.09),
        ];
        let eval = EvalRecord {
            step: 5,
            tokens: 640,
            figures,
        };
        let started = Event::Started {
            kind: "pretrain",
            max_steps: 5,
            step: 3,
            tokens: 384,
            parameters: 1234,
        };
        lines.on_event(&started).unwrap();
        lines.on_event(&Event::Step(&step)).unwrap();
        (step.step, step.log) = (5, true);
        lines.on_event(&Event::Step(&step)).unwrap();
        lines.on_event(&Event::Evaluated(&eval)).unwrap();
        lines
            .on_event(&Event::Sampled {
                step: 5,
                tokens: 640,
                samples: &[],
            })
            .unwrap();
        lines
            .on_event(&Event::Finished {
                step: 5,
                reason: "all steps are done",
            })
            .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "pretrain: 5 steps, 1,234 parameters, going on after step 3 and 384 tokens\n\
             step 5/5  loss 3.4568  lr 1.00e-3  grad norm 0.500  8,160 tokens/s  0s left\n\
             step 5  valid/loss 3.0000  valid/perplexity 20.0900\n\
             step 5  finished: all steps are done\n"
        );
    }
}
