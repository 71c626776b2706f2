//! Holds a document against the rules of its config and words each problem found.
//! Faults between values are `check`'s; remedies for them come from the configs themselves.

use toml::de::{DeTable, DeValue};

use crate::document::{Document, Key as DocumentKey, Value, article};
use crate::error::{Place, Problem};
use crate::rules::{Bounds, Key, Kind, Variant};

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    /// Paths of the values at fault, without which the rest may still be checked.
    pub(crate) unusable: Vec<Vec<String>>,
}

/// Checks the keys, types, ranges and names of a whole document.
pub(crate) fn walk(document: &Document, rules: &Kind) -> Findings {
    let mut walker = Walker {
        document,
        root: rules,
        path: Vec::new(),
        findings: Findings::default(),
    };
    walker.table_or_variant(&document.root, rules, &Place::TopLevel);
    walker.findings
}

struct Walker<'w> {
    document: &'w Document<'w>,
    root: &'w Kind,
    path: Vec<String>,
    findings: Findings,
}

impl<'w> Walker<'w> {
    fn problem(&mut self, place: &Place, message: String) {
        let path = self.path.join(".");
        self.findings.problems.push(Problem {
            place: place.clone(),
            path,
            message,
        });
    }

    /// A problem that makes the value itself unusable.
    fn refuse(&mut self, place: &Place, message: String) {
        self.problem(place, message);
        self.findings.unusable.push(self.path.clone());
    }

    fn at<R>(&mut self, name: &str, inner: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(name.to_owned());
        let result = inner(self);
        self.path.pop();
        result
    }

    fn value(&mut self, value: &Value, kind: &Kind, place: &Place) {
        match (kind, value.get_ref()) {
            (Kind::Any, _) | (Kind::Boolean, DeValue::Boolean(_)) => {}
            (Kind::Number { bounds, .. }, DeValue::Integer(_))
            | (
                Kind::Number {
                    integer: false,
                    bounds,
                    ..
                },
                DeValue::Float(_),
            ) => {
                if let Some(message) = out_of_range(value.get_ref(), *bounds) {
                    self.refuse(place, message);
                }
            }
            (Kind::Text { allowed }, DeValue::String(text)) => {
                let names: Vec<&str> = allowed.iter().map(|named| named.name.as_str()).collect();
                if !names.is_empty() && !names.contains(&&**text) {
                    self.refuse(place, unknown_name(text, &names));
                }
            }
            (Kind::List { item, min, max }, DeValue::Array(array)) => {
                if array.len() < *min || max.is_some_and(|max| array.len() > max) {
                    let found = array.len();
                    self.refuse(place, format!("{found} elements; write {}", expected(kind)));
                }
                for (i, element) in array.iter().enumerate() {
                    let place = self.document.place(element.span().start);
                    self.at(&i.to_string(), |walker| walker.value(element, item, &place));
                }
            }
            (
                Kind::Table { .. } | Kind::Tagged { .. } | Kind::OneKey { .. },
                DeValue::Table(table),
            ) => {
                self.table_or_variant(table, kind, place);
            }
            (Kind::Either(kinds), _) => self.either(value, kinds, place),
            (_, found) => self.refuse(place, wrong_type(found, kind)),
        }
    }

    /// Takes the first kind without a problem, or else shows the problems of the nearest one.
    fn either(&mut self, value: &Value, kinds: &[Kind], place: &Place) {
        let mut best: Option<Findings> = None;
        for kind in kinds.iter().filter(|kind| has_type(value.get_ref(), kind)) {
            let outer = std::mem::take(&mut self.findings);
            self.value(value, kind, place);
            let findings = std::mem::replace(&mut self.findings, outer);
            if best
                .as_ref()
                .is_none_or(|best| findings.problems.len() < best.problems.len())
            {
                best = Some(findings);
            }
        }
        match best {
            Some(mut findings) => {
                self.findings.problems.append(&mut findings.problems);
                self.findings.unusable.append(&mut findings.unusable);
            }
            None => {
                let kind = Kind::Either(kinds.to_vec());
                self.refuse(place, wrong_type(value.get_ref(), &kind));
            }
        }
    }

    fn table_or_variant(&mut self, table: &DeTable, kind: &Kind, place: &Place) {
        match kind {
            Kind::Table { keys, rest } => {
                self.table(table, keys.iter().collect(), rest.as_deref(), None, place);
            }
            Kind::Tagged { tag, variants } => self.tagged(table, tag, variants, place),
            Kind::OneKey { keys } => {
                self.table(table, keys.iter().collect(), None, None, place);
                if table.len() != 1 {
                    self.problem(
                        place,
                        format!("{} keys; write {}", table.len(), expected(kind)),
                    );
                }
            }
            // Only the root comes here with another kind: a config that is no struct.
            Kind::Either(kinds) => {
                if let Some(kind) = kinds.iter().find(|kind| !matches!(kind, Kind::Either(_))) {
                    self.table_or_variant(table, kind, place);
                }
            }
            _ => {}
        }
    }

