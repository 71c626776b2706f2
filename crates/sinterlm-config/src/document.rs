//! A TOML text with overrides merged in, each value still knowing where it came from.
//! What keys and values may be is `rules`' and `walk`'s.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::error::{Place, Problem};

pub(crate) type Value<'t> = Spanned<DeValue<'t>>;
pub(crate) type Key<'t> = Spanned<Cow<'t, str>>;

/// The parsed text. Spans inside the text are byte offsets; those past its end count overrides.
#[derive(Clone, Debug)]
pub(crate) struct Document<'t> {
    pub(crate) root: DeTable<'t>,
    text: &'t str,
    overrides: &'t [String],
}

impl<'t> Document<'t> {
    /// Parses the text; the problems are the syntax errors.
    pub(crate) fn parse(text: &'t str, overrides: &'t [String]) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self {
                root: root.into_inner(),
                text,
                overrides,
            });
        }
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| Problem {
                place: line_and_column(text, error.span().map_or(text.len(), |span| span.start)),
                path: String::new(),
                message: format!("{}; correct the TOML", error.message()),
            })
            .collect();
        // One error often causes another one later in the line.
        let line = |problem: &Problem| match problem.place {
            Place::Line { line, .. } => line,
            _ => 0,
        };
        problems.sort_by_key(line);
        problems.dedup_by_key(|problem| line(problem));
        Err(problems)
    }

    /// Puts the overrides in; the problems are those of their form, not of their keys or values. Where
    /// one sets a key of a pair in `either`, the other key goes.
    pub(crate) fn apply_overrides(&mut self, either: &[(&str, &str)]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (number, option) in self.overrides.iter().enumerate() {
            let at = self.text.len() + 1 + number;
            if let Err((path, message)) = set(&mut self.root, option, at) {
                problems.push(Problem {
                    place: Place::Set(option.clone()),
                    path,
                    message,
                });
            }
            let key = option.split_once('=').map_or("", |(key, _)| key.trim());
            let others = either.iter().filter_map(|&(first, second)| match key {
                _ if key == first => Some(second),
                _ if key == second => Some(first),
                _ => None,
            });
            for other in others {
                self.remove(&other.split('.').collect::<Vec<_>>());
            }
        }
        problems
    }

    /// Pairs in `either` of which both are there.
    pub(crate) fn both(&self, either: &[(&str, &str)]) -> Vec<Problem> {
        let pairs = either.iter();
        let found = pairs.filter(|(first, second)| self.has(first) && self.has(second));
        found
            .map(|(first, second)| Problem {
                place: self.place_of_path(first),
                path: (*first).to_owned(),
                message: format!("{second} stands beside it; remove one of the two"),
            })
            .collect()
    }

    /// Where a span that starts at `offset` lies.
    pub(crate) fn place(&self, offset: usize) -> Place {
        if offset <= self.text.len() {
            Place::Line {
                line: line_of(self.text, offset),
                column: None,
            }
        } else {
            Place::Set(self.overrides[offset - self.text.len() - 1].clone())
        }
    }

    /// Where an entry stands: its key, or the header of a table.
    pub(crate) fn entry_place(&self, key: &Key, value: &Value) -> Place {
        let span = if value.get_ref().is_table() {
            value.span()
        } else {
            key.span()
        };
        self.place(span.start)
    }

    /// Where the value at a dotted path stands, or else its innermost table, or else the default.
    pub(crate) fn place_of_path(&self, path: &str) -> Place {
        if path.is_empty() {
            return Place::TopLevel;
        }
        let mut place = Place::Default;
        let mut segments = path.split('.');
        let mut next = segments
            .next()
            .and_then(|name| self.root.get_key_value(name));
        let mut value = None;
        if let Some((key, entry)) = next.take() {
            place = self.entry_place(key, entry);
            value = Some(entry);
        }
        for segment in segments {
            value = match value.map(Spanned::get_ref) {
                Some(DeValue::Table(table)) => table.get_key_value(segment).map(|(key, entry)| {
                    place = self.entry_place(key, entry);
                    entry
                }),
                Some(DeValue::Array(array)) => segment
                    .parse()
                    .ok()
                    .and_then(|i: usize| array.get(i))
                    .inspect(|item| {
                        place = self.place(item.span().start);
                    }),
                _ => None,
            };
        }
        place
    }

    /// Dotted path of the outermost value that starts at `offset`.
    pub(crate) fn path_at(&self, offset: usize) -> Option<String> {
        search_table(&self.root, offset)
    }

    /// Takes out the entry at a path of tables and gives its value; other paths stay.
    pub(crate) fn remove<S: AsRef<str>>(&mut self, path: &[S]) -> Option<Value<'t>> {
        let (last, parents) = path.split_last()?;
        let mut table = &mut self.root;
        for name in parents {
            match table.get_mut(name.as_ref()).map(Spanned::get_mut) {
                Some(DeValue::Table(inner)) => table = inner,
                _ => return None,
            }
        }
        table.remove(last.as_ref())
    }

    /// Whether there is a value at a dotted path of tables.
    fn has(&self, path: &str) -> bool {
        let mut table = Some(&self.root);
        let mut found = false;
        for name in path.split('.') {
            let value = table.and_then(|table| table.get(name));
            found = value.is_some();
            table = value.and_then(|value| value.get_ref().as_table());
        }
        found
    }

    /// Moves the value of a dotted key to another one that has none, where there is such a value.
    pub(crate) fn rename(&mut self, old: &str, new: &'t str) {
        if self.has(new) {
            return; // the walk refuses the old key beside the new one
        }
        let old: Vec<&str> = old.split('.').collect();
        let Some(value) = self.remove(&old) else {
            return;
        };
        let new: Vec<&str> = new.split('.').collect();
        let at = value.span().start;
        // A place that is taken by something else than a table is told by the walk.
        let _ = set_in_table(&mut self.root, &new, value, at);
    }
}

