//! Texts without classes, as a classifier is asked about them: the files that labelled records come in,
//! with or without labels, and plain lines.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::columns::{Columns, Field};
use super::options::RecordOptions;
use super::rows::{Rows, ending};
use crate::source::{BYTE_ORDER_MARK, OpenText, decode, hint, kind};
use crate::{
    DataError, FieldNames, InvalidUtf8, Json, JsonRecord, JsonRecords, RecordForm, RecordPlace,
};

/// A text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRecord {
    /// The place in its file.
    pub place: RecordPlace,
    /// The text, as it stands there; may be empty in a record, never as a line.
    pub text: String,
}

/// Reads the texts of a file, compressed or not: JSON (one array, or an object a line), CSV, TSV and
/// Parquet as [`read_records`](crate::read_records) reads labelled texts, each with its label or without;
/// else lines, of which empty ones are left out.
///
/// The ending of the name tells which. A file with none of the known ones is JSON if it begins with `{` or
/// `[`, a table if its first line has a tab, and lines if neither. A table without names of columns has the
/// label first, or the text alone.
///
/// # Errors
/// [`DataError::SourceMissing`], [`DataError::SourceRead`], [`DataError::Damaged`],
/// [`DataError::BinaryText`] for a file that cannot be read, [`DataError::JsonSyntax`] for one that is no
/// JSON, [`DataError::TextRecord`] for the first record without a text, [`DataError::NoDocuments`] where
/// there is none at all.
///
/// # Example
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("messages.jsonl");
/// std::fs::write(&path, "{\"sms\": \"See you\", \"label\": null}\n{\"sms\": \"WIN a prize\"}\n")?;
/// let texts = sinterlm_data::read_texts(&path)?;
/// assert_eq!(texts[1].text, "WIN a prize");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_texts(path: &Path) -> Result<Vec<TextRecord>, DataError> {
    if !path.try_exists().unwrap_or(true) {
        return Err(DataError::SourceMissing {
            path: path.to_owned(),
        });
    }
    let is_lines = match ending(path) {
        Some("txt") => true,
        Some(_) => false,
        None => !begins_as_records(path)?,
    };
    if is_lines {
        return lines(OpenText::open(path.to_owned())?);
    }
    let usual = FieldNames::default();
    let texts = records(path, &usual)?;
    if let Some(texts) = texts {
        return Ok(texts);
    }
    // A table of one column without a name.
    let numbered = FieldNames {
        text: Some("1".to_owned()),
        ..usual
    };
    Ok(records(path, &numbered)?.unwrap_or_default())
}

/// Reads the texts of a stream, which errors call `name`: JSON if it begins with `{` or `[`, else lines.
///
/// # Errors
/// As [`read_texts`].
pub fn read_texts_from(
    name: &str,
    stream: impl BufRead + Send + 'static,
) -> Result<Vec<TextRecord>, DataError> {
    let mut text = OpenText::new(PathBuf::from(name), None, Box::new(stream))?;
    let mut skipped = Vec::new();
    // The first byte that is not white space may lie behind any number of empty lines.
    let first = loop {
        let Some(&byte) = text.buffer()?.first() else {
            break None;
        };
        let is_mark = BYTE_ORDER_MARK.get(skipped.len()) == Some(&byte);
        if !byte.is_ascii_whitespace() && !is_mark {
            break Some(byte);
        }
        skipped.push(byte);
        text.consume(1);
    };
    text.give_back(skipped);
    if !matches!(first, Some(b'{' | b'[')) {
        return lines(text);
    }
    let columns = Columns::new(RecordForm::Labelled, &FieldNames::default());
    let json = JsonRecords::new(text, &columns.wanted(), InvalidUtf8::Error);
    let path = json.path().to_owned();
    let texts = rows(&path, Rows::Json(json), &columns)?;
    Ok(texts.unwrap_or_default())
}

/// Whether a file of another name holds records.
fn begins_as_records(path: &Path) -> Result<bool, DataError> {
    let mut text = OpenText::open(path.to_owned())?;
    let start = text.buffer()?;
    let start = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start);
    let mut lines = start.split(|&byte| byte == b'\n');
    let first = lines.find(|line| !line.trim_ascii().is_empty());
    let first = first.unwrap_or_default();
    Ok(matches!(first.trim_ascii_start().first(), Some(b'{' | b'[')) || first.contains(&b'\t'))
}

