//! Typed reading of a `config.json`, with faults that name the key.

use serde_json::Value;

/// Largest size that a config may name: far above any model, small enough that products of two
/// sizes do not overflow.
const MAX_SIZE: u64 = 1 << 31;

/// The keys of a config. What a class of `transformers` has a default for may be absent, and may be
/// `null` only where the class takes it.
pub(super) struct Keys<'a>(pub(super) &'a Value);

impl<'a> Keys<'a> {
    /// A value that is there and is not `null`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A size above 0; `default` where the file does not name it.
    pub(super) fn size(&self, key: &str, default: usize) -> Result<usize, String> {
        let size = self.count(key, default)?;
        if size == 0 {
            return Err(format!("{key} is 0"));
        }
        Ok(size)
    }

    /// A size that may be 0; `default` where the file does not name it.
    pub(super) fn count(&self, key: &str, default: usize) -> Result<usize, String> {
        self.0
            .get(key)
            .map_or(Ok(default), |value| size(key, value))
    }

    /// A size above 0, none where the file does not name it or says `null`.
    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, String> {
        self.get(key).map(|_| self.size(key, 1)).transpose()
    }

    /// A number; `default` where the file does not name it.
    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, String> {
        self.0.get(key).map_or(Ok(default), |value| {
            let wrong = || format!("{key} is {value}, not a number");
            value.as_f64().ok_or_else(wrong)
        })
    }

    /// A number, none where the file does not name it or says `null`.
    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>, String> {
        self.get(key).map(|_| self.number(key, 0.0)).transpose()
    }

    /// A switch; `default` where the file does not name it.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        self.0.get(key).map_or(Ok(default), |value| {
            let wrong = || format!("{key} is {value}, not true or false");
            value.as_bool().ok_or_else(wrong)
        })
    }

    /// A text, none where the file does not name it.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        let text = |value: &'a Value| {
            let wrong = || format!("{key} is {value}, not a text");
            value.as_str().ok_or_else(wrong)
        };
        self.0.get(key).map(text).transpose()
    }

    /// Refuses a switch that changes the numbers and is not built.
    pub(super) fn only(&self, key: &str, plain: bool) -> Result<(), String> {
        if self.flag(key, plain)? == plain {
            Ok(())
        } else {
            Err(format!("{key} = {} is not supported", !plain))
        }
    }
}

fn size(key: &str, value: &Value) -> Result<usize, String> {
    let size = value.as_u64().filter(|size| *size <= MAX_SIZE);
    let size = size.ok_or_else(|| format!("{key} is {value}, not a size up to {MAX_SIZE}"))?;
    Ok(size as usize)
}

/// What `name`, the value of `key`, means in a table.
pub(super) fn one_of<T: Copy>(key: &str, name: &str, table: &[(&str, T)]) -> Result<T, String> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        format!("{key} {name:?} is not supported, only {}", known.join(", "))
    })
}
