//! Rows of a file of any format, each as an object. What they mean belongs to `body`.

use std::path::Path;

use super::columns::Columns;
use super::options::RecordOptions;
use super::row_fault::fault;
use super::table::{Cells, TableRows};
use crate::source::OpenText;
use crate::{DataError, JsonRecord, JsonRecords, RecordPlace};

const PARQUET_MAGIC: &[u8] = b"PAR1";

/// The rows of an open file.
#[derive(Debug)]
pub(super) enum Rows {
    Json(JsonRecords),
    Table(TableRows),
    #[cfg(feature = "parquet")]
    Parquet(super::parquet::ParquetRows),
}

impl Rows {
    /// Opens a file; those of the `columns` are read.
    pub(super) fn open(
        path: &Path,
        columns: &Columns,
        options: &RecordOptions,
    ) -> Result<Self, DataError> {
        if is_parquet(path)? {
            return open_parquet(path, columns);
        }
        let mut text = OpenText::open(path.to_owned())?;
        let cells = match ending(path) {
            Some("json" | "jsonl" | "ndjson") => None,
            Some("csv") => Some(Cells::Commas),
            Some("tsv" | "tab") => Some(Cells::Tabs),
            _ => sniffed(text.buffer()?),
        };
        Ok(match cells {
            Some(cells) => Self::Table(TableRows::new(text, cells, columns, options)?),
            None => Self::Json(JsonRecords::new(
                text,
                &columns.wanted(),
                options.invalid_utf8,
            )),
        })
    }

    /// The next row, none at the file's end.
    pub(super) fn next_row(&mut self, columns: &Columns) -> Result<Option<JsonRecord>, DataError> {
        match self {
            Self::Json(records) => records.next_record(),
            Self::Table(rows) => rows.next_row(columns),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => rows.next_row(),
        }
    }

    /// Steps past a row that was refused; false where the next one cannot be found.
    pub(super) fn pass_over(&mut self) -> Result<bool, DataError> {
        match self {
            Self::Json(records) => records.pass_over(),
            Self::Table(_) => Ok(true),
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => Ok(true),
        }
    }

    /// The fault of the last row's content.
    pub(super) fn fault(&self, place: RecordPlace, what: String) -> DataError {
        match self {
            Self::Json(records) => fault(records.path(), place, what, records.piece()),
            Self::Table(rows) => fault(rows.path(), place, what, rows.piece()),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => fault(rows.path(), place, what, &[]),
        }
    }
}

impl Rows {
    /// An error of reading as the fault of its row, where it is one.
    pub(super) fn fault_of(&self, error: DataError) -> DataError {
        const REPLACE: &str = "data.invalid_utf8 = \"replace\" reads it as U+FFFD";
        let at = |place: RecordPlace, column: u64| {
            if place.line == self.place().line {
                format!("column {column}")
            } else {
                format!("line {}, column {column}", place.line)
            }
        };
        let what = match error {
            DataError::JsonSyntax {
                place,
                column,
                fault,
                ..
            } => format!("{} is not valid JSON: {fault}", at(place, column)),
            DataError::JsonNotObject { found, .. } => {
                format!("{found}, not an object with fields")
            }
            DataError::LoneSurrogate {
                place,
                column,
                escape,
                ..
            } => {
                let at = at(place, column);
                format!("{at}: `{escape}` is half of a character, {REPLACE}")
            }
            DataError::InvalidUtf8 { offset, byte, .. } => {
                format!("byte {offset} of the file (0x{byte:02x}) is not UTF-8, {REPLACE}")
            }
            DataError::BinaryText { offset, .. } => {
                format!("byte {offset} of the file is zero, which no text has")
            }
            other => return other,
        };
        self.fault(self.place(), what)
    }

    /// Where the last row begins.
    pub(super) fn place(&self) -> RecordPlace {
        match self {
            Self::Json(records) => records.last_place(),
            Self::Table(rows) => rows.last_place(),
            #[cfg(feature = "parquet")]
            Self::Parquet(rows) => rows.last_place(),
        }
    }
}

/// Whether a file's name ends as one that holds records, compressed or not.
pub(super) fn is_record_file(path: &Path) -> bool {
    matches!(
        ending(path),
        Some("json" | "jsonl" | "ndjson" | "csv" | "tsv" | "tab" | "parquet")
    )
}

/// How a file's name ends, without the ending of a compression.
pub(super) fn ending(path: &Path) -> Option<&'static str> {
    const KNOWN: [&str; 8] = [
        "json", "jsonl", "ndjson", "csv", "tsv", "tab", "parquet", "txt",
    ];
    let name = path.file_name()?.to_str()?.to_lowercase();
    let name = name
        .strip_suffix(".gz")
        .or(name.strip_suffix(".zst"))
        .unwrap_or(&name);
    let (_, end) = name.rsplit_once('.')?;
    KNOWN.into_iter().find(|known| *known == end)
}

/// How the cells of a file of another name are told apart; none for JSON.
fn sniffed(start: &[u8]) -> Option<Cells> {
    let text = start
        .strip_prefix(crate::source::BYTE_ORDER_MARK)
        .unwrap_or(start);
    let line = text
        .split(|&byte| byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())?;
    if matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
        None
    } else if line.contains(&b'\t') {
        Some(Cells::Tabs)
    } else {
        line.contains(&b',').then_some(Cells::Commas)
    }
}

fn is_parquet(path: &Path) -> Result<bool, DataError> {
    use std::io::Read;
    let unreadable = |source| DataError::SourceRead {
        path: path.to_owned(),
        source,
    };
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(PARQUET_MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    Ok(start == PARQUET_MAGIC)
}

#[cfg(feature = "parquet")]
fn open_parquet(path: &Path, columns: &Columns) -> Result<Rows, DataError> {
    super::parquet::ParquetRows::open(path, columns).map(Rows::Parquet)
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(path: &Path, _: &Columns) -> Result<Rows, DataError> {
    Err(DataError::ParquetFeature {
        path: path.to_owned(),
    })
}
