//! The passport of a data set: what it came from, what hygiene did to it, and how it was divided.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::labels::label_counts;
use super::strata::SplitShares;
use super::{Cleaned, LabelConflicts, SplitConfig, Splits, StepReport};
use crate::digest::sha256_hex;
use crate::records::records_hash;
use crate::{DataError, Record};

/// Version of the passport's form.
const SCHEMA: u32 = 1;

/// What a data set is, as JSON: saved with a run and named by its fingerprint in what was trained on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passport {
    /// Version of this form.
    pub schema: u32,
    /// Where the records came from.
    pub sources: Vec<PassportSource>,
    /// What each step of hygiene did.
    pub steps: Vec<StepReport>,
    /// Records that were left.
    pub records: u64,
    /// [`records_hash`] of them.
    pub hash: String,
    /// Records of each label among them.
    pub labels: BTreeMap<String, u64>,
    /// Equal texts with different labels in front of the first step.
    pub conflicts: LabelConflicts,
    /// How they were divided, once they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<PassportSplits>,
    /// What deserves a look.
    pub warnings: Vec<String>,
}

/// A source of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassportSource {
    /// Its name or path, which the fingerprint leaves out.
    pub name: String,
    /// [`records_hash`] of its records as they were read.
    pub hash: String,
    /// Number of its records.
    pub records: u64,
}

/// How records were divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassportSplits {
    /// The config in force, with its seed.
    pub config: SplitConfig,
    /// Groups of records that stayed together.
    pub clusters: u64,
    /// Records of the largest of them.
    pub largest_cluster: u64,
    /// Records of each stratum.
    pub shares: Vec<SplitShares>,
    /// [`records_hash`] of training, validation and test set.
    pub hashes: [String; 3],
}

/// A part of the passport as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassportTable {
    /// Heading.
    pub title: String,
    /// Text in front of the table; may be empty.
    pub text: String,
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl PassportSource {
    /// The source of `records` as they were read.
    pub fn of(name: impl Into<String>, records: &[Record]) -> Self {
        Self {
            name: name.into(),
            hash: records_hash(records),
            records: records.len() as u64,
        }
    }
}

impl Passport {
    /// The passport of cleaned records. `conflicts` are those of the records as they were read.
    pub fn new(sources: Vec<PassportSource>, conflicts: LabelConflicts, cleaned: &Cleaned) -> Self {
        let labels = label_counts(&cleaned.records);
        let mut warnings = Vec::new();
        if conflicts.texts > 0 {
            warnings.push(format!(
                "{} texts in {} records have conflicting labels, such as {}",
                conflicts.texts,
                conflicts.records,
                conflicts.examples.first().map_or("", String::as_str)
            ));
        }
        for report in &cleaned.steps {
            let lost = report.records_in - report.records_out;
            if 2 * lost > report.records_in {
                let (kind, all) = (report.step.kind(), report.records_in);
                warnings.push(format!("step {kind} took {lost} of {all} records"));
            }
        }
        Self {
            schema: SCHEMA,
            sources,
            steps: cleaned.steps.clone(),
            records: cleaned.records.len() as u64,
            hash: records_hash(&cleaned.records),
            labels,
            conflicts,
            splits: None,
            warnings,
        }
    }

    /// Adds how the records were divided.
    pub fn add_splits(&mut self, splits: &Splits) {
        self.warnings.extend(splits.warnings.iter().cloned());
        self.splits = Some(PassportSplits {
            config: splits.config.clone(),
            clusters: splits.clusters,
            largest_cluster: splits.largest_cluster,
            shares: splits.shares.clone(),
            hashes: [&splits.train, &splits.valid, &splits.test].map(|part| records_hash(part)),
        });
    }

    /// SHA-256, in hexadecimal, over all of it but names of sources, paths and origins: equal wherever
    /// the files lie.
    pub fn fingerprint(&self) -> String {
        let mut plain = self.clone();
        for source in &mut plain.sources {
            source.name.clear();
        }
        for report in &mut plain.steps {
            report.step = report.step.without_paths();
            for example in &mut report.examples {
                example.origin.clear();
            }
        }
        sha256_hex(plain.to_json().as_bytes())
    }