/// The texts of a file of records; none where it is a table of one column without a name.
fn records(path: &Path, names: &FieldNames) -> Result<Option<Vec<TextRecord>>, DataError> {
    let columns = Columns::new(RecordForm::Labelled, names);
    let options = RecordOptions::default();
    let first = RecordPlace {
        record: None,
        line: 1,
    };
    let opened = Rows::open(path, &columns, &options).map_err(|error| told(error, path, first))?;
    rows(path, opened, &columns)
}

fn rows(
    path: &Path,
    mut rows: Rows,
    columns: &Columns,
) -> Result<Option<Vec<TextRecord>>, DataError> {
    let mut texts = Vec::new();
    loop {
        let next = rows.next_row(columns);
        let next = next.map_err(|error| told(error, path, rows.place()))?;
        let Some(row) = next else { break };
        if texts.is_empty() && row.fields.iter().next().is_none() && row.others == ["1"] {
            return Ok(None);
        }
        let place = row.place;
        let text = text_of(row, columns).map_err(|(field, fault)| DataError::TextRecord {
            path: path.to_owned(),
            place,
            field,
            fault,
        })?;
        texts.push(TextRecord { place, text });
    }
    some(texts, path).map(Some)
}

fn lines(mut text: OpenText) -> Result<Vec<TextRecord>, DataError> {
    let (mut texts, mut number) = (Vec::new(), 0);
    loop {
        let (start, mut bytes) = (text.offset, Vec::new());
        text.take_line(&mut bytes)?;
        if bytes.is_empty() {
            let path = text.path;
            return some(texts, &path);
        }
        number += 1;
        let line = decode(&bytes, InvalidUtf8::Error, &text.path, start);
        let place = RecordPlace {
            record: None,
            line: number,
        };
        let line = line.map_err(|error| told(error, &text.path, place))?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if !line.trim().is_empty() {
            let text = line.to_owned();
            texts.push(TextRecord { place, text });
        }
    }
}

fn some(texts: Vec<TextRecord>, path: &Path) -> Result<Vec<TextRecord>, DataError> {
    if texts.is_empty() {
        return Err(DataError::NoDocuments {
            path: path.to_owned(),
        });
    }
    Ok(texts)
}

/// The text of a record, or the field at fault with what is wrong.
fn text_of(mut row: JsonRecord, columns: &Columns) -> Result<String, (String, String)> {
    let names: Vec<&str> = columns.of(Field::Text).collect();
    let is_given = |name: &&&str| row.fields.get(name).is_some_and(|v| *v != Json::Null);
    if let Some(name) = names.iter().find(is_given) {
        return match row.fields.take(name) {
            Some(Json::Text(text)) => Ok(text),
            other => {
                let found = kind(&other.unwrap_or(Json::Null));
                Err(((*name).to_owned(), format!("is {found}; write a text")))
            }
        };
    }
    if let Some(name) = names.iter().find(|name| row.fields.get(name).is_some()) {
        return Err(((*name).to_owned(), "is null; write a text".to_owned()));
    }
    let mut others = row.others;
    others.extend(row.fields.iter().map(|(name, _)| name.to_owned()));
    let (others, wanted) = (hint(others, names[0]), names.join(", "));
    let fault = format!("is missing, {others}; the text may be called {wanted}");
    Err((names[0].to_owned(), fault))
}

