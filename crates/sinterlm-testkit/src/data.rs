//! Where test files lie: fixtures in this crate, shared data outside the repository.

use std::path::PathBuf;

/// The path of a golden file of this crate, such as `gpt_tied.safetensors`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// The path of a shared test file below the folder named by `SINTERLM_TEST_DATA`, or `None` with a
/// line on stderr saying what is skipped, where the variable is unset.
///
/// # Panics
/// If the variable is set and the file is not there: a silent skip would hide it.
pub fn test_data(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("SINTERLM_TEST_DATA") else {
        eprintln!("skipped: needs {name}; set SINTERLM_TEST_DATA to the folder that holds it");
        return None;
    };
    let path = PathBuf::from(root).join(name);
    assert!(
        path.exists(),
        "{}: not found; mend SINTERLM_TEST_DATA or unset it",
        path.display()
    );
    Some(path)
}
