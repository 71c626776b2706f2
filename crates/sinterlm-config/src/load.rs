//! From a TOML text and overrides to a checked value, and back to TOML.
//! Puts together what `document`, `rules`, `walk` and `check` do.

use std::io::ErrorKind;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::check::{Check, Fault, Validate};
use crate::document::Document;
use crate::error::{ConfigError, Place, Problem};
use crate::rules::Kind;
use crate::walk::{Findings, walk};

/// Reads a config file, applies overrides and checks everything.
///
/// Each override is `KEY=VALUE` with a dotted key (`model.n_heads=8`, `data.sources.0.path=x`);
/// the value is TOML, or a plain string where it is no TOML. Overrides apply in order and are
/// checked like the file; one into a table that the file lacks writes that table, whose other keys
/// then have their own defaults. A key whose name holds a dot can be set in the file alone.
///
/// Keys that the schema of `T` lacks are refused even where serde would let them pass. `Validate`
/// never sees a value outside the ranges of the schema.
///
/// # Errors
/// - [`ConfigError::Read`]: the file is missing or unreadable
/// - [`ConfigError::Syntax`]: the text is no TOML
/// - [`ConfigError::Invalid`]: unknown, missing or repeated keys, wrong types, values out of range,
///   faults that [`Validate`] finds; all of them at once, with line or option
pub fn load<T>(path: &Path, overrides: &[String]) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema + Validate,
{
    load_moved(path, overrides, &[])
}

/// Like [`load`], of a file that an earlier release may have written: the value of each old key in
/// `moved` is read as that of its new one. For configs that people write, [`load`] names the new key.
///
/// # Errors
/// As [`load`].
pub fn load_moved<T>(
    path: &Path,
    overrides: &[String],
    moved: &[(&str, &str)],
) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema + Validate,
{
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        hint: read_hint(path, &source),
        source,
    })?;
    parse_moved(&text, &path.display().to_string(), overrides, moved, true)
}

/// Like [`load`], from a text in memory that errors call `name`.
///
/// # Errors
/// As [`load`], but for [`ConfigError::Read`].
pub fn parse<T>(text: &str, name: &str, overrides: &[String]) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema + Validate,
{
    parse_moved(text, name, overrides, &[], false)
}

/// Holds a config that was made in code, not read from a file, against everything that a file is held
/// against: ranges and [`Validate`]. Errors call it `name`.
///
/// # Errors
/// As [`parse`], and [`ConfigError::Write`].
pub fn check_made<T>(config: &T, name: &str) -> Result<(), ConfigError>
where
    T: Serialize + DeserializeOwned + JsonSchema + Validate,
{
    let Err(mut error) = parse::<T>(&to_toml(config)?, name, &[]) else {
        return Ok(());
    };
    if let ConfigError::Invalid { problems, .. } = &mut error {
        // The lines would be those of a text that nobody sees.
        for problem in problems {
            problem.place = Place::Made;
        }
    }
    Err(error)
}

/// Reads a text; one written `by_hand` has one key at most of each pair in [`Validate::EITHER`], a value
/// written out has all keys.
fn parse_moved<T>(
    text: &str,
    name: &str,
    overrides: &[String],
    moved: &[(&str, &str)],
    by_hand: bool,
) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema + Validate,
{
    let mut document =
        Document::parse(text, overrides).map_err(|problems| ConfigError::Syntax {
            name: name.to_owned(),
            problems,
        })?;
    for (old, new) in moved {
        document.rename(old, new);
    }
    let mut problems = document.apply_overrides(T::EITHER);
    if by_hand {
        problems.extend(document.both(T::EITHER));
    }
    let Findings {
        problems: found,
        unusable,
    } = walk(&document, &Kind::of::<T>());
    problems.extend(found);

    // Without the values at fault the rest is often a config still, whose own checks then belong to
    // the same list.
    let mut usable = document.clone();
    for path in &unusable {
        usable.remove(path);
    }
    let root = Spanned::new(0..0, usable.root);
    match T::deserialize(toml::Deserializer::from(root)) {
        Ok(value) => {
            let faults = Check::of(&value);
            if faults.is_empty() && problems.is_empty() {
                return Ok(value);
            }
            problems.extend(
                faults
                    .into_iter()
                    .filter(|fault| !follows(fault, &unusable))
                    .map(|fault| Problem {
                        place: document.place_of_path(&fault.path),
                        path: fault.path,
                        message: fault.message,
                    }),
            );
        }
        Err(error) if problems.is_empty() => {
            let offset = error.span().map(|span| span.start);
            problems.push(Problem {
                place: offset.map_or(Place::TopLevel, |offset| document.place(offset)),
                path: offset
                    .and_then(|offset| document.path_at(offset))
                    .unwrap_or_default(),
                message: format!("{}; correct the value", error.message()),
            });
        }
        Err(_) => {}
    }
    problems.sort_by_key(|problem| match &problem.place {
        Place::TopLevel => (0, 0),
        Place::Line { line, .. } => (1, *line),
        Place::Default | Place::Made => (2, 0),
        Place::Set(option) => (
            3,
            overrides.iter().position(|one| one == option).unwrap_or(0),
        ),
    });
    Err(ConfigError::Invalid {
        name: name.to_owned(),
        problems,
    })
}

/// Writes a value as TOML, its keys in the order of declaration; [`parse`] gives the value back.
///
/// # Errors
/// [`ConfigError::Write`] if a field has no TOML form.
pub fn to_toml<T: Serialize>(value: &T) -> Result<String, ConfigError> {
    toml::to_string(value).map_err(|source| ConfigError::Write {
        type_name: std::any::type_name::<T>(),
        source,
    })
}

/// Whether a fault may come of the default that stands for a value at fault: one of its table.
fn follows(fault: &Fault, unusable: &[Vec<String>]) -> bool {
    let table = fault.path.rsplit_once('.').map_or("", |(table, _)| table);
    unusable.iter().any(|path| {
        let path = path.join(".");
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        parent == table || fault.path.starts_with(&format!("{path}."))
    })
}

/// What to do about a file that cannot be read; names a near neighbour of a missing one.
fn read_hint(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            let wanted = path.file_name().unwrap_or_default().to_string_lossy();
            let neighbour = path
                .parent()
                .map(|folder| {
                    if folder.as_os_str().is_empty() {
                        Path::new(".")
                    } else {
                        folder
                    }
                })
                .and_then(|folder| std::fs::read_dir(folder).ok())
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| Path::new(name).extension().is_some_and(|end| end == "toml"))
                .map(|name| (strsim::osa_distance(&name, &wanted), name))
                .filter(|(distance, name)| *distance <= name.len() / 3)
                .min();
            match neighbour {
                Some((_, name)) => {
                    format!(
                        "there is no such file, did you mean {}?",
                        path.with_file_name(name).display()
                    )
                }
                None => "there is no such file, check the path".to_owned(),
            }
        }
        ErrorKind::InvalidData => "it is not UTF-8, save it as such".to_owned(),
        _ => "check that it is a file you may read".to_owned(),
    }
}
