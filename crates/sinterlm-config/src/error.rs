//! The crate's error and the list of problems it shows; finding them is `load`'s.

use std::fmt;
use std::path::PathBuf;

/// Why a config could not be loaded or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot read this config file; {hint}", path.display())]
    Read {
        /// The path as it was given.
        path: PathBuf,
        /// What to do about it.
        hint: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The text is no TOML; nothing else could be checked.
    #[error("{}", list(name, problems))]
    Syntax {
        /// Path of the file, or the name given for a text from memory.
        name: String,
        /// Each syntax error, in the order of the file.
        problems: Vec<Problem>,
    },
    /// The text is TOML, with keys or values that do not fit the config.
    #[error("{}", list(name, problems))]
    Invalid {
        /// Path of the file, or the name given for a text from memory.
        name: String,
        /// All problems, in the order of the file, those of options after them.
        problems: Vec<Problem>,
    },
    /// A value has no TOML form, such as a map whose keys are no strings.
    #[error("{type_name}: cannot be written as TOML; give each field a type that TOML has")]
    Write {
        /// Rust name of the type.
        type_name: &'static str,
        /// What the serialiser said.
        source: toml::ser::Error,
    },
}

/// One thing wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value comes from.
    pub place: Place,
    /// Dotted path of the key, empty where the text as a whole is meant.
    pub path: String,
    /// What is wrong and the remedy.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place == Place::Made {
            write!(f, "{}: {}", self.path, self.message)
        } else if self.path.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}, {}: {}", self.place, self.path, self.message)
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The file as a whole: a key that is missing at its top level.
    TopLevel,
    /// A place in the file, both counted from 1, the column in characters.
    Line {
        /// Line of the key, or of its table where the key is not in the file.
        line: usize,
        /// Column, given for syntax errors alone.
        column: Option<usize>,
    },
    /// A default: neither the key nor its table is in the file.
    Default,
    /// The option `--set` with this text.
    Set(String),
    /// A config that was made in code.
    Made,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::TopLevel => f.write_str("top level"),
            Place::Line { line, column: None } => write!(f, "line {line}"),
            Place::Line {
                line,
                column: Some(column),
            } => write!(f, "line {line} column {column}"),
            Place::Default => f.write_str("default"),
            Place::Set(option) => write!(f, "--set {option}"),
            Place::Made => f.write_str("config"),
        }
    }
}

fn list(name: &str, problems: &[Problem]) -> String {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let mut text = format!("{name}: {} problem{plural}", problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
