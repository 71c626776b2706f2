//! How files of records are read.

use std::sync::Arc;

use crate::{
    BadRecords, FieldNames, InvalidUtf8, LabelColumn, RecordForm, RecordsConfig, SetConfig,
    TableHeader,
};

/// How files of records are read; each field as in [`RecordsConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// Which fields the records have.
    pub form: RecordForm,
    /// The files' names of fields.
    pub fields: FieldNames,
    /// Whether the first line of a table names its columns.
    pub header: TableHeader,
    /// Where the label stands in a table without a header.
    pub label_column: LabelColumn,
    /// What to do with bytes that are not UTF-8.
    pub invalid_utf8: InvalidUtf8,
    /// What to do with a record that cannot be used.
    pub bad_records: BadRecords,
    /// The most records that may be left out.
    pub max_bad_records: u64,
    /// The most records that are taken.
    pub max_records: Option<u64>,
    /// The task of records that name none themselves.
    pub task: Option<Arc<str>>,
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self::of(&RecordsConfig::default())
    }
}

impl RecordOptions {
    /// The options of a config's only source.
    pub fn of(config: &RecordsConfig) -> Self {
        Self {
            form: config.form,
            fields: config.fields.clone(),
            header: config.header,
            label_column: config.label_column,
            invalid_utf8: config.invalid_utf8,
            bad_records: config.bad_records,
            max_bad_records: config.max_bad_records,
            max_records: config.max_records,
            task: None,
        }
    }

    /// The options of one set of a config's mixture.
    pub fn of_set(config: &RecordsConfig, set: &SetConfig) -> Self {
        Self {
            form: set.form,
            fields: set.fields.clone(),
            max_records: set.max_records.or(config.max_records),
            task: Some(set.name.as_str().into()),
            ..Self::of(config)
        }
    }
}
