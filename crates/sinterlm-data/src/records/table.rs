//! Rows of CSV and TSV files. CSV follows RFC 4180; TSV has no quotes at all: a tab ends a cell and a
//! line end a row.

use super::columns::{Columns, Field};
use super::options::RecordOptions;
use crate::source::{BYTE_ORDER_MARK, OpenText, decode};
use crate::{
    DataError, InvalidUtf8, Json, JsonMap, JsonRecord, LabelColumn, RecordPlace, TableHeader,
};

/// How cells are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cells {
    /// By commas, with quotes.
    Commas,
    /// By tabs.
    Tabs,
}

/// The rows of a file.
#[derive(Debug)]
pub(super) struct TableRows {
    text: OpenText,
    cells: Cells,
    invalid_utf8: InvalidUtf8,
    names: Vec<String>,
    shape: Shape,
    /// Line that the next row begins in, from 1.
    line: u64,
    /// A first row that was no header.
    first: Option<Vec<String>>,
    piece: Vec<u8>,
    last_place: RecordPlace,
}

/// What a row's cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As many as there are names. In a TSV file the last one may hold further tabs where it is the
    /// text.
    Named { rest_is_text: bool },
    /// A label and a text, which may hold tabs in a TSV file.
    Pair(LabelColumn),
}

/// Where a CSV row's reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Plain,
    Quoted,
    /// Behind a quote that ends a cell, unless another one follows.
    Quote,
    /// Behind a cell's end, where nothing but a comma may stand.
    Stray,
}

impl At {
    fn step(self, byte: u8) -> Self {
        match self {
            Self::Stray => Self::Stray,
            Self::Quoted if byte == b'"' => Self::Quote,
            Self::Quoted => Self::Quoted,
            Self::Quote => match byte {
                // A doubled quote is one in the text.
                b'"' => Self::Quoted,
                b',' => Self::Start,
                b'\r' | b'\n' => Self::Quote,
                _ => Self::Stray,
            },
            Self::Start if byte == b'"' => Self::Quoted,
            Self::Start | Self::Plain if byte == b',' => Self::Start,
            Self::Start | Self::Plain => Self::Plain,
        }
    }
}

impl TableRows {
    pub(super) fn new(
        text: OpenText,
        cells: Cells,
        columns: &Columns,
        options: &RecordOptions,
    ) -> Result<Self, DataError> {
        let mut this = Self {
            text,
            cells,
            invalid_utf8: options.invalid_utf8,
            names: Vec::new(),
            shape: Shape::Named {
                rest_is_text: false,
            },
            line: 1,
            first: None,
            piece: Vec::new(),
            last_place: RecordPlace {
                record: None,
                line: 1,
            },
        };
        let start = this.text.buffer()?;
        if start.starts_with(BYTE_ORDER_MARK) {
            this.text.consume(BYTE_ORDER_MARK.len());
        }
        let Some((place, text)) = this.next_text()? else {
            return Ok(this);
        };
        let first = this.split(&text, usize::MAX, place)?;
        let known = |cell: &String| usual_name(cell, columns);
        let is_header = match options.header {
            TableHeader::Auto => first.iter().any(|cell| known(cell).is_some()),
            TableHeader::Yes => true,
            TableHeader::No => false,
        };
        if is_header {
            let names = first.into_iter();
            this.names = names.map(|cell| known(&cell).unwrap_or(cell)).collect();
            let last = this.names.last();
            let rest_is_text = last.is_some_and(|last| columns.of(Field::Text).any(|n| n == last));
            this.shape = Shape::Named { rest_is_text };
            return Ok(this);
        }
        if columns.are_numbered || first.len() < 2 {
            this.names = (1..=first.len()).map(|number| number.to_string()).collect();
            this.first = Some(first);
        } else if cells == Cells::Tabs || first.len() == 2 {
            this.shape = Shape::Pair(options.label_column);
            let name = |field| columns.of(field).next().unwrap_or_default().to_owned();
            this.names = vec![name(Field::Label), name(Field::Text)];
            if options.label_column == LabelColumn::Last {
                this.names.reverse();
            }
            // Read again, now that the text is known to take further tabs.
            this.first = Some(this.split(&text, 2, place)?);
        } else {
            return Err(DataError::RecordForm {
                path: this.text.path,
                place,
                fields: format!("{} columns without names", first.len()),
                fault: "none of them is the name of a field".to_owned(),
            });
        }
        Ok(this)
    }

