//! The rows of a data set, made once from its records and kept in memory.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::config::{RowsConfig, Unusable};
use super::prompt::Prompter;
use super::rendered::RenderedRow;
use super::truncation::Truncation;
use super::weights::WeightRun;
use crate::{Body, DataError, Record};

/// Records that counts show as examples of those left out.
const EXAMPLES: usize = 5;

/// Tokens to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The tokens.
    pub ids: Box<[u32]>,
    /// The weights of the tokens as targets, run by run up to the last token.
    pub runs: Box<[WeightRun]>,
    /// The record's task.
    pub task: Option<Arc<str>>,
    /// Number of the record.
    pub record: usize,
}

/// The rows of a data set, in the order of its records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet {
    rows: Vec<Row>,
    counts: RowCounts,
}

/// What became of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RowCounts {
    /// Records that were read.
    pub records: usize,
    /// Rows that were made of them.
    pub rows: usize,
    /// Tokens of the rows.
    pub tokens: u64,
    /// Tokens with a weight above 0 that something stands before.
    pub trained_tokens: u64,
    /// Rows that were cut to `max_seq_len`.
    pub truncated: usize,
    /// Rows left out as they were longer.
    pub too_long: usize,
    /// Records left out as no token of them is trained.
    pub untrained: usize,
    /// Records left out as the template refuses them.
    pub refused: usize,
    /// The first records left out, with their origin and the reason.
    pub examples: Vec<String>,
}

/// The rows of one record, and what was left out.
#[derive(Default)]
struct Made {
    rows: Vec<Row>,
    truncated: usize,
    too_long: usize,
    refused: bool,
    untrained: bool,
    reason: Option<String>,
}

impl Row {
    /// The weight of each token as a target. The first token of a row has nothing before it, and
    /// is never one.
    pub fn weights(&self) -> impl Iterator<Item = f32> + '_ {
        let mut begin = 0;
        self.runs.iter().flat_map(move |run| {
            let count = run.end - begin;
            begin = run.end;
            std::iter::repeat_n(run.weight, count as usize)
        })
    }

    /// Number of tokens that are trained.
    pub fn trained_tokens(&self) -> usize {
        self.weights()
            .skip(1)
            .filter(|weight| *weight > 0.0)
            .count()
    }
}

impl RowSet {
    /// Writes, tokenises, weighs and cuts all records, on all threads. The result depends on the
    /// records and the config alone.
    ///
    /// Tokens behind the last trained one are left out, as nothing learns from them; texts with a
    /// class are kept as they are.
    ///
    /// # Errors
    /// [`DataError::InRecord`] with the first record that a template refuses, that no token is
    /// trained of or that is too long, where the config wants an error for it;
    /// [`DataError::NoMarkedAnswer`] in one always; [`DataError::NoRows`] where no row is left.
    pub fn build(
        records: &[Record],
        prompter: &Prompter,
        config: &RowsConfig,
    ) -> Result<Self, DataError> {
        let with_parts = config
            .labels
            .needs_parts()
            .then(|| prompter.clone().with_parts());
        let prompter = with_parts.as_ref().unwrap_or(prompter);
        let made: Vec<Result<Made, DataError>> = records
            .par_iter()
            .enumerate()
            .with_min_len(64)
            .map(|(number, record)| rows_of(number, record, prompter, config))
            .collect();
        let mut set = Self::default();
        set.counts.records = records.len();
        for (made, record) in made.into_iter().zip(records) {
            let made = made.map_err(|source| DataError::InRecord {
                origin: record.origin.to_string(),
                source: Box::new(source),
            })?;
            set.add(made, record);
        }
        if set.rows.is_empty() {
            return Err(DataError::NoRows {
                records: records.len(),
                example: set.counts.examples.first().cloned().unwrap_or_default(),
            });
        }
        Ok(set)
    }

