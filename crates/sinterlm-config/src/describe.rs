//! Documentation of each key of a config, read off its schema; laying it out is the caller's.

use schemars::JsonSchema;
use serde_json::Value;

use crate::rules::{Key, Kind, Named, Variant};
use crate::words::expected;

/// One key of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDoc {
    /// Dotted path; `*` stands for the index in a list or for a free key.
    pub path: String,
    /// What may be written, such as `an integer of at least 1` or `a table`.
    pub kind: String,
    /// Whether a config without the key is refused (where its table is written at all).
    pub required: bool,
    /// Default in TOML; none for tables, for required keys and where absence means something.
    pub default: Option<String>,
    /// The field's documentation, with what each name of a choice means and, for a key of some
    /// variants alone, which these are.
    pub doc: String,
}

/// All keys of a config type, tables before what they hold, in the order of declaration.
///
/// ```
/// /// Where texts come from.
/// #[derive(schemars::JsonSchema, serde::Serialize)]
/// struct Data {
///     /// Tokens per row.
///     #[schemars(range(min = 1))]
///     seq: u32,
/// }
/// let keys = sinterlm_config::describe::<Data>();
/// assert_eq!((keys[0].path.as_str(), keys[0].doc.as_str()), ("seq", "Tokens per row."));
/// assert_eq!(keys[0].kind, "an integer of at least 1");
/// ```
pub fn describe<T: JsonSchema>() -> Vec<KeyDoc> {
    let mut docs = Vec::new();
    inside(&Kind::of::<T>(), "", None, &mut docs);
    docs
}

/// Adds what a value of this kind holds; `default` is the value's own default.
fn inside(kind: &Kind, path: &str, default: Option<&Value>, docs: &mut Vec<KeyDoc>) {
    match kind {
        Kind::Table { keys: fixed, rest } => {
            keys(fixed, path, default, docs);
            if let Some(rest) = rest {
                inside(rest, &join(path, "*"), None, docs);
            }
        }
        Kind::List { item, .. } => inside(item, &join(path, "*"), None, docs),
        Kind::OneKey { keys: one } => keys(one, path, default, docs),
        Kind::Tagged { tag, variants } => tagged(tag, variants, path, default, docs),
        Kind::Either(kinds) => {
            for kind in kinds {
                inside(kind, path, default, docs);
            }
        }
        Kind::Any | Kind::Boolean | Kind::Number { .. } | Kind::Text { .. } => {}
    }
}

fn keys(keys: &[Key], path: &str, default: Option<&Value>, docs: &mut Vec<KeyDoc>) {
    for key in keys {
        entry(key, path, default, "", docs);
    }
}

fn entry(key: &Key, path: &str, table: Option<&Value>, only: &str, docs: &mut Vec<KeyDoc>) {
    let path = join(path, &key.name);
    // What the table defaults to is what its key is when the table is not written.
    let default = table
        .and_then(|table| table.get(&key.name))
        .or(key.default.as_ref());
    let mut doc = format!("{only}{}", key.doc);
    if let Kind::Text { allowed } = &key.kind {
        append_meanings(
            &mut doc,
            allowed.iter().map(|Named { name, doc }| (name, doc)),
        );
    }
    docs.push(KeyDoc {
        path: path.clone(),
        kind: expected(&key.kind),
        required: key.required,
        default: default.and_then(|default| as_toml(default, &key.kind)),
        doc,
    });
    inside(&key.kind, &path, default, docs);
}

fn tagged(
    tag: &str,
    variants: &[Variant],
    path: &str,
    default: Option<&Value>,
    docs: &mut Vec<KeyDoc>,
) {
    let chosen = default.and_then(|default| default.get(tag));
    let mut doc = "Which of these it is; decides about the other keys.".to_owned();
    append_meanings(
        &mut doc,
        variants.iter().map(|variant| (&variant.name, &variant.doc)),
    );
    let allowed = variants
        .iter()
        .map(|variant| Named {
            name: variant.name.clone(),
            doc: String::new(),
        })
        .collect();
    let kind = Kind::Text { allowed };
    docs.push(KeyDoc {
        path: join(path, tag),
        kind: expected(&kind),
        required: true,
        default: chosen.and_then(|chosen| as_toml(chosen, &kind)),
        doc,
    });
    // A key that several variants document alike is listed once.
    let mut groups: Vec<(Vec<KeyDoc>, Vec<&Variant>)> = Vec::new();
    for variant in variants {
        let default = default.filter(|_| chosen.is_some_and(|name| *name == *variant.name));
        for key in &variant.keys {
            let mut own = Vec::new();
            entry(key, path, default, "", &mut own);
            let same = |group: &&mut (Vec<KeyDoc>, _)| {
                group.0[0].path == own[0].path
                    && group.0[0].kind == own[0].kind
                    && group.0[0].doc == own[0].doc
            };
            match groups.iter_mut().find(same) {
                Some((first, owners)) => {
                    if default.is_some() {
                        *first = own;
                    }
                    owners.push(variant);
                }
                None => groups.push((own, vec![variant])),
            }
        }
    }
    for (mut group, owners) in groups {
        if owners.len() < variants.len() {
            let names: Vec<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
            group[0].doc = format!("With {tag} = {}: {}", names.join(", "), group[0].doc);
        }
        docs.append(&mut group);
    }
}

fn append_meanings<'n>(doc: &mut String, names: impl Iterator<Item = (&'n String, &'n String)>) {
    for (name, meaning) in names.filter(|(_, meaning)| !meaning.is_empty()) {
        if !doc.is_empty() {
            doc.push('\n');
        }
        doc.extend(["- `", name, "`: ", meaning]);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A default as it would stand in a file; none for tables and for an absent option.
fn as_toml(default: &Value, kind: &Kind) -> Option<String> {
    match (default, kind) {
        (Value::Null | Value::Object(_), _) => None,
        // An f32 of 0.1 became 0.10000000149011612 on its way through JSON.
        (Value::Number(number), Kind::Number { single: true, .. }) => {
            number.as_f64().map(|number| format!("{:?}", number as f32))
        }
        (value, _) => toml::Value::try_from(value)
            .ok()
            .map(|value| value.to_string()),
    }
}
