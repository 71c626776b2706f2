//! Typed reading of a `config.json`, with faults that name the key.

use serde_json::Value;

/// Largest size that a config may name: far above any model, small enough that products of two
/// sizes do not overflow.
const MAX_SIZE: u64 = 1 << 31;

/// The keys of a config; `null` counts as absent.
pub(super) struct Keys<'a>(pub(super) &'a Value);

impl<'a> Keys<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A size, which must be there.
    pub(super) fn size(&self, key: &str) -> Result<usize, String> {
        self.optional_size(key)?
            .filter(|size| *size > 0)
            .ok_or_else(|| format!("{key} is not a positive number"))
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let size = value.as_u64().filter(|size| *size <= MAX_SIZE);
        let size = size.ok_or_else(|| format!("{key} is {value}, not a size up to {MAX_SIZE}"))?;
        Ok(Some(size as usize))
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, String> {
        let number = |value: &Value| {
            value
                .as_f64()
                .ok_or_else(|| format!("{key} is {value}, not a number"))
        };
        self.get(key).map_or(Ok(default), number)
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        let flag = |value: &Value| {
            let wrong = || format!("{key} is {value}, not true or false");
            value.as_bool().ok_or_else(wrong)
        };
        self.get(key).map_or(Ok(default), flag)
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
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

/// What `name`, the value of `key`, means in a table.
pub(super) fn one_of<T: Copy>(key: &str, name: &str, table: &[(&str, T)]) -> Result<T, String> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        format!("{key} {name:?} is not supported, only {}", known.join(", "))
    })
}
