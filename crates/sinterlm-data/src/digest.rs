//! SHA-256 in hex, for fingerprints and cache keys.

use sha2::{Digest, Sha256};

use crate::source::hex;

/// SHA-256 of `bytes`, 64 hex digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
