//! Git LFS pointers: the few lines that a repository holds in place of a large file. Whoever opens a
//! file of others refuses them here, before their text is read as weights or trained on.

use std::path::Path;

use crate::FormatError;

/// How a pointer begins, by its specification and by that of the tool's first name.
const STARTS: [&[u8]; 2] = [
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
];
/// A pointer is shorter, by the specification
/// (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).
const MAX_BYTES: usize = 1024;

/// Refuses a file that is a Git LFS pointer; `start` is the whole file, or at least its first 1,024
/// bytes.
///
/// # Errors
/// [`FormatError::LfsPointer`].
pub fn refuse_lfs_pointer(path: &Path, start: &[u8]) -> Result<(), FormatError> {
    let names_object = || start.windows(5).any(|window| window == b"\noid ");
    let begins = STARTS.iter().any(|known| start.starts_with(known));
    if start.len() < MAX_BYTES && begins && names_object() {
        return Err(FormatError::LfsPointer {
            path: path.to_path_buf(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: &str =
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";

    fn is_refused(text: &str) -> bool {
        refuse_lfs_pointer(Path::new("x"), text.as_bytes()).is_err()
    }

    #[test]
    fn a_pointer_is_told_from_a_text_about_pointers() {
        assert!(is_refused(POINTER));
        let about = format!("{POINTER}{}", "A pointer looks like this. ".repeat(50));
        assert!(!is_refused(&about), "longer than any pointer");
        assert!(!is_refused(
            "version https://git-lfs.github.com/spec/v1 is the first line\n"
        ));
        assert!(!is_refused(&format!("Once upon a time: {POINTER}")));
    }
}
