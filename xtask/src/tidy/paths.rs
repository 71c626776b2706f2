//! Paths as rules and messages spell them.

use std::path::Path;

/// Path with forward slashes on every system.
pub(super) fn slashed(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// The package folder below `crates/` that a file lies in, such as `sinterlm-kernels`.
pub(super) fn crate_of(path: &Path) -> Option<String> {
    let mut parts = path.strip_prefix("crates").ok()?.components();
    Some(parts.next()?.as_os_str().to_string_lossy().into_owned())
}
