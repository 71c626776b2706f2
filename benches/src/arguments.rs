//! The words after `cargo bench --`: names of benches, and options of the form `--name=value`.

/// Whether the names on the command line leave `id` in: none is given, or one is part of it.
pub fn is_selected(id: &str) -> bool {
    names().next().is_none() || is_named(id)
}

/// Whether a name on the command line is part of `id`: for what is too long to be run unasked.
pub fn is_named(id: &str) -> bool {
    names().any(|name| id.contains(name.as_str()))
}

fn names() -> impl Iterator<Item = String> {
    std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
}

/// The value of `--name=value`; empty for a bare `--name`.
pub fn option(name: &str) -> Option<String> {
    std::env::args().skip(1).find_map(|word| {
        let rest = word.strip_prefix("--")?.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None => rest.is_empty().then(String::new),
        }
    })
}