    fn add(&mut self, made: Made, record: &Record) {
        let counts = &mut self.counts;
        counts.truncated += made.truncated;
        counts.too_long += made.too_long;
        counts.refused += usize::from(made.refused);
        counts.untrained += usize::from(made.untrained);
        if let Some(reason) = made.reason
            && counts.examples.len() < EXAMPLES
        {
            counts.examples.push(format!("{}: {reason}", record.origin));
        }
        for row in made.rows {
            counts.rows += 1;
            counts.tokens += row.ids.len() as u64;
            counts.trained_tokens += row.trained_tokens() as u64;
            self.rows.push(row);
        }
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What became of the records.
    pub fn counts(&self) -> &RowCounts {
        &self.counts
    }
}

fn rows_of(
    number: usize,
    record: &Record,
    prompter: &Prompter,
    config: &RowsConfig,
) -> Result<Made, DataError> {
    let mut made = Made::default();
    let rendered = match prompter.render(record) {
        Ok(rendered) => rendered,
        // A template without answers is a fault of the template, whatever the policy.
        Err(error @ DataError::NoMarkedAnswer { .. }) => return Err(error),
        Err(error) if config.unusable == Unusable::Error => return Err(error),
        Err(error) => {
            made.refused = true;
            made.reason = Some(error.to_string());
            return Ok(made);
        }
    };
    let is_labelled = matches!(record.body, Body::Labelled { .. });
    let last = rendered.iter().map(RenderedRow::answers).max();
    let last = last.and_then(|count| count.checked_sub(1));
    for row in &rendered {
        let runs = config.labels.weights(row, record, last);
        let runs = if is_labelled { runs } else { trimmed(runs) };
        let len = runs.last().map_or(0, |run| run.end as usize);
        let ids = &row.ids[..len];
        let max = config.max_seq_len;
        let row = |ids: Vec<u32>, runs: Vec<WeightRun>| Row {
            ids: ids.into(),
            runs: runs.into(),
            task: record.task.clone(),
            record: number,
        };
        if len <= max {
            made.rows.push(row(ids.to_vec(), runs));
            continue;
        }
        let prompt = first_trained(&runs).unwrap_or(len);
        match config.truncation.kept(len, prompt, max) {
            Some(kept) => {
                made.truncated += 1;
                let parts = kept.iter().flat_map(|part| &ids[part.clone()]);
                made.rows
                    .push(row(parts.copied().collect(), cut(&runs, &kept)));
            }
            None if config.truncation == Truncation::Error => {
                return Err(DataError::RowTooLong { tokens: len, max });
            }
            None => {
                made.too_long += 1;
                made.reason = Some(format!("{len} tokens, the most are {max}"));
            }
        }
    }
    if !is_labelled {
        let before = made.rows.len();
        made.rows.retain(|row| row.trained_tokens() > 0);
        if made.rows.is_empty() && made.too_long == 0 {
            if config.unusable == Unusable::Error {
                return Err(DataError::NothingTrained {
                    cut: before > 0 && made.truncated > 0,
                });
            }
            made.untrained = true;
            made.reason = Some("no token of it is trained".to_owned());
        }
    }
    Ok(made)
}

/// Runs without what is behind the last trained token.
fn trimmed(mut runs: Vec<WeightRun>) -> Vec<WeightRun> {
    while runs.last().is_some_and(|run| run.weight == 0.0) {
        runs.pop();
    }
    runs
}

/// The place of the first token with a weight, which is not the first of the row.
fn first_trained(runs: &[WeightRun]) -> Option<usize> {
    let at = runs.iter().position(|run| run.weight > 0.0)?;
    Some(
        at.checked_sub(1)
            .map_or(0, |before| runs[before].end as usize),
    )
}

/// The runs of the parts that are kept.
fn cut(runs: &[WeightRun], kept: &[Range<usize>]) -> Vec<WeightRun> {
    let mut out: Vec<WeightRun> = Vec::with_capacity(runs.len() + 1);
    let mut done = 0;
    for part in kept {
        let mut begin = 0;
        for run in runs {
            let end = run.end as usize;
            let overlap = part.start.max(begin)..part.end.min(end);
            begin = end;
            if overlap.is_empty() {
                continue;
            }
            done += overlap.len() as u32;
            match out.last_mut() {
                Some(last) if last.weight.to_bits() == run.weight.to_bits() => last.end = done,
                _ => out.push(WeightRun {
                    end: done,
                    weight: run.weight,
                }),
            }
        }
    }
    out
}
