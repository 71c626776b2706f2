//! What a server says about a file before it is downloaded, and the hashes that may name one.

/// The facts of a file, as the server states them.
#[derive(Debug)]
pub(super) struct Announced {
    /// Commit of the revision asked for.
    pub(super) commit: String,
    /// SHA-256 (64 digits) or Git's blob hash (40 digits), checked to be one of both.
    pub(super) etag: String,
    /// Size of the file in bytes.
    pub(super) size_bytes: u64,
}

/// Whether a text is a full commit hash of Git.
pub(super) fn is_commit(text: &str) -> bool {
    is_hex(text, 40)
}

/// Whether a text is `digits` lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
