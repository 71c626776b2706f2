//! Text from stdin.

use std::io::Read;

use anyhow::{Context, Result, anyhow};

/// All of stdin.
///
/// # Errors
/// Where it cannot be read or is no text.
pub fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("stdin")?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        anyhow!("stdin: byte {offset} is not UTF-8; give the text as UTF-8 or by --prompt")
    })
}
