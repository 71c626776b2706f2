//! Holds a document against the rules of its config and reports each problem found.
//! The wording is `words`'; faults between values are `check`'s.

use toml::de::{DeTable, DeValue};

use crate::document::{Document, Key as DocumentKey, Value};
use crate::error::{Place, Problem};
use crate::rules::{Key, Kind, Variant};
use crate::words::{
    expected, has_type, is_a, nearest, one_of, out_of_range, unknown_name, wrong_type,
};

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

impl Walker<'_> {
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
            (Kind::Number { bounds, limits, .. }, DeValue::Integer(_))
            | (
                Kind::Number {
                    integer: false,
                    bounds,
                    limits,
                    ..
                },
                DeValue::Float(_),
            ) => {
                if let Some(message) = out_of_range(value.get_ref(), *bounds, *limits) {
                    self.refuse(place, message);
                }
            }
            (Kind::Text { .. }, DeValue::String(text)) => {
                let names = names_of(kind);
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
        // A name near no allowed one may be meant as any of the kinds.
        let names: Vec<&str> = kinds.iter().flat_map(names_of).collect();
        let foreign = value
            .get_ref()
            .as_str()
            .is_some_and(|text| nearest(text, &names).is_none());
        if let Some(mut findings) = best.filter(|best| best.problems.is_empty() || !foreign) {
            self.findings.problems.append(&mut findings.problems);
            self.findings.unusable.append(&mut findings.unusable);
        } else {
            let kind = Kind::Either(kinds.to_vec());
            self.refuse(place, wrong_type(value.get_ref(), &kind));
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
                    let names: Vec<&str> = keys
                        .iter()
                        .map(|key| key.name.as_str())
                        .chain(tag)
                        .collect();
                    let meant = nearest(text, &names);
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

fn names_of(kind: &Kind) -> Vec<&str> {
    match kind {
        Kind::Text { allowed } => allowed.iter().map(|named| named.name.as_str()).collect(),
        _ => Vec::new(),
    }
}
