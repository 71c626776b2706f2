//! From the sources of a config to clean records in splits that do not leak, with their passport. Reading
//! belongs to `records`, the steps and the split to `hygiene`, tokens to `rows`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::digest::sha256_hex;
use crate::hygiene::without_leaks;
use crate::{
    CleanContext, DataError, Hub, HygieneStep, LoadedSet, Origin, Passport, PassportSource, Record,
    RecordSet, RecordsConfig, RecordsSource, SplitConfig, Tokenizer, clean, label_conflicts,
    load_records, split_records,
};

/// What [`prepare_records`] works from.
#[derive(Clone, Copy, Debug)]
pub struct RecordPlan<'a> {
    /// Where records come from.
    pub data: &'a RecordsConfig,
    /// The steps of hygiene, in their order.
    pub hygiene: &'a [HygieneStep],
    /// How records are divided whose source does not divide them.
    pub split: &'a SplitConfig,
    /// The seed of the run.
    pub seed: u64,
    /// Counts tokens, where a step limits them.
    pub tokenizer: Option<&'a Tokenizer>,
}

/// Clean records, divided.
#[derive(Debug)]
pub struct PreparedRecords {
    /// Training records, of a mixture set by set; those of a set may all be gone.
    pub train: Vec<TrainSet>,
    /// Validation records.
    pub valid: Vec<Record>,
    /// Test records.
    pub test: Vec<Record>,
    /// Test records of kinds that no training record is of.
    pub held_out: Vec<Record>,
    /// What became of the records.
    pub passport: Passport,
    /// Hash of all records as they were read.
    pub fingerprint: String,
}

/// The training records of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSet {
    /// Its name in a mixture; none for a single source.
    pub name: Option<Arc<str>>,
    /// How often each record is drawn, relative to the other sets'.
    pub weight: f64,
    /// The records.
    pub records: Vec<Record>,
}