    fn tagged(&mut self, table: &DeTable, tag: &str, variants: &[Variant], place: &Place) {
        let names: Vec<&str> = variants
            .iter()
            .map(|variant| variant.name.as_str())
            .collect();
        let Some((key, value)) = table.get_key_value(tag) else {
            let message = format!("required key is missing; write {}", one_of(&names));
            return self.at(tag, |walker| walker.problem(place, message));
        };
        let chosen = value.get_ref().as_str();
        if let Some(variant) = variants
            .iter()
            .find(|variant| Some(variant.name.as_str()) == chosen)
        {
            let keys = variant.keys.iter().collect();
            return self.table(table, keys, None, Some((tag, variants, variant)), place);
        }
        let message = match chosen {
            Some(name) => unknown_name(name, &names),
            None => format!("{}; write {}", is_a(value.get_ref()), one_of(&names)),
        };
        let place = self.document.entry_place(key, value);
        self.at(tag, |walker| walker.problem(&place, message));
        // Which keys belong here is unknown, so the table as a whole is unusable.
        self.findings.unusable.push(self.path.clone());
    }

    fn table(
        &mut self,
        table: &DeTable,
        keys: Vec<&Key>,
        rest: Option<&Kind>,
        variant: Option<(&str, &[Variant], &Variant)>,
        place: &Place,
    ) {
        let tag = variant.map(|(tag, ..)| tag);
        let mut mistyped = Vec::new();
        for (name, value) in table {
            let text: &str = name.get_ref();
            let entry_place = self.document.entry_place(name, value);
            let known = keys.iter().find(|key| key.name == text);
            match (known.map(|key| &key.kind).or(rest), tag == Some(text)) {
                (_, true) => {}
                (Some(kind), _) => {
                    self.at(text, |walker| walker.value(value, kind, &entry_place));
                }
                (None, _) => {
                    let absent: Vec<&str> = keys
                        .iter()
                        .map(|key| key.name.as_str())
                        .chain(tag)
                        .filter(|name| !table.contains_key(*name))
                        .collect();
                    let meant = nearest(text, &absent);
                    mistyped.extend(meant);
                    let message = self.unknown_key(name, meant, &keys, variant);
                    self.at(text, |walker| walker.refuse(&entry_place, message));
                }
            }
        }
        for key in keys {
            let name = key.name.as_str();
            if key.required && !table.contains_key(name) && !mistyped.contains(&name) {
                let message = format!("required key is missing; write {}", expected(&key.kind));
                self.at(name, |walker| walker.problem(place, message));
            }
        }
    }

    fn unknown_key(
        &self,
        name: &DocumentKey,
        meant: Option<&str>,
        keys: &[&Key],
        variant: Option<(&str, &[Variant], &Variant)>,
    ) -> String {
        let name: &str = name.get_ref();
        if let Some(meant) = meant {
            return format!("unknown key; did you mean {meant}?");
        }
        if let Some((tag, variants, chosen)) = variant {
            let owners: Vec<&str> = variants
                .iter()
                .filter(|variant| variant.keys.iter().any(|key| key.name == name))
                .map(|variant| variant.name.as_str())
                .collect();
            if !owners.is_empty() {
                return format!(
                    "no key of {tag} = \"{}\"; remove it or set {tag} to {}",
                    chosen.name,
                    one_of(&owners)
                );
            }
        }
        let mut elsewhere = Vec::new();
        places_of(self.root, name, "", &mut elsewhere);
        let known: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        if let Some(first) = elsewhere.first() {
            format!("unknown key here; did you mean {first}?")
        } else if known.is_empty() {
            "unknown key; remove it, nothing can be set here".to_owned()
        } else {
            format!("unknown key; the keys here are {}", known.join(", "))
        }
    }
}

/// Dotted paths of all keys called `name`.
fn places_of(kind: &Kind, name: &str, path: &str, found: &mut Vec<String>) {
    let mut search = |keys: &[Key]| {
        for key in keys {
            let path = if path.is_empty() {
                key.name.clone()
            } else {
                format!("{path}.{}", key.name)
            };
            places_of(&key.kind, name, &path, found);
            if key.name == name {
                found.push(path);
            }
        }
    };
    match kind {
        Kind::Table { keys, .. } => search(keys),
        Kind::Tagged { variants, .. } => variants.iter().for_each(|variant| search(&variant.keys)),
        _ => {}
    }
}

/// The name among `known` that `name` most likely means.
fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    known
        .iter()
        .map(|known| {
            let candidate = plain(known);
            let length = name.chars().count().max(candidate.chars().count());
            let distance = strsim::osa_distance(&name, &candidate);
            let part = name.len() >= 4 && (candidate.contains(&name) || name.contains(&candidate));
            (distance, part || distance <= (length / 3).max(1), *known)
        })
        .filter(|(_, near, _)| *near)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., known)| known)
}

