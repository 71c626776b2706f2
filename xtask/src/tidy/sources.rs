//! Rules for one Rust file: its first line, its size, and the words that only some crates may use.

use std::path::Path;

use super::paths::{crate_of, slashed};
use super::rust_text::{code_only, is_word};

/// A file that is longer is no longer read in one sitting.
const MAX_LINES: usize = 600;

/// The only crate that looks at the backend.
const BACKEND_CRATE: &str = "sinterlm-kernels";

/// The crates with unsafe code: vector kernels, and the one memory map.
const UNSAFE_CRATES: &[&str] = &["sinterlm-kernels", "sinterlm-formats"];

pub(super) fn faults(path: &Path, source: &str) -> Vec<String> {
    let name = slashed(path);
    let mut faults = Vec::new();
    let opens = source.starts_with("//!") || source.starts_with("#![doc = include_str!(");
    if !opens {
        faults.push(format!(
            "{name}:1: open the file with a `//!` line: what it holds, what not"
        ));
    }
    let lines = source.lines().count();
    if lines > MAX_LINES {
        faults.push(format!(
            "{name}: {lines} lines; split it by concept below {MAX_LINES}"
        ));
    }
    let crate_name = crate_of(path).unwrap_or_default();
    for (number, line) in code_only(source).lines().enumerate() {
        for word in line
            .split(|c: char| !is_word(c))
            .filter(|word| !word.is_empty())
        {
            let fault = if names_a_backend(word) && crate_name != BACKEND_CRATE {
                format!("`{word}`: only {BACKEND_CRATE} looks at the backend")
            } else if word == "unsafe" && !UNSAFE_CRATES.contains(&crate_name.as_str()) {
                format!("`unsafe` is for {} alone", UNSAFE_CRATES.join(" and "))
            } else {
                continue;
            };
            faults.push(format!("{name}:{}: {fault}", number + 1));
        }
    }
    faults
}

/// burn's backend types and those built on their names, such as `FlexTensor` or `DispatchDevice`.
fn names_a_backend(word: &str) -> bool {
    ["Flex", "Dispatch"].iter().any(|type_name| {
        let rest = word.strip_prefix(type_name);
        rest.is_some_and(|rest| rest.chars().next().is_none_or(char::is_uppercase))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, source: &str) -> Vec<String> {
        faults(Path::new(path), source)
    }

    #[test]
    fn a_file_that_follows_the_rules_passes() {
        let source = "//! Holds x.\n// Flex and unsafe in a comment\nlet flexible = Flexible;\n";
        assert!(found("crates/sinterlm-model/src/x.rs", source).is_empty());
    }

    #[test]
    fn a_file_must_open_with_its_purpose() {
        assert!(found("x.rs", "use std::fs;\n")[0].starts_with("x.rs:1: open"));
        assert!(found("x.rs", "#![doc = include_str!(\"../README.md\")]\n").is_empty());
    }

    #[test]
    fn a_file_over_600_lines_is_too_long() {
        assert!(found("x.rs", &format!("//! x\n{}", "\n".repeat(599))).is_empty());
        assert!(found("x.rs", &format!("//! x\n{}", "\n".repeat(600)))[0].contains("601 lines"));
    }

    #[test]
    fn backend_types_belong_to_the_kernels() {
        for word in ["Flex", "FlexTensor", "Dispatch", "DispatchDevice"] {
            let source = format!("//! x\n\ntype T = {word};\n");
            let faults = found("crates/sinterlm-model/src/x.rs", &source);
            assert!(
                faults[0].starts_with("crates/sinterlm-model/src/x.rs:3"),
                "{faults:?}"
            );
            assert!(found("crates/sinterlm-kernels/src/x.rs", &source).is_empty());
        }
    }

    #[test]
    fn unsafe_code_belongs_to_kernels_and_formats() {
        let source = "//! x\nunsafe { f() }\n#![deny(unsafe_code)]\n";
        assert_eq!(found("crates/sinterlm-run/src/x.rs", source).len(), 1);
        assert_eq!(found("examples/examples/x.rs", source).len(), 1);
        assert!(found("crates/sinterlm-formats/src/x.rs", source).is_empty());
    }
}
