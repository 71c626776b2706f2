//! The metadata of a GGUF file: getters that name file and key when a value is not as needed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{FormatError, GgufArray, GgufValue};

/// The keys and values of a GGUF file, sorted by key.
pub type GgufMetadata = BTreeMap<String, GgufValue>;

/// One value with its key and file.
///
/// Each getter fails with [`FormatError::KeyType`] where the value is of another type.
#[derive(Debug, Clone, Copy)]
pub struct GgufField<'a> {
    path: &'a Path,
    key: &'a str,
    value: &'a GgufValue,
}

impl<'a> GgufField<'a> {
    /// The field `key` of the file at `path`, `None` if it has none.
    pub(super) fn find(path: &'a Path, metadata: &'a GgufMetadata, key: &str) -> Option<Self> {
        let (key, value) = metadata.get_key_value(key)?;
        Some(Self { path, key, value })
    }

    /// The value as stored.
    pub fn value(&self) -> &'a GgufValue {
        self.value
    }

    /// A text.
    ///
    /// # Errors
    /// [`FormatError::KeyType`].
    pub fn text(&self) -> Result<&'a str, FormatError> {
        match self.value {
            GgufValue::String(text) => Ok(text),
            _ => Err(self.fault("a string")),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`FormatError::KeyType`].
    pub fn flag(&self) -> Result<bool, FormatError> {
        match self.value {
            GgufValue::Bool(x) => Ok(*x),
            _ => Err(self.fault("a bool")),
        }
    }

    /// A whole number of any width that is not negative.
    ///
    /// # Errors
    /// [`FormatError::KeyType`].
    pub fn uint(&self) -> Result<u64, FormatError> {
        let signed = |x: i64| u64::try_from(x).ok();
        let found = match self.value {
            GgufValue::U8(x) => Some((*x).into()),
            GgufValue::U16(x) => Some((*x).into()),
            GgufValue::U32(x) => Some((*x).into()),
            GgufValue::U64(x) => Some(*x),
            GgufValue::I8(x) => signed((*x).into()),
            GgufValue::I16(x) => signed((*x).into()),
            GgufValue::I32(x) => signed((*x).into()),
            GgufValue::I64(x) => signed(*x),
            _ => None,
        };
        found.ok_or_else(|| self.fault("a whole number from 0"))
    }

    /// A floating-point number of either width.
    ///
    /// # Errors
    /// [`FormatError::KeyType`].
    pub fn float(&self) -> Result<f64, FormatError> {
        match self.value {
            GgufValue::F32(x) => Ok((*x).into()),
            GgufValue::F64(x) => Ok(*x),
            _ => Err(self.fault("a float")),
        }
    }

    /// An array of texts, as `tokenizer.ggml.tokens`.
    ///
    /// # Errors
    /// [`FormatError::KeyType`].
    pub fn texts(&self) -> Result<&'a [String], FormatError> {
        match self.value {
            GgufValue::Array(GgufArray::String(texts)) => Ok(texts),
            _ => Err(self.fault("an array of strings")),
        }
    }

    /// An array of whole numbers of any width, as `tokenizer.ggml.token_type`.
    ///
    /// # Errors
    /// [`FormatError::KeyType`], also for a number above `i64::MAX`.
    pub fn ints(&self) -> Result<Vec<i64>, FormatError> {
        fn widen<T: Copy + Into<i64>>(items: &[T]) -> Vec<i64> {
            items.iter().map(|x| (*x).into()).collect()
        }
        let GgufValue::Array(array) = self.value else {
            return Err(self.fault("an array of whole numbers"));
        };
        Ok(match array {
            GgufArray::U8(items) => widen(items),
            GgufArray::I8(items) => widen(items),
            GgufArray::U16(items) => widen(items),
            GgufArray::I16(items) => widen(items),
            GgufArray::U32(items) => widen(items),
            GgufArray::I32(items) => widen(items),
            GgufArray::I64(items) => items.clone(),
            GgufArray::U64(items) => {
                let signed: Result<_, _> = items.iter().map(|x| i64::try_from(*x)).collect();
                signed.map_err(|_| self.fault("an array of numbers that fit 64 signed bits"))?
            }
            _ => return Err(self.fault("an array of whole numbers")),
        })
    }

    /// An array of floating-point numbers, as `tokenizer.ggml.scores`; F64 is rounded.
    ///
    /// # Errors
    /// [`FormatError::KeyType`].
    pub fn floats(&self) -> Result<Vec<f32>, FormatError> {
        match self.value {
            GgufValue::Array(GgufArray::F32(items)) => Ok(items.clone()),
            GgufValue::Array(GgufArray::F64(items)) => {
                Ok(items.iter().map(|x| *x as f32).collect())
            }
            _ => Err(self.fault("an array of floats")),
        }
    }

    fn fault(&self, expected: &'static str) -> FormatError {
        FormatError::KeyType {
            path: PathBuf::from(self.path),
            key: self.key.to_owned(),
            expected,
            found: self.value.type_name(),
        }
    }
}
