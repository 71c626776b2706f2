//! Finding the stored entries of a zip archive; compressed ones are refused.
//!
//! Format: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3 (zip64). Checksums are not tested.

use std::{collections::BTreeMap, ops::Range, path::Path};

use crate::{FormatError, cursor::Cursor};

/// Signatures of the records.
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
/// Sizes of the records' fixed parts.
const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: u64 = 46;
const END_BYTES: usize = 22;
const LOCATOR_64_BYTES: usize = 20;
/// The longest comment after the end record.
const MAX_COMMENT: usize = 0xffff;
/// The extra field with sizes of 64 bits.
const ZIP64_FIELD: u16 = 1;
/// A field of 32 bits whose value stands in the extra field.
const ELSEWHERE: u64 = 0xffff_ffff;

/// The bytes of each entry in the archive `bytes`, by name; `path` is for messages.
pub(super) fn entries(
    path: &Path,
    bytes: &[u8],
) -> Result<BTreeMap<String, Range<usize>>, FormatError> {
    let (count, start) = find_directory(path, bytes)?;
    let mut cursor = Cursor::new(path, bytes);
    cursor.take(start)?;
    cursor.check_count(count, CENTRAL_BYTES)?;
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let entry = read_entry(&mut cursor)?;
        let range = locate(path, bytes, &entry)?;
        if found.insert(entry.name.clone(), range).is_some() {
            return Err(cursor.fault(format!("the archive has two entries `{}`", entry.name)));
        }
    }
    Ok(found)
}

struct Entry {
    name: String,
    size: u64,
    /// Where the local header lies.
    offset: u64,
}

/// Number of entries and position of the central directory.
fn find_directory(path: &Path, bytes: &[u8]) -> Result<(u64, u64), FormatError> {
    let end = find_end(bytes).ok_or_else(|| {
        FormatError::header(path, "the archive has no directory, the file is cut off")
    })?;
    let mut cursor = Cursor::new(path, bytes);
    cursor.take(end as u64 + 10)?;
    let count = u64::from(u16::from_le_bytes(cursor.array()?));
    cursor.take(4)?;
    let start = u64::from(cursor.u32()?);
    // The larger record stands where the smaller one has a locator in front.
    let Some(locator) = end.checked_sub(LOCATOR_64_BYTES) else {
        return Ok((count, start));
    };
    let mut cursor = Cursor::new(path, bytes);
    cursor.take(locator as u64)?;
    if cursor.u32()? != LOCATOR_64 {
        return Ok((count, start));
    }
    cursor.take(4)?;
    let record = cursor.u64()?;
    let mut cursor = Cursor::new(path, bytes);
    cursor.take(record)?;
    if cursor.u32()? != END_64 {
        return Err(cursor.fault("the archive's end record is damaged"));
    }
    cursor.take(28)?;
    let count = cursor.u64()?;
    cursor.take(8)?;
    Ok((count, cursor.u64()?))
}

/// The position of the end record: the last signature whose comment ends with the file.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(MAX_COMMENT);
    (first..=last).rev().find(|at| {
        let record = &bytes[*at..];
        record.starts_with(&END.to_le_bytes())
            && record.len() - END_BYTES == usize::from(u16::from_le_bytes([record[20], record[21]]))
    })
}

/// Reads an entry of the central directory.
fn read_entry(cursor: &mut Cursor<'_>) -> Result<Entry, FormatError> {
    if cursor.u32()? != CENTRAL {
        return Err(cursor.fault("the archive's directory is damaged"));
    }
    cursor.take(4)?; // versions
    let flags = u16::from_le_bytes(cursor.array()?);
    let method = u16::from_le_bytes(cursor.array()?);
    cursor.take(8)?; // time, date, checksum
    let (packed, size) = (u64::from(cursor.u32()?), u64::from(cursor.u32()?));
    let name_length = u16::from_le_bytes(cursor.array()?);
    let extra_length = u16::from_le_bytes(cursor.array()?);
    let comment_length = u16::from_le_bytes(cursor.array()?);
    cursor.take(8)?; // disk, attributes
    let offset = u64::from(cursor.u32()?);
    let name = cursor.take(name_length.into())?;
    let name = std::str::from_utf8(name)
        .map_err(|_| cursor.fault("the archive has a name that is not UTF-8"))?
        .to_owned();
    let extra = cursor.take(extra_length.into())?;
    cursor.take(comment_length.into())?;
    if flags & 1 != 0 || method != 0 {
        return Err(cursor.fault(format!(
            "the archive's entry `{name}` is compressed or encrypted, save it as torch.save does"
        )));
    }
    let mut fields = [size, packed, offset];
    widen(cursor, extra, &mut fields)?;
    let [size, packed, offset] = fields;
    if packed != size {
        return Err(cursor.fault(format!("the archive's entry `{name}` has two sizes")));
    }
    Ok(Entry { name, size, offset })
}

/// Replaces those of the fields that did not fit 32 bits.
fn widen(cursor: &Cursor<'_>, extra: &[u8], fields: &mut [u64; 3]) -> Result<(), FormatError> {
    if !fields.contains(&ELSEWHERE) {
        return Ok(());
    }
    let mut inner = Cursor::new(cursor.path(), extra);
    while inner.remaining() > 0 {
        let (id, length) = (inner.array()?, inner.array()?);
        let body = inner.take(u16::from_le_bytes(length).into())?;
        if u16::from_le_bytes(id) == ZIP64_FIELD {
            let mut body = Cursor::new(cursor.path(), body);
            for field in fields.iter_mut().filter(|field| **field == ELSEWHERE) {
                *field = body.u64()?;
            }
            return Ok(());
        }
    }
    Err(cursor.fault("the archive lacks a size of 64 bits"))
}

/// Where an entry's bytes lie: behind its local header, whose lengths may differ.
fn locate(path: &Path, bytes: &[u8], entry: &Entry) -> Result<Range<usize>, FormatError> {
    let mut cursor = Cursor::new(path, bytes);
    cursor.take(entry.offset)?;
    if cursor.u32()? != LOCAL {
        return Err(cursor.fault(format!("the archive's entry `{}` is damaged", entry.name)));
    }
    cursor.take(LOCAL_BYTES - 8)?;
    let name_length = u16::from_le_bytes(cursor.array()?);
    let extra_length = u16::from_le_bytes(cursor.array()?);
    cursor.take(u64::from(name_length) + u64::from(extra_length))?;
    let start = cursor.position();
    cursor.take(entry.size)?;
    Ok(start..cursor.position())
}
