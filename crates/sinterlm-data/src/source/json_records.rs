//! JSON objects of a file, one after another: one a line, over several lines, or in one array. What
//! an object holds is read by `json_object`, where it ends is found by `json_scan`.

use std::path::Path;

use super::json_object::{Fault, Parsed, What, parse};
use super::json_scan::Scan;
use super::opening::{BYTE_ORDER_MARK, OpenText, decode};
use super::record_place::RecordPlace;
use crate::{DataError, InvalidUtf8, JsonMap};

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonRecord {
    /// Where it begins.
    pub place: RecordPlace,
    /// Those of the wanted fields that it has.
    pub fields: JsonMap,
    /// The names of its other fields.
    pub others: Vec<String>,
}

/// The JSON objects of a file, plain or compressed.
///
/// A file that begins with `[` is one array of objects; in any other, each object begins on a line of
/// its own. Both may be broken into several lines. A byte order mark and blank lines are passed over,
/// and so is what JSON does not allow but Python writes: `NaN` and `Infinity` are read as null. Memory
/// holds one object at a time.
///
/// # Example
/// ```
/// use sinterlm_data::{InvalidUtf8, JsonRecords};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("texts.json");
/// std::fs::write(&path, r#"[{"text": "a", "score": NaN}, {"text": "b"}]"#)?;
/// let mut records = JsonRecords::open(&path, &["text"], InvalidUtf8::Error)?;
/// let mut texts = Vec::new();
/// while let Some(record) = records.next_record()? {
///     texts.push(record.fields["text"].as_str().unwrap_or_default().to_owned());
/// }
/// assert_eq!(texts, ["a", "b"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JsonRecords {
    text: OpenText,
    wanted: Vec<String>,
    invalid_utf8: InvalidUtf8,
    form: Option<Form>,
    /// Line reached, from 1, and the offset where it begins.
    line: u64,
    line_start: u64,
    piece: Vec<u8>,
    /// Whether the end of the last record was found.
    is_whole: bool,
    last_place: RecordPlace,
}

/// How records stand in the file.
#[derive(Clone, Copy, Debug)]
enum Form {
    Lines,
    /// In an array: the number of the last record and what may come next.
    Array(u64, Next),
}

/// What may come next in an array.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    ValueOrEnd,
    Value,
    CommaOrEnd,
    /// The array is over.
    Nothing,
}

impl JsonRecords {
    /// Opens a file; `wanted` names the fields that are read.
    ///
    /// # Errors
    /// [`DataError::SourceRead`], [`DataError::BinaryText`], [`DataError::Damaged`] for a file that
    /// cannot be read; [`DataError::Format`] for what Git LFS leaves in place of a file.
    pub fn open(
        path: &Path,
        wanted: &[&str],
        invalid_utf8: InvalidUtf8,
    ) -> Result<Self, DataError> {
        Ok(Self::new(
            OpenText::open(path.to_owned())?,
            wanted,
            invalid_utf8,
        ))
    }

