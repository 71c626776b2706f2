//! From a TOML text and overrides to a checked value, and back to TOML.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::check::{Check, Validate};
use crate::error::{ConfigError, Place, Problem};

/// Reads a config file, applies overrides and checks everything.
pub fn load<T>(path: &Path, overrides: &[String]) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema + Validate,
{
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        hint: "check the path".to_owned(),
        source,
    })?;
    parse(&text, &path.display().to_string(), overrides)
}

/// Like [`load`], from memory.
pub fn parse<T>(text: &str, name: &str, overrides: &[String]) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema + Validate,
{
    let _ = overrides;
    let value: T = toml::from_str(text).map_err(|error| ConfigError::Syntax {
        name: name.to_owned(),
        problems: vec![Problem {
            place: Place::TopLevel,
            path: String::new(),
            message: error.to_string(),
        }],
    })?;
    let faults = Check::of(&value);
    if faults.is_empty() {
        return Ok(value);
    }
    let problems = faults
        .into_iter()
        .map(|f| Problem { place: Place::Default, path: f.path, message: f.message })
        .collect();
    Err(ConfigError::Invalid { name: name.to_owned(), problems })
}

/// Deterministic TOML.
pub fn to_toml<T: Serialize>(value: &T) -> Result<String, ConfigError> {
    toml::to_string(value).map_err(|source| ConfigError::Write {
        type_name: std::any::type_name::<T>(),
        source,
    })
}
