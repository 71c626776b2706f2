//! The place of a JSON record, as errors name it.

use std::fmt;

/// Where a record stands in its file; shown as `line 4` or `record 3 (line 17)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Number of the record in the file's array, from 1; none where records stand in lines.
    pub record: Option<u64>,
    /// Line of the file, from 1; 0 where the file has no lines, as Parquet.
    pub line: u64,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.record, self.line) {
            (Some(record), 0) => write!(f, "record {record}"),
            (Some(record), line) => write!(f, "record {record} (line {line})"),
            (None, line) => write!(f, "line {line}"),
        }
    }
}
