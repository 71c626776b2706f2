//! SHA-256 of files, for manifests and provenance.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::FormatError;

/// The SHA-256 of a file in lower-case hex, read in pieces so that no file is too large.
///
/// # Errors
/// [`FormatError::Io`] if the file cannot be opened or read.
pub fn sha256_file(path: impl AsRef<Path>) -> Result<String, FormatError> {
    let path = path.as_ref();
    let mut file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FormatError::io(path, "read", e)),
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_digest_of_the_standards_example() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(
            sha256_file(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn names_a_file_that_is_not_there() {
        let error = sha256_file("no/such/file").unwrap_err().to_string();
        assert!(error.starts_with("no/such/file: cannot open"), "{error}");
    }
}