/// An error whose remedy names no key of a run's config, which nothing reads here; `place` is that of the
/// record that was read last.
fn told(error: DataError, file: &Path, place: RecordPlace) -> DataError {
    let path = file.to_owned();
    let at = |place, field: String, fault: String| DataError::TextRecord {
        path: path.clone(),
        place,
        field,
        fault,
    };
    let record = "record".to_owned();
    match error {
        DataError::Record { place, fault, .. } => at(place, record, fault),
        DataError::RecordForm { place, fields, .. } => at(
            place,
            record,
            format!("{fields}; name them in the first line, the text's `text`"),
        ),
        DataError::JsonNotObject { place, found, .. } => at(
            place,
            record,
            format!("is {found}, not an object; write {{\"text\": \"..\"}}"),
        ),
        DataError::LoneSurrogate {
            place,
            column,
            escape,
            ..
        } => at(
            place,
            format!("column {column}"),
            format!("`{escape}` is half of a character (a lone surrogate); mend the text"),
        ),
        DataError::InvalidUtf8 { offset, byte, .. } => at(
            place,
            record,
            format!("byte {offset} (0x{byte:02x}) is not UTF-8; save the file as such"),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use super::*;

    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Vec<(u64, String)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        placed(read_texts(&path))
    }

    fn placed(texts: Result<Vec<TextRecord>, DataError>) -> Result<Vec<(u64, String)>, String> {
        let texts = texts.map_err(|error| error.to_string())?;
        let texts = texts.into_iter();
        Ok(texts.map(|text| (text.place.line, text.text)).collect())
    }

    #[test]
    fn a_file_is_read_as_its_name_ends_with_labels_and_without() {
        let two = |first: u64, second: u64| Ok(vec![(first, "a, b".into()), (second, "c".into())]);
        for (name, content, expected) in [
            (
                "x.jsonl",
                "{\"text\": \"a, b\"}\n\n{\"message\": \"c\", \"label\": 1}\n",
                two(1, 3),
            ),
            (
                "x.json",
                "[{\"sms\": \"a, b\", \"n\": 1},\n{\"text\": \"c\", \"label\": null}]",
                two(1, 2),
            ),
            ("x.csv", "label,text\nham,\"a, b\"\nspam,c\n", two(2, 3)),
            ("x.csv", "id,Text\n1,\"a, b\"\n2,c\n", two(2, 3)),
            ("x.csv", "text\n\"a, b\"\nc\n", two(2, 3)),
            ("x.csv", "\"a, b\"\nc\n", two(1, 2)),
            ("x.tsv", "ham\ta, b\nspam\tc\n", two(1, 2)),
            ("x.tsv", "sms\na, b\nc\n", two(2, 3)),
            ("x.tsv", "a, b\nc\n", two(1, 2)),
            ("x.txt", "\u{feff}a, b\r\n \n\nc", two(1, 4)),
            ("SMSCollection", "ham\ta, b\nspam\tc\n", two(1, 2)),
            ("notes", "a, b\nc\n", two(1, 2)),
            (
                "notes",
                "\n[\n{\"text\": \"a, b\"}, {\"text\": \"c\"}]",
                two(3, 3),
            ),
        ] {
            assert_eq!(read(name, content), expected, "{name}: {content}");
        }
        let tabs = read("x.txt", "{\"a\tb\n").unwrap();
        assert_eq!(tabs, [(1, "{\"a\tb".to_owned())], "lines stay as they are");
        assert_eq!(read("x.jsonl", "{\"text\": \"\"}").unwrap()[0].1, "");
    }

    #[test]
    fn a_stream_is_json_or_lines_by_its_first_byte() {
        let of = |text: &'static str| placed(read_texts_from("stdin", Cursor::new(text)));
        assert_eq!(of("\n  {\"text\": \"a\"}\n"), Ok(vec![(2, "a".into())]));
        assert_eq!(of("\u{feff}[{\"text\": \"a\"}]"), Ok(vec![(1, "a".into())]));
        let lines = vec![(2, "ham\ta".into()), (3, "{".into())];
        assert_eq!(of("\nham\ta\n{\n"), Ok(lines));
        assert!(of(" \n").unwrap_err().starts_with("stdin: holds no"));
        let refused = of("{\"text\": 7}").unwrap_err();
        assert!(
            refused.starts_with("stdin, line 1, text: is a number"),
            "{refused}"
        );
    }

    #[test]
    fn what_holds_no_text_is_named_by_file_place_and_field() {
        for (name, content, words) in [
            (
                "x.jsonl",
                "{\"text\": \"a\"}\n{\"sms\": [1]}",
                "x.jsonl, line 2, sms: is an array; write a text",
            ),
            (
                "x.jsonl",
                "{\"text\": null}",
                "line 1, text: is null; write",
            ),
            (
                "x.jsonl",
                "{\"body\": \"a\"}",
                "line 1, text: is missing, it has `body`; the text may be called text, sms,",
            ),
            ("x.jsonl", "7", "line 1, record: is a number, not an object"),
            (
                "x.jsonl",
                "{\"text\": \"\\ud83d\"}",
                "line 1, column 11: `\\ud83d` is half",
            ),
            (
                "x.jsonl",
                "{\"text\": }",
                "line 1, column 10 is not valid JSON",
            ),
            (
                "x.csv",
                "label,text\nham,a,b\n",
                "x.csv, line 2, record: 3 cells, the first row has 2",
            ),
            (
                "x.csv",
                "a,b,c\n",
                "record: 3 columns without names; name them",
            ),
            ("x.txt", "\n \n", "holds no document"),
        ] {
            let refused = read(name, content).unwrap_err();
            assert!(refused.contains(words), "{name}: {content}: {refused}");
            assert!(!refused.contains("data."), "{refused}");
        }
        let refused = read("x.txt", b"a\n\xe9".as_slice()).unwrap_err();
        assert!(refused.contains("byte 2 (0xe9) is not UTF-8"), "{refused}");
        let missing = read_texts(Path::new("nowhere.txt"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("nowhere.txt: no such file"), "{missing}");
    }
}
