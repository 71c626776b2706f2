//! The part of a run config that says where records come from and how they are read. Reading them
//! belongs to `sets` and `read`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use crate::{InstructionTasks, InvalidUtf8, SpamMessages};

/// Where records come from and how they are read: one source, or a mixture of several sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsConfig {
    /// The source of the records. Left out where `sets` lists several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<RecordsSource>,
    /// Which fields the records have; `auto` finds out from the first one.
    pub form: RecordForm,
    /// Names that the file gives to fields, where they differ from the usual ones.
    pub fields: FieldNames,
    /// Whether the first line of a CSV or TSV file names its columns.
    pub header: TableHeader,
    /// Where the label stands in a CSV or TSV file without a header.
    pub label_column: LabelColumn,
    /// What to do with bytes that are not UTF-8, and with lone surrogates (`\ud83d`) in JSON.
    pub invalid_utf8: InvalidUtf8,
    /// What to do with a record that cannot be used: malformed, a field missing, an empty answer.
    pub bad_records: BadRecords,
    /// The most records that `bad_records = "skip"` leaves out of one split of a set.
    pub max_bad_records: u64,
    /// The most records that are taken from the beginning of each split; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_records: Option<u64>,
    /// The sets of a mixture, each with a source of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<SetConfig>,
    /// The most that may be downloaded of one file, in bytes.
    #[schemars(range(min = 1))]
    pub max_download_bytes: u64,
    /// Hash of the records as a run read them. Filled in by the run; others are refused then. Remove it
    /// to use changed data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// One set of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// Name of the task that the set's records belong to; figures are given for each task.
    pub name: String,
    /// The source of its records.
    pub source: RecordsSource,
    /// Which fields its records have; `auto` finds out from the first one.
    #[serde(default)]
    pub form: RecordForm,
    /// Names that its files give to fields, where they differ from the usual ones.
    #[serde(default)]
    pub fields: FieldNames,
    /// How often each of its records is drawn, relative to the other sets' records.
    #[serde(default = "one")]
    pub weight: f64,
    /// The most records that are taken from the beginning of each of its splits; those of the section
    /// above where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_records: Option<u64>,
}

/// The source of a set's records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RecordsSource {
    /// Local files or folders: JSON (one array, or an object a line), CSV, TSV, Parquet (feature
    /// `parquet`); all but Parquet also compressed with gzip or zstd.
    Files {
        /// Training records.
        train: Vec<PathBuf>,
        /// Validation records. Where empty, a split is made from the training records.
        #[serde(default)]
        valid: Vec<PathBuf>,
        /// Test records.
        #[serde(default)]
        test: Vec<PathBuf>,
    },
    /// Files of a data set on the Hub.
    Hub {
        /// The data set, `owner/name`.
        repo: String,
        /// Its training files. Where no file of any split is named, all data files of the
        /// repository are read, each for the split that its path names.
        #[serde(default)]
        train: Vec<String>,
        /// Its validation files.
        #[serde(default)]
        valid: Vec<String>,
        /// Its test files.
        #[serde(default)]
        test: Vec<String>,
        /// Branch, tag or commit.
        #[serde(default = "main_revision")]
        revision: String,
    },
    /// Built-in instructions with closed-form answers, see [`InstructionTasks`]; with splits of their own.
    Instructions(InstructionTasks),
    /// Built-in messages, `ham` and `spam`, see [`SpamMessages`]; no benchmark. With splits of their own.
    Messages(SpamMessages),
}

/// Which fields records have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordForm {
    /// The form that the first record has.
    #[default]
    Auto,
    /// `instruction`, `input` and `output`, also with `history` and `system`.
    Alpaca,
    /// `prompt` and `completion`.
    Completion,
    /// `messages`, a list of `role` and `content` (OpenAI).
    Messages,
    /// `conversations`, a list of `from` and `value`.
    ShareGpt,
    /// `text` and `label`.
    Labelled,
    /// A better and a worse answer: `chosen` and `rejected`, or PKU-SafeRLHF's `response_0` and
    /// `response_1`.
    Preference,
}

