//! Reading records from files. Where the files are belongs to `sets`, what a row means to `body`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::body::{Names, body, name_in};
use super::columns::{Columns, Field, Row};
use super::forms::detect;
use super::options::RecordOptions;
use super::rows::{Rows, is_record_file};
use super::{Origin, Record, records_hash};
use crate::source::list_files;
use crate::{BadRecords, DataError, Json, JsonRecord, RecordForm};

/// Records left out that are kept with their reason.
const KEPT_REASONS: usize = 20;

/// The records of some files.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordSet {
    /// The records in their order.
    pub records: Vec<Record>,
    /// Their form, never [`RecordForm::Auto`].
    pub form: RecordForm,
    /// The first 20 records that were left out, each with its fault.
    pub skipped: Vec<(Origin, String)>,
    /// How many were left out.
    pub skipped_count: u64,
    /// [`records_hash`] of the records.
    pub fingerprint: String,
}

impl RecordSet {
    /// Records of our own making, none of which was left out.
    pub(super) fn made(records: Vec<Record>, form: RecordForm) -> Self {
        Self {
            fingerprint: records_hash(&records),
            records,
            form,
            skipped: Vec::new(),
            skipped_count: 0,
        }
    }
}

/// Reads the records of files and folders in their order.
///
/// A folder gives those of its files whose names end as JSON, CSV, TSV or Parquet. The form that
/// [`RecordForm::Auto`] finds in the first file holds for all.
///
/// # Errors
/// - [`DataError::NoPaths`], [`DataError::SourceMissing`], [`DataError::SourceRead`],
///   [`DataError::Damaged`], [`DataError::BinaryText`]: a file cannot be read
/// - [`DataError::RecordForm`]: the first record has no form, or more than one
/// - [`DataError::Record`], [`DataError::InvalidUtf8`], [`DataError::LoneSurrogate`]: a record cannot
///   be used, and `bad_records` is [`BadRecords::Error`]
/// - [`DataError::TooManyBadRecords`]: more are left out than `max_bad_records`
/// - [`DataError::NoRecords`]: there is none, or none that can be used
/// - [`DataError::ParquetFeature`], [`DataError::Parquet`]: a Parquet file, where this build cannot
///   read any or the file is damaged
///
/// # Example
/// ```
/// use sinterlm_data::{RecordForm, RecordOptions, read_records};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("spam.tsv");
/// std::fs::write(&path, "ham\tSee you \"later\"\nspam\tWIN a prize\n")?;
/// let set = read_records(&[path], &RecordOptions::default())?;
/// assert_eq!(set.form, RecordForm::Labelled);
/// assert_eq!(set.records[1].label(), Some("spam"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_records(paths: &[PathBuf], options: &RecordOptions) -> Result<RecordSet, DataError> {
    let mut reader = Reader {
        options,
        form: options.form,
        names: Names::default(),
        records: Vec::new(),
        skipped: Vec::new(),
        skipped_count: 0,
    };
    'files: for entry in list_files(paths)? {
        let is_folder = entry.path.is_dir();
        let mut any_file = false;
        for path in entry.files {
            if is_folder && !is_record_file(&path) {
                continue;
            }
            any_file = true;
            reader.read_file(&path)?;
            if reader.is_full() {
                break 'files;
            }
        }
        if !any_file {
            return Err(DataError::NoRecords { path: entry.path });
        }
    }
    if reader.records.is_empty() {
        return Err(DataError::NoRecords {
            path: paths[0].clone(),
        });
    }
    Ok(RecordSet {
        fingerprint: records_hash(&reader.records),
        records: reader.records,
        form: reader.form,
        skipped: reader.skipped,
        skipped_count: reader.skipped_count,
    })
}

struct Reader<'a> {
    options: &'a RecordOptions,
    form: RecordForm,
    names: Names,
    records: Vec<Record>,
    skipped: Vec<(Origin, String)>,
    skipped_count: u64,
}

