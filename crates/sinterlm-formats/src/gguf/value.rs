//! Metadata values: their types, and reading and writing them.

use std::io::{self, Write};

use crate::{FormatError, cursor::Cursor};

/// Arrays of arrays are read to this depth; the format's own keys need none.
const MAX_DEPTH: usize = 4;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Writes down once what the number types have in common: variant, Rust type, number in the file.
macro_rules! numbers {
    ($($variant:ident $type:ident $number:literal $doc:literal,)*) => {
        /// A metadata value.
        #[derive(Debug, Clone, PartialEq)]
        pub enum GgufValue {
            $(#[doc = $doc] $variant($type),)*
            /// A truth value.
            Bool(bool),
            /// Text.
            String(String),
            /// Values of one type.
            Array(GgufArray),
        }

        /// An array in the metadata.
        #[derive(Debug, Clone, PartialEq)]
        pub enum GgufArray {
            $(#[doc = $doc] $variant(Vec<$type>),)*
            /// Truth values.
            Bool(Vec<bool>),
            /// Texts.
            String(Vec<String>),
            /// Arrays.
            Array(Vec<GgufArray>),
        }

        impl GgufValue {
            /// The name of the value's type, for messages: `u32`, `array of string`.
            pub fn type_name(&self) -> String {
                match self {
                    $(Self::$variant(_) => stringify!($type).into(),)*
                    Self::Bool(_) => "bool".into(),
                    Self::String(_) => "string".into(),
                    Self::Array(array) => format!("array of {}", array.element_name()),
                }
            }

            fn number(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $number,)*
                    Self::Bool(_) => BOOL,
                    Self::String(_) => STRING,
                    Self::Array(_) => ARRAY,
                }
            }

            /// Writes the value with its type in front.
            pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
                out.write_all(&self.number().to_le_bytes())?;
                match self {
                    $(Self::$variant(x) => out.write_all(&x.to_le_bytes()),)*
                    Self::Bool(x) => out.write_all(&[u8::from(*x)]),
                    Self::String(text) => write_string(text, out),
                    Self::Array(array) => array.write(out),
                }
            }

            /// Reads a value of the type `number`.
            pub(super) fn read(cursor: &mut Cursor<'_>, number: u32) -> Result<Self, FormatError> {
                Ok(match number {
                    $($number => Self::$variant($type::from_le_bytes(cursor.array()?)),)*
                    BOOL => Self::Bool(read_bool(cursor)?),
                    STRING => Self::String(read_string(cursor)?),
                    ARRAY => Self::Array(GgufArray::read(cursor, MAX_DEPTH)?),
                    unknown => return Err(cursor.fault(format!("value type {unknown} is unknown"))),
                })
            }
        }

        impl GgufArray {
            fn element_name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($type),)*
                    Self::Bool(_) => "bool",
                    Self::String(_) => "string",
                    Self::Array(_) => "array",
                }
            }

            fn number(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $number,)*
                    Self::Bool(_) => BOOL,
                    Self::String(_) => STRING,
                    Self::Array(_) => ARRAY,
                }
            }

            fn len(&self) -> usize {
                match self {
                    $(Self::$variant(items) => items.len(),)*
                    Self::Bool(items) => items.len(),
                    Self::String(items) => items.len(),
                    Self::Array(items) => items.len(),
                }
            }

            fn write(&self, out: &mut dyn Write) -> io::Result<()> {
                out.write_all(&self.number().to_le_bytes())?;
                out.write_all(&(self.len() as u64).to_le_bytes())?;
                match self {
                    $(Self::$variant(items) => {
                        items.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))
                    })*
                    Self::Bool(items) => {
                        items.iter().try_for_each(|x| out.write_all(&[u8::from(*x)]))
                    }
                    Self::String(items) => items.iter().try_for_each(|text| write_string(text, out)),
                    Self::Array(items) => items.iter().try_for_each(|array| array.write(out)),
                }
            }

            /// Reads element type, length and elements; memory stays within a small multiple of
            /// the bytes that are there.
            fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, FormatError> {
                let (number, len) = (cursor.u32()?, cursor.u64()?);
                Ok(match number {
                    $($number => {
                        let bytes = cursor.take(len.saturating_mul(size_of::<$type>() as u64))?;
                        let items = bytes.as_chunks().0.iter();
                        Self::$variant(items.map(|b| $type::from_le_bytes(*b)).collect())
                    })*
                    BOOL => Self::Bool(read_many(cursor, len, 1, read_bool)?),
                    STRING => Self::String(read_many(cursor, len, 8, read_string)?),
                    ARRAY if depth == 1 => {
                        return Err(cursor.fault(format!(
                            "arrays are nested more than {MAX_DEPTH} deep"
                        )));
                    }
                    ARRAY => Self::Array(read_many(cursor, len, 12, |cursor| {
                        Self::read(cursor, depth - 1)
                    })?),
                    unknown => {
                        return Err(cursor.fault(format!("element type {unknown} is unknown")));
                    }
                })
            }
        }

        $(impl From<$type> for GgufValue {
            fn from(x: $type) -> Self {
                Self::$variant(x)
            }
        }

        impl From<Vec<$type>> for GgufValue {
            fn from(items: Vec<$type>) -> Self {
                Self::Array(GgufArray::$variant(items))
            }
        })*
    };
}

numbers! {
    U8 u8 0 "Unsigned, 8 bits.",
    I8 i8 1 "Signed, 8 bits.",
    U16 u16 2 "Unsigned, 16 bits.",
    I16 i16 3 "Signed, 16 bits.",
    U32 u32 4 "Unsigned, 32 bits.",
    I32 i32 5 "Signed, 32 bits.",
    F32 f32 6 "Floating point, 32 bits.",
    U64 u64 10 "Unsigned, 64 bits.",
    I64 i64 11 "Signed, 64 bits.",
    F64 f64 12 "Floating point, 64 bits.",
}

impl From<bool> for GgufValue {
    fn from(x: bool) -> Self {
        Self::Bool(x)
    }
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for GgufValue {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Vec<String>> for GgufValue {
    fn from(texts: Vec<String>) -> Self {
        Self::Array(GgufArray::String(texts))
    }
}

/// Reads `len` items of at least `least` bytes each; no more memory is reserved than could be filled.
fn read_many<T>(
    cursor: &mut Cursor<'_>,
    len: u64,
    least: u64,
    mut read: impl FnMut(&mut Cursor<'_>) -> Result<T, FormatError>,
) -> Result<Vec<T>, FormatError> {
    cursor.check_count(len, least)?;
    let mut items = Vec::with_capacity(len as usize);
    for _ in 0..len {
        items.push(read(cursor)?);
    }
    Ok(items)
}

fn read_bool(cursor: &mut Cursor<'_>) -> Result<bool, FormatError> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(cursor.fault(format!("{other} is no truth value"))),
    }
}

/// Reads a length and that many bytes of UTF-8.
pub(super) fn read_string(cursor: &mut Cursor<'_>) -> Result<String, FormatError> {
    let len = cursor.u64()?;
    let bytes = cursor.take(len)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(cursor.fault("a text is not UTF-8")),
    }
}

pub(super) fn write_string(text: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())
}
