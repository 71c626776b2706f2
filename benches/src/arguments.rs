//! The words after `cargo bench --`: names of benches, and options of the form `--name=value`.

/// Whether the names on the command line leave `id` in: none is given, or one is part of it.
pub fn is_selected(id: &str) -> bool {
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    names.is_empty() || names.iter().any(|name| id.contains(name.as_str()))
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