    /// The passport as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a passport has no keys but texts")
    }

    /// Writes the JSON into a file, which is whole or as it was.
    ///
    /// # Errors
    /// [`DataError::Format`] if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let json = self.to_json() + "\n";
        sinterlm_formats::write_file_atomic(path, |out| out.write_all(json.as_bytes()))?;
        Ok(())
    }

    /// The passport as tables of plain text, for a report.
    pub fn tables(&self) -> Vec<PassportTable> {
        let mut tables = vec![self.source_table(), self.step_table()];
        tables.extend(self.example_table());
        tables.extend(self.label_table());
        tables.extend(self.split_table());
        tables
    }

    fn source_table(&self) -> PassportTable {
        let (fingerprint, records) = (self.fingerprint(), self.records);
        let first = format!("Fingerprint {fingerprint}, {records} records.");
        let warnings = self
            .warnings
            .iter()
            .map(|warning| format!("Warning: {warning}."));
        let lines: Vec<String> = std::iter::once(first).chain(warnings).collect();
        let rows = self.sources.iter();
        let rows = rows.map(|s| vec![s.name.clone(), s.records.to_string(), short(&s.hash)]);
        table(
            "Data",
            lines.join("\n"),
            &["source", "records", "hash"],
            rows.collect(),
        )
    }

    fn step_table(&self) -> PassportTable {
        let rows = self.steps.iter().map(|report| {
            let reasons = report
                .reasons
                .iter()
                .map(|(reason, count)| format!("{reason}: {count}"));
            vec![
                report.step.kind().to_owned(),
                report.records_in.to_string(),
                report.records_out.to_string(),
                report.changed.to_string(),
                reasons.collect::<Vec<_>>().join(", "),
                short(&report.hash),
            ]
        });
        let columns = [
            "step",
            "records in",
            "records out",
            "changed",
            "why",
            "hash",
        ];
        let text = if self.steps.is_empty() {
            "No step was asked for."
        } else {
            ""
        };
        table("Hygiene", text.into(), &columns, rows.collect())
    }

    fn example_table(&self) -> Option<PassportTable> {
        let examples = self.steps.iter().flat_map(|report| {
            let row = |example: &super::StepExample| {
                vec![
                    report.step.kind().to_owned(),
                    example.origin.clone(),
                    example.reason.clone(),
                    example.before.clone(),
                    example.after.clone().unwrap_or_else(|| "(went)".into()),
                ]
            };
            report.examples.iter().map(row).collect::<Vec<_>>()
        });
        let rows: Vec<_> = examples.collect();
        let columns = ["step", "record", "why", "before", "after"];
        let text = "The first records that each step took or changed; personal data is masked.";
        (!rows.is_empty()).then(|| table("What went or changed", text.into(), &columns, rows))
    }

    fn label_table(&self) -> Option<PassportTable> {
        let all: u64 = self.labels.values().sum();
        let rows = self.labels.iter().map(|(label, count)| {
            let share = 100.0 * *count as f64 / all as f64;
            vec![label.clone(), count.to_string(), format!("{share:.1} %")]
        });
        let columns = ["label", "records", "share"];
        (all > 0).then(|| table("Labels", String::new(), &columns, rows.collect()))
    }

    fn split_table(&self) -> Option<PassportTable> {
        let splits = self.splits.as_ref()?;
        let text = format!(
            "{} groups of records stayed together; the largest has {} records. Seed {}.",
            splits.clusters,
            splits.largest_cluster,
            splits.config.seed.unwrap_or_default()
        );
        let cells = |s: &SplitShares| {
            let counts = [s.train, s.valid, s.test].map(|count| count.to_string());
            std::iter::once(s.stratum.clone()).chain(counts).collect()
        };
        let columns = ["stratum", "training", "validation", "test"];
        let mut rows: Vec<Vec<String>> = splits.shares.iter().map(cells).collect();
        rows.push(
            std::iter::once("hash".into())
                .chain(splits.hashes.iter().map(|h| short(h)))
                .collect(),
        );
        Some(table("Splits", text, &columns, rows))
    }
}

fn table(title: &str, text: String, columns: &[&str], rows: Vec<Vec<String>>) -> PassportTable {
    PassportTable {
        title: title.to_owned(),
        text,
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        rows,
    }
}

/// The beginning of a hash, enough to tell two apart.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