/// Sets one `key.path=value`; the error is a path and a message.
fn set<'t>(root: &mut DeTable<'t>, option: &'t str, at: usize) -> Result<(), (String, String)> {
    let Some((path, text)) = option.split_once('=') else {
        return Err((String::new(), "no value; write it as KEY=VALUE".to_owned()));
    };
    let segments: Vec<&str> = path.split('.').map(str::trim).collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err((
            String::new(),
            "empty key; write it as TABLE.KEY=VALUE".to_owned(),
        ));
    }
    let text = text.trim();
    let value = DeValue::parse(text).map_or_else(
        |_| DeValue::String(Cow::Borrowed(text)),
        Spanned::into_inner,
    );
    let value = move_to(Spanned::new(0..0, value), at);
    set_in_table(root, &segments, value, at)
        .map_err(|(depth, message)| (segments[..depth].join("."), message))
}

/// Sets a value below a table; the error is how many segments led to it and a message.
fn set_in_table<'t>(
    table: &mut DeTable<'t>,
    segments: &[&'t str],
    value: Value<'t>,
    at: usize,
) -> Result<(), (usize, String)> {
    let (name, rest) = segments.split_first().expect("a split path has a segment");
    if rest.is_empty() {
        // The map would keep the old key and with it the line of the file.
        table.remove(*name);
        table.insert(Spanned::new(at..at, Cow::Borrowed(*name)), value);
        return Ok(());
    }
    let inner = table
        .entry(Spanned::new(at..at, Cow::Borrowed(*name)))
        .or_insert_with(|| Spanned::new(at..at, DeValue::Table(DeTable::new())));
    set_in_value(inner, rest, value, at).map_err(|(depth, message)| (depth + 1, message))
}

fn set_in_value<'t>(
    target: &mut Value<'t>,
    segments: &[&'t str],
    value: Value<'t>,
    at: usize,
) -> Result<(), (usize, String)> {
    match target.get_mut() {
        DeValue::Table(table) => set_in_table(table, segments, value, at),
        DeValue::Array(array) => {
            let (name, rest) = segments.split_first().expect("callers keep a segment");
            let len = array.len();
            let Some(item) = name.parse().ok().and_then(|i: usize| array.get_mut(i)) else {
                return Err((
                    0,
                    format!("no element {name} in a list of {len}; count from 0"),
                ));
            };
            if rest.is_empty() {
                *item = value;
                return Ok(());
            }
            set_in_value(item, rest, value, at).map_err(|(depth, message)| (depth + 1, message))
        }
        other => Err((
            0,
            format!("no table but {}; shorten the key", article(other)),
        )),
    }
}

/// The same value with all spans at one offset.
fn move_to(value: Value<'_>, at: usize) -> Value<'_> {
    let moved = match value.into_inner() {
        DeValue::Array(array) => DeValue::Array(
            array
                .into_iter()
                .map(|item| move_to(item, at))
                .collect::<DeArray>(),
        ),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, item)| (Spanned::new(at..at, key.into_inner()), move_to(item, at)))
                .collect(),
        ),
        scalar => scalar,
    };
    Spanned::new(at..at, moved)
}

fn search_table(table: &DeTable, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name: &str = key.get_ref();
        search_value(value, offset).map(|rest| join(name, &rest))
    })
}

fn search_value(value: &Value, offset: usize) -> Option<String> {
    if value.span().start == offset {
        return Some(String::new());
    }
    match value.get_ref() {
        DeValue::Table(table) => search_table(table, offset),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(i, item)| {
            search_value(item, offset).map(|rest| join(&i.to_string(), &rest))
        }),
        _ => None,
    }
}

fn join(name: &str, rest: &str) -> String {
    if rest.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{rest}")
    }
}

/// The type of a value with its article.
pub(crate) fn article(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.get(..offset).unwrap_or(text).matches('\n').count()
}

fn line_and_column(text: &str, offset: usize) -> Place {
    let offset = text.floor_char_boundary(offset);
    let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let column = 1 + text[start..offset].chars().count();
    Place::Line {
        line: line_of(text, offset),
        column: Some(column),
    }
}
