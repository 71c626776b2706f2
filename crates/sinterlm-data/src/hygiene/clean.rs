//! Runs the steps one after another and counts what each does.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::action::{Action, Edit, Loss};
use super::context::CleanContext;
use super::excerpt::Excerpts;
use super::step::HygieneStep;
use crate::records::records_hash;
use crate::{DataError, Record};

/// Records whose edits are held at once.
const CHUNK: usize = 8192;

/// What [`clean`] leaves.
#[derive(Debug)]
pub struct Cleaned {
    /// The surviving records, in their order.
    pub records: Vec<Record>,
    /// What each step did, in the steps' order.
    pub steps: Vec<StepReport>,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step's settings.
    pub step: HygieneStep,
    /// Hash of what it read beside the records: a word list, evaluation sets, a tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
    /// Records in front of the step.
    pub records_in: u64,
    /// Records behind it.
    pub records_out: u64,
    /// Records that it changed.
    pub changed: u64,
    /// Records that went or changed by reason; one that changes for two reasons counts under both.
    pub reasons: BTreeMap<String, u64>,
    /// [`records_hash`] of the records behind the step.
    pub hash: String,
    /// The first records that went or changed.
    pub examples: Vec<StepExample>,
}

/// A record that a step dropped or changed. Texts are cut to a line, control characters are escaped,
/// and personal data is masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepExample {
    /// Where the record came from.
    pub origin: String,
    /// Why it went or changed.
    pub reason: String,
    /// The record as it was, near the first difference where it changed.
    pub before: String,
    /// The record as it became; none where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Runs `steps` over `records` in their order.
///
/// The records that stay keep their order. The result depends on records, steps and `context` alone,
/// not on the number of threads.
///
/// # Errors
/// [`DataError::HygieneEmpty`] if nothing is left, with what each step took;
/// [`DataError::HygieneStep`] for a step that lacks what it needs (a tokenizer, evaluation records) or
/// whose settings do not work; [`DataError::SourceRead`] for a word list that cannot be read.
///
/// # Example
/// ```
/// use sinterlm_data::{Body, CleanContext, HygieneStep, Origin, Record, clean};
///
/// let text = |text: &str| Body::Labelled { text: text.into(), label: "ham".into() };
/// let records = ["See you  at 8", "see you at 8", "Lunch?"].into_iter().enumerate();
/// let records = records.map(|(i, t)| {
///     Record::new(text(t), Origin::Made { name: "example", number: i as u64 })
/// });
/// let steps = [HygieneStep::ExactDuplicates(Default::default())];
/// let cleaned = clean(records.collect(), &steps, &CleanContext::default())?;
/// assert_eq!(cleaned.records.len(), 2);
/// assert_eq!(cleaned.steps[0].reasons["equal texts"], 1);
/// # Ok::<(), sinterlm_data::DataError>(())
/// ```
pub fn clean(
    records: Vec<Record>,
    steps: &[HygieneStep],
    context: &CleanContext<'_>,
) -> Result<Cleaned, DataError> {
    let own = steps.iter().filter_map(|step| match step {
        HygieneStep::PersonalData(step) => Some(step.patterns.as_slice()),
        _ => None,
    });
    let excerpts = Excerpts::new(own.flatten())?;
    // All steps are made ready first, so that a missing file costs no work.
    let ready = steps.iter().map(|step| step.ready(context));
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    let given = records.len() as u64;
    let mut records = records;
    let mut reports: Vec<StepReport> = Vec::with_capacity(steps.len());
    for (step, ready) in steps.iter().zip(ready) {
        let mut report = StepReport {
            step: step.clone(),
            inputs: ready.inputs,
            records_in: records.len() as u64,
            records_out: 0,
            changed: 0,
            reasons: BTreeMap::new(),
            hash: String::new(),
            examples: Vec::new(),
        };
        let mut tally = Tally {
            report: &mut report,
            excerpts: &excerpts,
            examples: context.examples,
        };
        match ready.action {
            Action::Edit(edit) => tally.edit(&mut records, &*edit),
            Action::Select(select) => {
                let losses = select(&records);
                records = tally.select(records, losses);
            }
        }
        report.records_out = records.len() as u64;
        report.hash = records_hash(&records);
        tracing::debug!(
            step = step.kind(),
            records_in = report.records_in,
            records_out = report.records_out,
            changed = report.changed,
            "hygiene"
        );
        reports.push(report);
        if records.is_empty() {
            break;
        }
    }
    if records.is_empty() {
        return Err(empty(given, &reports));
    }
    Ok(Cleaned {
        records,
        steps: reports,
    })
}

/// What a running step adds to its report.
struct Tally<'a> {
    report: &'a mut StepReport,
    excerpts: &'a Excerpts,
    examples: usize,
}

impl Tally<'_> {
    fn count(&mut self, reason: &str) {
        *self.report.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    fn edit(&mut self, records: &mut [Record], edit: &(dyn Fn(&Record) -> Option<Edit> + Sync)) {
        for chunk in records.chunks_mut(CHUNK) {
            let edits: Vec<Option<Edit>> = chunk.par_iter().map(edit).collect();
            for (record, edit) in chunk.iter_mut().zip(edits) {
                if let Some(edit) = edit {
                    self.apply(record, edit);
                }
            }
        }
    }

    fn apply(&mut self, record: &mut Record, edit: Edit) {
        self.report.changed += 1;
        for reason in &edit.reasons {
            self.count(reason);
        }
        if self.report.examples.len() < self.examples {
            let texts = record.texts().into_iter().zip(&edit.texts);
            let pair = texts.filter_map(|(old, new)| Some((old, new.as_deref()?)));
            let (before, after) = self.excerpts.difference(pair);
            self.report.examples.push(StepExample {
                origin: record.origin.to_string(),
                reason: edit.reasons.join(", "),
                before,
                after: Some(after),
            });
        }
        for (text, new) in record.texts_mut().into_iter().zip(edit.texts) {
            if let Some(new) = new {
                *text = new;
            }
        }
    }

    fn select(&mut self, records: Vec<Record>, losses: Vec<Option<Loss>>) -> Vec<Record> {
        let mut kept = Vec::with_capacity(losses.iter().filter(|loss| loss.is_none()).count());
        for (record, loss) in records.into_iter().zip(losses) {
            let Some(loss) = loss else {
                kept.push(record);
                continue;
            };
            self.count(&loss.reason);
            if self.report.examples.len() < self.examples {
                let reason = match &*loss.detail {
                    "" => loss.reason.into_owned(),
                    detail => format!("{}: {}", loss.reason, self.excerpts.line(&[detail])),
                };
                self.report.examples.push(StepExample {
                    origin: record.origin.to_string(),
                    reason,
                    before: self.excerpts.line(&record.texts()),
                    after: None,
                });
            }
        }
        kept
    }
}

fn empty(given: u64, reports: &[StepReport]) -> DataError {
    let losses = reports.iter().filter(|r| r.records_in > r.records_out);
    let losses = losses.map(|report| {
        let most = report.reasons.iter().max_by_key(|(_, count)| **count);
        let most = most.map_or(String::new(), |(reason, _)| format!(" (mostly: {reason})"));
        let lost = report.records_in - report.records_out;
        format!("{} took {lost}{most}", report.step.kind())
    });
    DataError::HygieneEmpty {
        given,
        steps: losses.collect::<Vec<_>>().join(", "),
    }
}