    pub(crate) fn new(text: OpenText, wanted: &[&str], invalid_utf8: InvalidUtf8) -> Self {
        Self {
            text,
            wanted: wanted.iter().map(|name| (*name).to_owned()).collect(),
            invalid_utf8,
            form: None,
            line: 1,
            line_start: 0,
            piece: Vec::new(),
            is_whole: false,
            last_place: RecordPlace {
                record: None,
                line: 1,
            },
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.text.path
    }

    /// The next object, none at the end of the file.
    ///
    /// # Errors
    /// Those of reading, as [`JsonRecords::open`]; [`DataError::InvalidUtf8`],
    /// [`DataError::LoneSurrogate`], [`DataError::JsonSyntax`], [`DataError::JsonNotObject`]. After one
    /// of them the place in the file is lost.
    pub fn next_record(&mut self) -> Result<Option<JsonRecord>, DataError> {
        loop {
            self.piece.clear();
            self.is_whole = false;
            if !self.find_record()? {
                return Ok(None);
            }
            let (place, start) = (self.place(), self.text.offset);
            let column = start - self.line_start;
            self.last_place = place;
            self.is_whole = self.take_record()?;
            let text = decode(&self.piece, self.invalid_utf8, &self.text.path, start)?;
            let whole = text.trim_start_matches('\u{feff}');
            if whole.trim().is_empty() {
                continue;
            }
            let column = column + (text.len() - whole.len()) as u64;
            let path = || self.text.path.clone();
            let parsed = parse(whole.trim_end(), &self.wanted, self.invalid_utf8);
            return match parsed {
                Ok(Parsed::Object(fields, others)) => Ok(Some(JsonRecord {
                    place,
                    fields,
                    others,
                })),
                Ok(Parsed::Other(found)) => Err(DataError::JsonNotObject {
                    path: path(),
                    place,
                    found,
                }),
                Err(fault) => Err(located(fault, path(), place, column)),
            };
        }
    }

    /// Steps past a record that was refused; false where the end of it cannot be found, as in an array
    /// whose brackets do not match. A damaged line ends with the line, and so do those of its lines
    /// that are indented or close a bracket.
    pub(crate) fn pass_over(&mut self) -> Result<bool, DataError> {
        if self.is_whole {
            return Ok(true);
        }
        if !matches!(self.form, Some(Form::Lines)) {
            return Ok(false);
        }
        let line_end = self.piece.iter().position(|&byte| byte == b'\n');
        let rest = line_end.map(|end| self.piece.split_off(end + 1));
        if let Some(rest) = rest {
            // Its lines will be counted when they are read again.
            self.line -= rest.split(|&byte| byte == b'\n').count() as u64 - 1;
            self.text.give_back(rest);
        } else {
            self.pass_line()?;
        }
        while let Some(b' ' | b'\t' | b'}' | b']') = self.text.buffer()?.first() {
            self.pass_line()?;
        }
        self.line_start = self.text.offset;
        self.is_whole = true;
        Ok(true)
    }

    fn pass_line(&mut self) -> Result<(), DataError> {
        self.piece.clear();
        self.text.take_line(&mut self.piece)?;
        self.line += 1;
        Ok(())
    }

    /// Where the last record begins.
    pub(crate) fn last_place(&self) -> RecordPlace {
        self.last_place
    }

    /// The bytes of the last record, as far as they were read.
    pub(crate) fn piece(&self) -> &[u8] {
        &self.piece
    }

    fn place(&self) -> RecordPlace {
        RecordPlace {
            record: match self.form {
                Some(Form::Array(record, _)) => Some(record),
                _ => None,
            },
            line: self.line,
        }
    }

    /// Steps to the first byte of the next record; false where there is none.
    fn find_record(&mut self) -> Result<bool, DataError> {
        loop {
            let offset = self.text.offset;
            let Some(&byte) = self.text.buffer()?.first() else {
                return match self.form {
                    Some(Form::Array(_, next)) if next != Next::Nothing => {
                        Err(self.fault("the file ends before the array's `]`"))
                    }
                    _ => Ok(false),
                };
            };
            let mark = usize::try_from(offset).ok();
            let mark = mark.and_then(|at| BYTE_ORDER_MARK.get(at));
            if byte.is_ascii_whitespace() || mark == Some(&byte) {
                self.step(byte);
                continue;
            }
            match (self.form, byte) {
                (None, b'[') => self.form = Some(Form::Array(0, Next::ValueOrEnd)),
                (None, _) => {
                    self.form = Some(Form::Lines);
                    return Ok(true);
                }
                (Some(Form::Lines), _) => return Ok(true),
                (Some(Form::Array(_, Next::Nothing)), _) => {
                    return Err(self.fault("something stands behind the array's end"));
                }
                (Some(Form::Array(at, Next::CommaOrEnd)), b',') => {
                    self.form = Some(Form::Array(at, Next::Value));
                }
                (Some(Form::Array(at, Next::CommaOrEnd | Next::ValueOrEnd)), b']') => {
                    self.form = Some(Form::Array(at, Next::Nothing));
                }
                (Some(Form::Array(_, Next::CommaOrEnd)), _) => {
                    return Err(self.fault("expected `,` or `]`"));
                }
                (Some(Form::Array(_, Next::Value)), b']') => {
                    return Err(self.fault("a comma stands before the array's `]`"));
                }
                (Some(Form::Array(..)), b',') => {
                    return Err(self.fault("expected value"));
                }
                (Some(Form::Array(at, _)), _) => {
                    self.form = Some(Form::Array(at + 1, Next::CommaOrEnd));
                    return Ok(true);
                }
            }
            self.step(byte);
        }
    }

    /// Takes the bytes of a record into `self.piece`; false where it breaks off before its end.
    fn take_record(&mut self) -> Result<bool, DataError> {
        let mut is_broken = false;
        let mut scan = Scan::default();
        let in_lines = matches!(self.form, Some(Form::Lines));
        let mut is_over = false;
        while !is_over {
            let offset = self.text.offset;
            let bytes = self.text.buffer()?;
            if bytes.is_empty() {
                break;
            }
            let mut taken = 0;
            while !is_over {
                taken += scan.plain(&bytes[taken..]);
                let Some(&byte) = bytes.get(taken) else {
                    break;
                };
                if in_lines {
                    is_over = byte == b'\n' && scan.is_closed();
                } else if scan.has_begun() && scan.is_closed() {
                    // A number or a word of an array, which ends before what follows it.
                    is_over = matches!(byte, b',' | b']') || byte.is_ascii_whitespace();
                    if is_over {
                        break;
                    }
                }
                taken += 1;
                if byte == b'\n' {
                    self.line += 1;
                    self.line_start = offset + taken as u64;
                }
                is_broken = !scan.take(byte);
                is_over |= is_broken || (!in_lines && scan.has_ended());
            }
            self.piece.extend_from_slice(&bytes[..taken]);
            self.text.consume(taken);
        }
        Ok(!is_broken && scan.is_closed())
    }

    fn step(&mut self, byte: u8) {
        self.text.consume(1);
        if byte == b'\n' {
            self.line += 1;
            self.line_start = self.text.offset;
        }
    }

    /// A fault at the place reached.
    fn fault(&self, fault: &str) -> DataError {
        DataError::JsonSyntax {
            path: self.text.path.clone(),
            place: self.place(),
            column: self.text.offset - self.line_start + 1,
            fault: fault.to_owned(),
        }
    }
}

/// An error for a fault of a record that begins at `place`, behind `column` bytes of its line.
fn located(
    fault: Fault,
    path: std::path::PathBuf,
    mut place: RecordPlace,
    column: u64,
) -> DataError {
    let column = fault.column + if fault.line == 1 { column } else { 0 };
    place.line += fault.line - 1;
    match fault.what {
        What::Syntax(fault) => DataError::JsonSyntax {
            path,
            place,
            column,
            fault,
        },
        What::LoneSurrogate(escape) => DataError::LoneSurrogate {
            path,
            place,
            column,
            escape,
        },
    }
}
