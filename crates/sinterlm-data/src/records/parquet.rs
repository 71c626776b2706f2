//! Rows of Parquet files, with the names that the Hub's data sets give to the numbers of classes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::columns::Columns;
use crate::{DataError, Json, JsonMap, JsonRecord, RecordPlace};

/// The rows of an open file.
pub(super) struct ParquetRows {
    path: PathBuf,
    rows: RowIter<'static>,
    /// Columns that are not read.
    others: Vec<String>,
    /// Names of the classes of columns that hold their numbers.
    classes: BTreeMap<String, Vec<String>>,
    /// Number of the last row, from 1.
    row: u64,
}

impl fmt::Debug for ParquetRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetRows")
            .field("path", &self.path)
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

impl ParquetRows {
    /// Opens a file; of its columns only those that are wanted are read.
    pub(super) fn open(path: &Path, columns: &Columns) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::SourceRead {
            path: path.to_owned(),
            source,
        })?;
        let damaged = |error| damaged(path, &error);
        let reader = SerializedFileReader::new(file).map_err(damaged)?;
        let metadata = reader.metadata().file_metadata();
        let root = metadata.schema_descr().root_schema();
        let all = root.get_fields().iter();
        let (read, others): (Vec<_>, Vec<_>) = all
            .cloned()
            .partition(|field| columns.is_wanted(field.name()));
        let projected = Type::group_type_builder(root.name())
            .with_fields(read)
            .build();
        let entries = metadata.key_value_metadata().into_iter().flatten();
        let described = entries.filter(|entry| entry.key == "huggingface");
        let classes = described
            .filter_map(|entry| entry.value.as_deref())
            .flat_map(classes)
            .collect();
        let rows = RowIter::from_file_into(Box::new(reader));
        Ok(Self {
            path: path.to_owned(),
            rows: rows
                .project(Some(projected.map_err(damaged)?))
                .map_err(damaged)?,
            others: others.iter().map(|field| field.name().to_owned()).collect(),
            classes,
            row: 0,
        })
    }

    /// The next row, none at the file's end.
    pub(super) fn next_row(&mut self) -> Result<Option<JsonRecord>, DataError> {
        let Some(row) = self.rows.next() else {
            return Ok(None);
        };
        let row = row.map_err(|error| damaged(&self.path, &error))?;
        self.row += 1;
        let mut fields = JsonMap::default();
        for (name, value) in row.into_columns() {
            let value = match (self.classes.get(&name), json(value)) {
                (Some(names), Json::Int(number)) => {
                    let class = usize::try_from(number).ok().and_then(|at| names.get(at));
                    class.map_or(Json::Int(number), |class| Json::Text(class.clone()))
                }
                (_, value) => value,
            };
            fields.insert(name, value);
        }
        Ok(Some(JsonRecord {
            place: self.last_place(),
            fields,
            others: self.others.clone(),
        }))
    }

    pub(super) fn last_place(&self) -> RecordPlace {
        RecordPlace {
            record: Some(self.row),
            line: 0,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn damaged(path: &Path, error: &ParquetError) -> DataError {
    DataError::Parquet {
        path: path.to_owned(),
        fault: format!("cannot be read as Parquet ({error})"),
    }
}

/// Columns of classes with the classes' names, as the library `datasets` writes them into a file.
fn classes(described: &str) -> Vec<(String, Vec<String>)> {
    let described: serde_json::Value = serde_json::from_str(described).unwrap_or_default();
    let features = described["info"]["features"].as_object();
    let named = features
        .into_iter()
        .flatten()
        .filter_map(|(column, feature)| {
            let names = feature["names"].as_array()?.iter();
            let names = names.map(|name| Some(name.as_str()?.to_owned()));
            Some((column.clone(), names.collect::<Option<Vec<_>>>()?))
        });
    named.collect()
}

/// A value as JSON. What a struct has none of is left out, since every struct of a column has the
/// fields of all.
fn json(value: Field) -> Json {
    match value {
        Field::Null => Json::Null,
        Field::Bool(value) => Json::Bool(value),
        Field::Byte(value) => Json::Int(value.into()),
        Field::Short(value) => Json::Int(value.into()),
        Field::Int(value) | Field::Date(value) | Field::TimeMillis(value) => {
            Json::Int(value.into())
        }
        Field::Long(value)
        | Field::TimeMicros(value)
        | Field::TimestampMillis(value)
        | Field::TimestampMicros(value) => Json::Int(value.into()),
        Field::UByte(value) => Json::Int(value.into()),
        Field::UShort(value) => Json::Int(value.into()),
        Field::UInt(value) => Json::Int(value.into()),
        Field::ULong(value) => Json::Int(value.into()),
        Field::Float16(value) => Json::Float(value.to_f64()),
        Field::Float(value) => Json::Float(value.into()),
        Field::Double(value) => Json::Float(value),
        Field::Str(text) => Json::Text(text),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Json::Text(text.to_owned()),
            Err(_) => Json::Null,
        },
        Field::Decimal(_) => Json::Text(value.to_string()),
        Field::Group(row) => {
            let mut map = JsonMap::default();
            for (name, value) in row.into_columns() {
                match json(value) {
                    Json::Null => {}
                    value => map.insert(name, value),
                }
            }
            map.into()
        }
        Field::ListInternal(list) => {
            Json::List(list.elements().iter().cloned().map(json).collect())
        }
        Field::MapInternal(map) => {
            let mut json_map = JsonMap::default();
            for (key, value) in map.entries() {
                let key = match json(key.clone()) {
                    Json::Text(key) => key,
                    _ => key.to_string(),
                };
                json_map.insert(key, json(value.clone()));
            }
            json_map.into()
        }
    }
}