/// Reads records, cleans them and divides them; `progress` is that of [`load_records`].
///
/// Sources may bring validation and test records of their own. Those are held against the training
/// records by the rules of `split`, and what would leak is taken out of training; steps that edit (such
/// as `normalise`) edit them, too, but none is dropped. What no source brings is split from the training
/// records. Sets of a mixture are cleaned and divided together, so that none leaks into another.
///
/// # Errors
/// Those of [`load_records`], [`clean`] and [`split_records`]; [`DataError::RecordsChanged`] where `data`
/// names the hash of other records.
pub fn prepare_records(
    plan: &RecordPlan<'_>,
    hub: &Hub,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<PreparedRecords, DataError> {
    let sets = load_records(plan.data, hub, progress)?;
    let (sources, notes) = sources(plan.data, &sets);
    let hashes: Vec<&str> = sources.iter().map(|source| source.hash.as_str()).collect();
    let fingerprint = sha256_hex(hashes.join("\n").as_bytes());
    if let Some(before) = &plan.data.fingerprint
        && *before != fingerprint
    {
        let sources = sources.iter();
        return Err(DataError::RecordsChanged {
            sources: sources
                .map(|s| format!("{} ({} records)", s.name, s.records))
                .collect(),
        });
    }
    let is_made = plan.data.sources().all(RecordsSource::is_made);

    let mut names = Vec::new();
    let mut set_of: HashMap<Place, usize> = HashMap::new();
    let [mut train, mut valid, mut test, mut held_out] = [const { Vec::new() }; 4];
    for (number, set) in sets.into_iter().enumerate() {
        names.push((set.name, set.weight));
        for record in &set.train.records {
            let first = *set_of.entry(Place::of(record)).or_insert(number);
            if first != number {
                let place = record.origin.to_string();
                return Err(DataError::SetsShare {
                    first,
                    second: number,
                    place,
                });
            }
        }
        train.extend(set.train.records);
        let further = [
            (&mut valid, set.valid),
            (&mut test, set.test),
            (&mut held_out, set.held_out),
        ];
        for (all, own) in further {
            all.extend(own.into_iter().flat_map(|own| own.records));
        }
    }

    let conflicts = label_conflicts(&train);
    let context = CleanContext {
        seed: plan.seed,
        tokenizer: plan.tokenizer,
        ..CleanContext::default()
    };
    let mut emptied = 0;
    for own in [&mut valid, &mut test, &mut held_out] {
        edit(own, plan.hygiene, &context)?;
        let count = own.len();
        own.retain(|record| {
            record
                .texts()
                .last()
                .is_some_and(|text| !text.trim().is_empty())
        });
        emptied += count - own.len();
    }
    // What decides about a model must not be what measures it.
    let mut seen = 0;
    if !is_made && !valid.is_empty() && !test.is_empty() {
        (valid, seen) = without_leaks(valid, &test, plan.split);
        if valid.is_empty() {
            return Err(DataError::ValidIsTest);
        }
    }
    let evaluation: Vec<Record> = [valid.as_slice(), &test, &held_out].concat();
    let context = CleanContext {
        evaluation: &evaluation,
        ..context
    };
    let mut cleaned = clean(train, plan.hygiene, &context)?;
    let mut leaked = 0;
    if !is_made && !evaluation.is_empty() {
        (cleaned.records, leaked) = without_leaks(cleaned.records, &evaluation, plan.split);
    }
    let mut passport = Passport::new(sources, conflicts, &cleaned);
    passport.warnings.extend(notes);
    if emptied > 0 {
        passport.warnings.push(format!(
            "{emptied} validation or test records have no text left and were left out"
        ));
    }
    if seen > 0 {
        passport.warnings.push(format!("{seen} validation records are nearly the same as test records, or ask the same, and were left out"));
    }
    if leaked > 0 {
        passport.warnings.push(format!(
            "{leaked} training records are nearly the same as given validation or test records, or ask the same, and were left out"
        ));
    }

    if cleaned.records.is_empty() {
        return Err(DataError::NothingToTrain { leaked });
    }
    let split = SplitConfig {
        valid_fraction: if valid.is_empty() {
            plan.split.valid_fraction
        } else {
            0.0
        },
        test_fraction: if test.is_empty() {
            plan.split.test_fraction
        } else {
            0.0
        },
        ..plan.split.clone()
    };
    let mut train = cleaned.records;
    if split.valid_fraction + split.test_fraction > 0.0 {
        let splits = split_records(train, &split, plan.seed)?;
        passport.add_splits(&splits);
        train = splits.train;
        if valid.is_empty() {
            valid = splits.valid;
        }
        if test.is_empty() {
            test = splits.test;
        }
    }
    if train.is_empty() {
        return Err(DataError::NothingToTrain { leaked });
    }
    let mut sets: Vec<TrainSet> = names
        .into_iter()
        .map(|(name, weight)| TrainSet {
            name,
            weight,
            records: Vec::new(),
        })
        .collect();
    for record in train {
        let set = set_of[&Place::of(&record)];
        sets[set].records.push(record);
    }
    Ok(PreparedRecords {
        train: sets,
        valid,
        test,
        held_out,
        passport,
        fingerprint,
    })
}

impl RecordsSource {
    /// Whether its records are made and not read.
    fn is_made(&self) -> bool {
        matches!(self, Self::Instructions(_) | Self::Messages(_))
    }

    /// The source in words.
    fn describe(&self) -> String {
        match self {
            Self::Files { train, .. } => match train.as_slice() {
                [only] => only.display().to_string(),
                [first, ..] => format!("{} and {} more", first.display(), train.len() - 1),
                [] => "no file".to_owned(),
            },
            Self::Hub { repo, revision, .. } => format!("{repo} at {revision}"),
            Self::Instructions(_) => "built-in instructions".to_owned(),
            Self::Messages(_) => "built-in messages (no benchmark)".to_owned(),
        }
    }
}

/// Where a record is from: what tells the sets of a mixture apart.
#[derive(PartialEq, Eq, Hash)]
enum Place {
    File(Arc<Path>),
    Made(&'static str),
}

impl Place {
    fn of(record: &Record) -> Self {
        match &record.origin {
            Origin::File { path, .. } => Self::File(Arc::clone(path)),
            Origin::Made { name, .. } => Self::Made(name),
        }
    }
}

/// Each split of each set with its hash, and what was left out in reading.
fn sources(data: &RecordsConfig, sets: &[LoadedSet]) -> (Vec<PassportSource>, Vec<String>) {
    let (mut sources, mut notes) = (Vec::new(), Vec::new());
    for (set, source) in sets.iter().zip(data.sources()) {
        let what = source.describe();
        let splits: [(&str, Option<&RecordSet>); 4] = [
            ("train", Some(&set.train)),
            ("valid", set.valid.as_ref()),
            ("test", set.test.as_ref()),
            ("held out", set.held_out.as_ref()),
        ];
        for (split, records) in splits {
            let Some(records) = records else { continue };
            sources.push(PassportSource {
                name: format!("{what}: {split}"),
                hash: records.fingerprint.clone(),
                records: records.records.len() as u64,
            });
            if let Some((origin, fault)) = records.skipped.first() {
                let count = records.skipped_count;
                notes.push(format!(
                    "{count} records of {what} ({split}) could not be used, such as {origin}: {fault}"
                ));
            }
        }
    }
    (sources, notes)
}

/// Applies the steps that edit.
fn edit(
    records: &mut Vec<Record>,
    steps: &[HygieneStep],
    context: &CleanContext<'_>,
) -> Result<(), DataError> {
    let edits: Vec<HygieneStep> = steps
        .iter()
        .filter(|step| step.is_edit())
        .cloned()
        .collect();
    if !records.is_empty() && !edits.is_empty() {
        *records = clean(std::mem::take(records), &edits, context)?.records;
    }
    Ok(())
}