impl Reader<'_> {
    fn is_full(&self) -> bool {
        let limit = self.options.max_records;
        limit.is_some_and(|limit| self.records.len() as u64 >= limit)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), DataError> {
        if self.form == RecordForm::Auto {
            let columns = Columns::new(RecordForm::Auto, &self.options.fields);
            let mut rows = Rows::open(path, &columns, self.options)?;
            let Some(first) = self.first_row(&mut rows, &columns)? else {
                return Err(DataError::NoRecords {
                    path: path.to_owned(),
                });
            };
            self.form = detect(&first, &self.options.fields, path)?;
        }
        let columns = Columns::new(self.form, &self.options.fields);
        let mut rows = Rows::open(path, &columns, self.options)?;
        let (path, before) = (
            Arc::from(path),
            self.records.len() as u64 + self.skipped_count,
        );
        while !self.is_full() {
            let record = rows.next_row(&columns).and_then(|row| {
                let Some(row) = row else { return Ok(None) };
                let place = row.place;
                let record = self.record(row, &columns, &path);
                record.map(Some).map_err(|fault| rows.fault(place, fault))
            });
            match record {
                Ok(Some(record)) => self.records.push(record),
                Ok(None) => break,
                Err(error) => self.refuse(error, &mut rows, &path)?,
            }
        }
        if self.records.len() as u64 + self.skipped_count == before && !self.is_full() {
            return Err(DataError::NoRecords {
                path: path.to_path_buf(),
            });
        }
        Ok(())
    }

    /// The first row that can be read; those before it are counted when the file is read again.
    fn first_row(
        &self,
        rows: &mut Rows,
        columns: &Columns,
    ) -> Result<Option<JsonRecord>, DataError> {
        loop {
            match rows.next_row(columns) {
                Ok(first) => return Ok(first),
                Err(error) => {
                    let error = rows.fault_of(error);
                    if !self.may_skip(&error) || !rows.pass_over()? {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn record(
        &mut self,
        row: JsonRecord,
        columns: &Columns,
        path: &Arc<Path>,
    ) -> Result<Record, String> {
        let origin = Origin::File {
            path: Arc::clone(path),
            place: row.place,
        };
        let mut row = Row::new(row, columns);
        let mut record = Record::new(body(self.form, &mut row, &mut self.names)?, origin);
        record.task = if self.options.fields.task.is_some() {
            let name = name_in(&mut row, Field::Task)?;
            Some(self.names.get(&name))
        } else {
            self.options.task.clone()
        };
        if let Some((name, value)) = row.take(Field::Weight) {
            let weight = match &value {
                Json::Int(number) => *number as f32,
                Json::Float(number) => *number as f32,
                Json::Text(text) => text.trim().parse().unwrap_or(f32::NAN),
                _ => f32::NAN,
            };
            if !weight.is_finite() || weight < 0.0 {
                return Err(format!(
                    "field `{name}` is no weight, a number of 0 or more"
                ));
            }
            record.weight = weight;
        }
        Ok(record)
    }

    fn may_skip(&self, error: &DataError) -> bool {
        self.options.bad_records == BadRecords::Skip && matches!(error, DataError::Record { .. })
    }

    /// Leaves out a record, or stops because of it.
    fn refuse(
        &mut self,
        error: DataError,
        rows: &mut Rows,
        path: &Arc<Path>,
    ) -> Result<(), DataError> {
        let error = rows.fault_of(error);
        let may_skip = self.may_skip(&error);
        let DataError::Record { place, fault, .. } = &error else {
            return Err(error);
        };
        if !may_skip {
            return Err(error);
        }
        self.skipped_count += 1;
        if self.skipped_count > self.options.max_bad_records {
            return Err(DataError::TooManyBadRecords {
                limit: self.options.max_bad_records,
                last: Box::new(error),
            });
        }
        if self.skipped.len() < KEPT_REASONS {
            let (path, place) = (Arc::clone(path), *place);
            self.skipped
                .push((Origin::File { path, place }, fault.clone()));
        }
        if !rows.pass_over()? {
            return Err(error);
        }
        Ok(())
    }
}
