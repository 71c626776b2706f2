//! What no text file may hold: paths of one person's machine, and crates from elsewhere.

use std::path::Path;

use super::paths::slashed;
use super::rust_text::is_word;

/// Roots of folders that exist on one machine only. Split, so that this file passes its own rule.
const LOCAL_FOLDERS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
];

const CRATES_IO: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

pub(super) fn faults(path: &Path, text: &str) -> Vec<String> {
    let name = slashed(path);
    let is_lock_file = name.ends_with("Cargo.lock");
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for folder in LOCAL_FOLDERS
            .iter()
            .filter(|folder| has_folder(line, folder))
        {
            faults.push(format!(
                "{name}:{}: names a folder of one machine, {folder}...; make it relative",
                number + 1
            ));
        }
        if is_lock_file && line.starts_with("source = ") && line != CRATES_IO {
            faults.push(format!("{name}:{}: not from crates.io: {line}", number + 1));
        }
    }
    faults
}

/// Whether an absolute path into `folder` stands in the line; `x/home/y` and URLs are none.
fn has_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| is_word(c) || matches!(c, '.' | '-' | '}' | '~' | '/' | '*'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_local_paths_are_found() {
        let text = format!("fine\ncd {}me/x\n", concat!("/", "ho"));
        let faults = faults(Path::new("docs/x.md"), &text);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("docs/x.md:2"));
    }

    #[test]
    fn relative_paths_and_urls_pass() {
        let text = concat!(
            "frame",
            "/ho",
            "me/x ~",
            "/ho",
            "me/ https://example.org/ho",
            "me/x\n"
        );
        assert!(faults(Path::new("x.md"), text).is_empty());
    }

    #[test]
    fn crates_from_other_registries_are_found() {
        let text = format!("{CRATES_IO}\nsource = \"registry+https://example.org/index\"\n");
        assert_eq!(faults(Path::new("Cargo.lock"), &text).len(), 1);
    }
}