/// The file's names of fields. Where one is absent, the usual names are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FieldNames {
    /// What is asked; usually `instruction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// What the instruction is about; usually `input` or `context`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The answer to an instruction; usually `output` or `response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The beginning of a text, or what two answers are for; usually `prompt` or `question`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// How the text goes on; usually `completion`, `response` or `answer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// A conversation; usually `messages` or `conversations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// The system's message; usually `system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// A text that has a class; usually `text`, `sms`, `message`, `sentence`, `content` or `v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its class; usually `label`, `category`, `class`, `target` or `v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The better answer; usually `chosen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// The worse answer; usually `rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Which of `response_0` and `response_1` is the better one; usually `better_response_id`, else
    /// `safer_response_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred: Option<String>,
    /// The record's task, by which figures are given; no field unless one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The record's weight in the loss; no field unless one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
}

/// Whether the first line of a table names its columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableHeader {
    /// It does where one of its cells is a known name of a field.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It is a record. Columns are then called by their number, from `1`, and where `fields` names
    /// none of these, there are a label and a text.
    No,
}

/// Where the label stands in a table without a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelColumn {
    /// Before the text, as in the SMS Spam Collection.
    #[default]
    First,
    /// Behind the text.
    Last,
}

/// What to do with a record that cannot be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadRecords {
    /// Stop and name its place and fault.
    #[default]
    Error,
    /// Leave it out, count it, and stop where there are more than `max_bad_records`.
    Skip,
}

impl Default for RecordsConfig {
    fn default() -> Self {
        Self {
            source: None,
            form: RecordForm::Auto,
            fields: FieldNames::default(),
            header: TableHeader::Auto,
            label_column: LabelColumn::First,
            invalid_utf8: InvalidUtf8::Error,
            bad_records: BadRecords::Error,
            max_bad_records: 100,
            max_records: None,
            sets: Vec::new(),
            max_download_bytes: 256 << 20,
            fingerprint: None,
        }
    }
}

impl Validate for RecordsConfig {
    fn validate(&self, check: &mut Check) {
        check.require(self.max_records != Some(0), "max_records", || {
            "is 0; leave it out to read all records".into()
        });
        check.require(
            self.source.is_none() || self.sets.is_empty(),
            "sets",
            || {
                "there is `source`, too; move it into `sets` with a name, or remove one of both"
                    .into()
            },
        );
        if let Some(source) = &self.source {
            check.section("source", source);
        }
        for (number, set) in self.sets.iter().enumerate() {
            check.section(&format!("sets.{number}"), set);
            let is_new = self.sets[..number].iter().all(|own| own.name != set.name);
            check.require(is_new, &format!("sets.{number}.name"), || {
                format!(
                    "`{}` is the name of an earlier set, too; give another",
                    set.name
                )
            });
        }
    }
}

impl Validate for SetConfig {
    fn validate(&self, check: &mut Check) {
        check.require(!self.name.trim().is_empty(), "name", || {
            "is empty; name the set's task".into()
        });
        check.require(
            self.weight > 0.0 && self.weight.is_finite(),
            "weight",
            || format!("{} is not above 0; use 1, or remove the set", self.weight),
        );
        check.require(self.max_records != Some(0), "max_records", || {
            "is 0; leave it out to read all records".into()
        });
        check.section("source", &self.source);
    }
}

impl Validate for RecordsSource {
    fn validate(&self, check: &mut Check) {
        match self {
            Self::Files { train, .. } => check.require(!train.is_empty(), "train", || {
                "is empty; list at least one file or folder".into()
            }),
            Self::Hub {
                repo,
                train,
                valid,
                test,
                ..
            } => {
                check.require(repo.contains('/'), "repo", || {
                    format!("`{repo}` is no data set of the Hub; write it as owner/name")
                });
                let is_whole = valid.is_empty() && test.is_empty();
                check.require(!train.is_empty() || is_whole, "train", || {
                    "is empty, but other splits have files; name the training files, too".into()
                });
            }
            Self::Instructions(tasks) => tasks.validate(check),
            Self::Messages(messages) => messages.validate(check),
        }
    }
}

fn main_revision() -> String {
    "main".into()
}

fn one() -> f64 {
    1.0
}