    /// The next row, none at the file's end. A row that is refused has been passed over.
    pub(super) fn next_row(&mut self, columns: &Columns) -> Result<Option<JsonRecord>, DataError> {
        let (place, cells) = if let Some(first) = self.first.take() {
            (self.last_place, first)
        } else {
            let Some((place, text)) = self.next_text()? else {
                return Ok(None);
            };
            (place, self.split(&text, self.names.len(), place)?)
        };
        if cells.len() != self.names.len() {
            let (found, wanted) = (cells.len(), self.names.len());
            return Err(self.fault(place, format!("{found} cells, the first row has {wanted}")));
        }
        let (mut fields, mut others) = (JsonMap::default(), Vec::new());
        for (name, cell) in self.names.iter().zip(cells) {
            if columns.is_wanted(name) {
                fields.insert(name.clone(), Json::Text(cell));
            } else {
                others.push(name.clone());
            }
        }
        Ok(Some(JsonRecord {
            place,
            fields,
            others,
        }))
    }

    /// The bytes of the last row.
    pub(super) fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Where the last row begins.
    pub(super) fn last_place(&self) -> RecordPlace {
        self.last_place
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.text.path
    }

    /// The text of the next row that is not empty, without its line end.
    fn next_text(&mut self) -> Result<Option<(RecordPlace, String)>, DataError> {
        loop {
            self.piece.clear();
            let start = self.text.offset;
            let place = RecordPlace {
                record: None,
                line: self.line,
            };
            self.last_place = place;
            let (mut at, mut scanned) = (At::Start, 0);
            loop {
                self.text.take_line(&mut self.piece)?;
                if self.piece.len() == scanned {
                    break;
                }
                self.line += 1;
                if self.cells == Cells::Tabs {
                    break;
                }
                at = self.piece[scanned..]
                    .iter()
                    .fold(at, |at, &byte| at.step(byte));
                scanned = self.piece.len();
                if at != At::Quoted {
                    break;
                }
            }
            if self.piece.is_empty() {
                return Ok(None);
            }
            if matches!(at, At::Quoted | At::Stray) {
                return Err(self.refuse_quotes(place, at));
            }
            let text = decode(&self.piece, self.invalid_utf8, &self.text.path, start)?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if !text.is_empty() {
                return Ok(Some((place, text.to_owned())));
            }
        }
    }

    /// The fault of quotes that do not match; reading goes on with the line behind the first one.
    fn refuse_quotes(&mut self, place: RecordPlace, at: At) -> DataError {
        let first = self.piece.iter().position(|&byte| byte == b'\n');
        let rest = self
            .piece
            .split_off(first.map_or(self.piece.len(), |end| end + 1));
        self.text.give_back(rest);
        self.line = place.line + 1;
        let fault = match at {
            At::Quoted => "a quote opens a cell and none closes it",
            _ => "something stands between a closing quote and the next comma",
        };
        self.fault(place, fault.to_owned())
    }

    /// The cells of a row; `wanted` is how many a TSV row may have.
    fn split(
        &self,
        text: &str,
        wanted: usize,
        place: RecordPlace,
    ) -> Result<Vec<String>, DataError> {
        if self.cells == Cells::Commas {
            return Ok(split_at_commas(text));
        }
        Ok(match self.shape {
            Shape::Pair(LabelColumn::First) => own(text.splitn(2, '\t')),
            Shape::Pair(LabelColumn::Last) => match text.rsplit_once('\t') {
                Some((text, label)) => vec![text.to_owned(), label.to_owned()],
                None => vec![text.to_owned()],
            },
            Shape::Named { rest_is_text: true } => own(text.splitn(wanted, '\t')),
            Shape::Named {
                rest_is_text: false,
            } => own(text.split('\t')),
        })
        .and_then(|cells| match cells.len() {
            1 if wanted > 1 && wanted != usize::MAX => {
                Err(self.fault(place, "no tab ends the first cell".to_owned()))
            }
            _ => Ok(cells),
        })
    }

    fn fault(&self, place: RecordPlace, fault: String) -> DataError {
        super::row_fault::fault(&self.text.path, place, fault, &self.piece)
    }
}

fn own<'a>(cells: impl Iterator<Item = &'a str>) -> Vec<String> {
    cells.map(str::to_owned).collect()
}

/// The field's name that a header's cell stands for, whatever its case.
fn usual_name(cell: &str, columns: &Columns) -> Option<String> {
    let cell = cell.trim();
    let lower = cell.to_lowercase();
    let mut names = [cell, &*lower].into_iter();
    names
        .find(|name| columns.is_wanted(name))
        .map(str::to_owned)
}

/// The cells of a row whose quotes match.
fn split_at_commas(text: &str) -> Vec<String> {
    let (mut cells, mut at, mut start) = (Vec::new(), At::Start, 0);
    for (end, byte) in text.bytes().chain([b',']).enumerate() {
        let next = if end == text.len() && at == At::Quoted {
            At::Start
        } else {
            at.step(byte)
        };
        if next == At::Start {
            let cell = &text[start..end];
            cells.push(match cell.strip_prefix('"') {
                Some(quoted) => quoted
                    .strip_suffix('"')
                    .unwrap_or(quoted)
                    .replace("\"\"", "\""),
                None => cell.to_owned(),
            });
            start = end + 1;
        }
        at = next;
    }
    cells
}
