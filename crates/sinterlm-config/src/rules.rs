//! The JSON schema of a config, boiled down to what loading and documentation ask of it.
//! Holding a document against it is `walk`'s.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

/// What a value may be.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Anything: a type without a schema of its own, or one that contains itself.
    Any,
    Boolean,
    Number {
        integer: bool,
        /// Stored as f32, so that defaults are shown with its digits.
        single: bool,
        bounds: Bounds,
        /// Smallest and largest value of the Rust type, for integers.
        limits: (i128, i128),
    },
    /// One of the named texts, or any text if none is named.
    Text {
        allowed: Vec<Named>,
    },
    List {
        item: Box<Kind>,
        min: usize,
        max: Option<usize>,
    },
    /// Fixed keys, and others too if `rest` says what they hold.
    Table {
        keys: Vec<Key>,
        rest: Option<Box<Kind>>,
    },
    /// A table in which the text under `tag` decides about the other keys.
    Tagged {
        tag: String,
        variants: Vec<Variant>,
    },
    /// A table with exactly one of these keys.
    OneKey {
        keys: Vec<Key>,
    },
    /// The first of these that fits.
    Either(Vec<Kind>),
}

/// A key of a table.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) default: Option<Value>,
    pub(crate) doc: String,
}

/// An allowed text with its documentation.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) doc: String,
}

/// A variant of a tagged enum; its keys leave out the tag.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) keys: Vec<Key>,
}

/// Range of a number as its field states it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) above: Option<f64>,
    pub(crate) below: Option<f64>,
}

impl Kind {
    /// Rules of a config type.
    pub(crate) fn of<T: JsonSchema>() -> Self {
        let schema = SchemaGenerator::default()
            .into_root_schema_for::<T>()
            .to_value();
        let empty = Map::new();
        let definitions = schema
            .get("$defs")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        Compiler { definitions }.kind(&schema, &[])
    }
}

struct Compiler<'s> {
    definitions: &'s Map<String, Value>,
}

impl Compiler<'_> {
    /// `open` holds the definitions being compiled, so that a recursive type ends.
    fn kind(&self, schema: &Value, open: &[String]) -> Kind {
        let Some((schema, open)) = self.flat(schema, open) else {
            return Kind::Any;
        };
        let open = open.as_slice();
        for keyword in ["oneOf", "anyOf"] {
            if let Some(branches) = schema.get(keyword).and_then(Value::as_array) {
                return self.alternatives(&schema, branches, open);
            }
        }
        if let Some(allowed) = allowed_texts(&schema) {
            return Kind::Text { allowed };
        }
        let kinds: Vec<Kind> = match schema.get("type") {
            Some(Value::String(name)) => vec![self.typed(name, &schema, open)],
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .filter(|&name| name != "null")
                .map(|name| self.typed(name, &schema, open))
                .collect(),
            _ if schema.contains_key("properties") => vec![self.typed("object", &schema, open)],
            _ => vec![Kind::Any],
        };
        either(kinds)
    }

    fn typed(&self, name: &str, schema: &Map<String, Value>, open: &[String]) -> Kind {
        match name {
            "boolean" => Kind::Boolean,
            "integer" | "number" => Kind::Number {
                integer: name == "integer",
                single: schema.get("format").is_some_and(|format| format == "float"),
                bounds: bounds(schema),
                limits: limits(schema),
            },
            "string" => Kind::Text {
                allowed: Vec::new(),
            },
            "array" => Kind::List {
                // Tuples of one type have `prefixItems`; mixed ones are left to deserialisation.
                item: Box::new(
                    schema
                        .get("items")
                        .map_or(Kind::Any, |item| self.kind(item, open)),
                ),
                min: schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize,
                max: schema
                    .get("maxItems")
                    .and_then(Value::as_u64)
                    .map(|max| max as usize),
            },
            "object" => Kind::Table {
                keys: self.keys(schema, None, open),
                // Absent means closed: a config file is strict even where serde would not be.
                rest: schema
                    .get("additionalProperties")
                    .filter(|rest| *rest != &Value::Bool(false))
                    .map(|rest| Box::new(self.kind(rest, open))),
            },
            _ => Kind::Any,
        }
    }

    fn keys(&self, schema: &Map<String, Value>, tag: Option<&str>, open: &[String]) -> Vec<Key> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map_or(Vec::new(), |names| {
                names.iter().filter_map(Value::as_str).collect()
            });
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return Vec::new();
        };
        properties
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != tag)
            .map(|(name, property)| Key {
                name: name.clone(),
                kind: self.kind(property, open),
                required: required.contains(&name.as_str()),
                default: property.get("default").cloned(),
                doc: self.doc(property),
            })
            .collect()
    }

    /// A field's own documentation, or else that of its type.
    fn doc(&self, property: &Value) -> String {
        self.flat(property, &[])
            .map_or(String::new(), |(flat, _)| doc(&flat))
    }

    fn alternatives(
        &self,
        outer: &Map<String, Value>,
        branches: &[Value],
        open: &[String],
    ) -> Kind {
        let mut texts = Vec::new();
        let mut tagged: Option<(String, Vec<Variant>)> = None;
        let mut one_key = Vec::new();
        let mut others = Vec::new();
        for branch in branches {
            let Some((mut flat, inner_open)) = self.flat(branch, open) else {
                others.push(Kind::Any);
                continue;
            };
            if flat.get("type").is_some_and(|kind| kind == "null") {
                continue;
            }
            // A flattened enum: the keys around it belong to each variant.
            if outer.contains_key("properties") {
                let around = outer.iter().filter(|(name, _)| {
                    !["oneOf", "anyOf", "description"].contains(&name.as_str())
                });
                flat = merge(flat, around.map(|(k, v)| (k.clone(), v.clone())).collect());
            }
            if let Some(allowed) = allowed_texts(&flat) {
                texts.extend(allowed);
            } else if let Some((tag, name)) = tag_of(&flat) {
                let variant = Variant {
                    doc: doc(&flat),
                    keys: self.keys(&flat, Some(&tag), &inner_open),
                    name,
                };
                tagged.get_or_insert((tag, Vec::new())).1.push(variant);
            } else if is_one_key(&flat) {
                let mut keys = self.keys(&flat, None, &inner_open);
                for key in &mut keys {
                    key.doc = doc(&flat);
                    key.required = false;
                }
                one_key.append(&mut keys);
            } else {
                others.push(self.kind(branch, open));
            }
        }
        let mut kinds = Vec::new();
        if !texts.is_empty() {
            kinds.push(Kind::Text { allowed: texts });
        }
        if let Some((tag, variants)) = tagged {
            kinds.push(Kind::Tagged { tag, variants });
        }
        if !one_key.is_empty() {
            kinds.push(Kind::OneKey { keys: one_key });
        }
        kinds.extend(others);
        either(kinds)
    }

    /// The schema with `$ref` and `allOf` written out at its top, and the definitions now open;
    /// none for a schema that allows anything or refers to itself.
    fn flat(&self, schema: &Value, open: &[String]) -> Option<(Map<String, Value>, Vec<String>)> {
        let mut open = open.to_vec();
        let mut own = schema.as_object()?.clone();
        let mut bases = Vec::new();
        if let Some(reference) = own.remove("$ref") {
            let name = reference.as_str()?.strip_prefix("#/$defs/")?.to_owned();
            if open.contains(&name) {
                return None;
            }
            bases.push(self.definitions.get(&name)?.clone());
            open.push(name);
        }
        if let Some(Value::Array(parts)) = own.remove("allOf") {
            bases.extend(parts);
        }
        for base in bases {
            let (base, base_open) = self.flat(&base, &open)?;
            open = base_open;
            own = merge(own, base);
        }
        Some((own, open))
    }
}