fn unknown_name(name: &str, known: &[&str]) -> String {
    let shown = toml::Value::from(name);
    match nearest(name, known) {
        Some(meant) => format!(
            "{shown} is not {}; did you mean \"{meant}\"?",
            one_of(known)
        ),
        None => format!("{shown} is not known; write {}", one_of(known)),
    }
}

fn out_of_range(value: &DeValue, bounds: Bounds) -> Option<String> {
    let (shown, number) = match value {
        DeValue::Integer(integer) => {
            let parsed = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            (integer.to_string(), parsed as f64)
        }
        DeValue::Float(float) => (float.to_string(), float.as_str().parse::<f64>().ok()?),
        _ => return None,
    };
    // Negated, so that nan is outside of every bound.
    let message = match bounds {
        Bounds { min: Some(min), .. } if !(number >= min) => {
            format!("below the minimum {min}; raise it")
        }
        Bounds { max: Some(max), .. } if !(number <= max) => {
            format!("above the maximum {max}; lower it")
        }
        Bounds {
            above: Some(above), ..
        } if !(number > above) => {
            format!("not above {above}; raise it")
        }
        Bounds {
            below: Some(below), ..
        } if !(number < below) => {
            format!("not below {below}; lower it")
        }
        _ => return None,
    };
    Some(format!("{shown} is {message}"))
}

fn has_type(value: &DeValue, kind: &Kind) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Boolean => value.is_bool(),
        Kind::Number { integer, .. } => value.is_integer() || (!integer && value.is_float()),
        Kind::Text { .. } => value.is_str(),
        Kind::List { .. } => value.is_array(),
        Kind::Table { .. } | Kind::Tagged { .. } | Kind::OneKey { .. } => value.is_table(),
        Kind::Either(kinds) => kinds.iter().any(|kind| has_type(value, kind)),
    }
}

fn wrong_type(found: &DeValue, kind: &Kind) -> String {
    let hint = match found {
        DeValue::String(text)
            if DeValue::parse(text).is_ok_and(|inner| has_type(inner.get_ref(), kind)) =>
        {
            " without quotes"
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)
            if has_type(&DeValue::String("".into()), kind) =>
        {
            " in quotes"
        }
        _ => match kind {
            Kind::List { item, .. } if has_type(found, item) => " in brackets",
            _ => "",
        },
    };
    format!("{}; write {}{hint}", is_a(found), expected(kind))
}

/// `"6" is a string`; lists and tables are not shown.
fn is_a(value: &DeValue) -> String {
    let shown = match value {
        DeValue::String(text) => toml::Value::from(&**text).to_string(),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => "this".to_owned(),
    };
    format!("{shown} is {}", article(value))
}

/// What belongs in a place, such as `an integer from 1 to 8`.
pub(crate) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Any => "any value".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Number {
            integer, bounds, ..
        } => {
            format!(
                "{}{}",
                if *integer { "an integer" } else { "a number" },
                range(*bounds)
            )
        }
        Kind::Text { allowed } if allowed.is_empty() => "a string".to_owned(),
        Kind::Text { allowed } => one_of(
            &allowed
                .iter()
                .map(|named| named.name.as_str())
                .collect::<Vec<_>>(),
        ),
        Kind::List { item, min, max } => {
            let count = match (min, max) {
                (0, None) => String::new(),
                (min, None) => format!(" of at least {min}"),
                (min, Some(max)) if min == max => format!(" of {min}"),
                (min, Some(max)) => format!(" of {min} to {max}"),
            };
            match &**item {
                Kind::Any => format!("a list{count}"),
                item => format!("a list{count}, each {}", expected(item)),
            }
        }
        Kind::Table { .. } => "a table".to_owned(),
        Kind::Tagged { tag, variants } => {
            let names: Vec<&str> = variants
                .iter()
                .map(|variant| variant.name.as_str())
                .collect();
            format!("a table with {tag} = {}", one_of(&names))
        }
        Kind::OneKey { keys } => {
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            format!("a table with one key of {}", names.join(", "))
        }
        Kind::Either(kinds) => kinds.iter().map(expected).collect::<Vec<_>>().join(", or "),
    }
}

fn range(bounds: Bounds) -> String {
    match bounds {
        Bounds {
            min: Some(min),
            max: Some(max),
            ..
        } => format!(" from {min} to {max}"),
        Bounds {
            min,
            max,
            above,
            below,
        } => {
            let parts = [
                ("at least", min),
                ("above", above),
                ("at most", max),
                ("below", below),
            ];
            let parts: Vec<String> = parts
                .into_iter()
                .filter_map(|(word, bound)| bound.map(|bound| format!("{word} {bound}")))
                .collect();
            if parts.is_empty() {
                String::new()
            } else {
                format!(" {}", parts.join(" and "))
            }
        }
    }
}

/// `"a", "b" or "c"`.
fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
