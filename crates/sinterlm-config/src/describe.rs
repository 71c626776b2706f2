//! Documentation of each key, read off the schema.
use schemars::JsonSchema;
/// One key of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// Dotted path.
    pub path: String,
    /// Kind of value.
    pub kind: String,
    /// Default as TOML, absent where the key is required or its absence means something.
    pub default: Option<String>,
    /// The field's documentation.
    pub doc: String,
}
/// All keys of a config in declaration order.
pub fn describe<T: JsonSchema>() -> Vec<KeyDoc> {
    Vec::new()
}