/// Both schemas at once; where they disagree `first` holds.
fn merge(mut first: Map<String, Value>, second: Map<String, Value>) -> Map<String, Value> {
    for (keyword, value) in second {
        match (first.get_mut(&keyword), value) {
            (Some(Value::Object(properties)), Value::Object(more)) => {
                for (name, property) in more {
                    properties.entry(name).or_insert(property);
                }
            }
            (Some(Value::Array(names)), Value::Array(more)) if keyword == "required" => {
                names.extend(more);
            }
            (Some(_), _) => {}
            (None, value) => {
                first.insert(keyword, value);
            }
        }
    }
    first
}

fn either(mut kinds: Vec<Kind>) -> Kind {
    match kinds.len() {
        0 => Kind::Any,
        1 => kinds.remove(0),
        _ => Kind::Either(kinds),
    }
}

fn doc(schema: &Map<String, Value>) -> String {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn allowed_texts(schema: &Map<String, Value>) -> Option<Vec<Named>> {
    let named = |value: &Value, doc| {
        Some(Named {
            name: value.as_str()?.to_owned(),
            doc,
        })
    };
    if let Some(value) = schema.get("const") {
        return named(value, doc(schema)).map(|one| vec![one]);
    }
    let values = schema.get("enum")?.as_array()?;
    let allowed: Vec<Named> = values
        .iter()
        .filter_map(|value| named(value, String::new()))
        .collect();
    (!allowed.is_empty()).then_some(allowed)
}

/// The key that holds a constant text, and this text.
fn tag_of(schema: &Map<String, Value>) -> Option<(String, String)> {
    let properties = schema.get("properties")?.as_object()?;
    properties.iter().find_map(|(name, property)| {
        Some((name.clone(), property.get("const")?.as_str()?.to_owned()))
    })
}

/// Whether this is a variant of an externally tagged enum.
fn is_one_key(schema: &Map<String, Value>) -> bool {
    let count = |keyword: &str| match schema.get(keyword) {
        Some(Value::Object(properties)) => properties.len(),
        Some(Value::Array(names)) => names.len(),
        _ => 0,
    };
    count("properties") == 1 && count("required") == 1
}

fn bounds(schema: &Map<String, Value>) -> Bounds {
    let number = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    // schemars states the limits of 8 and 16 bits as a range, which says nothing about the field;
    // the 0 of unsigned types does.
    let (type_min, type_max) = limits(schema);
    Bounds {
        min: number("minimum").filter(|min| *min >= 0.0 || *min > type_min as f64),
        max: number("maximum").filter(|max| *max < type_max as f64),
        above: number("exclusiveMinimum"),
        below: number("exclusiveMaximum"),
    }
}

fn limits(schema: &Map<String, Value>) -> (i128, i128) {
    match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX.into()),
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64" | "int") => (i64::MIN.into(), i64::MAX.into()),
        _ => (i128::MIN, i128::MAX),
    }
}
