//! A JSON object that keeps its fields in the order they were set.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Named values in order; [`serde_json::Map`] would sort them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields(Vec<(String, Value)>);

impl Fields {
    /// Sets a field, in its old place if it is known.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some(field) => field.1 = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
