//! The first kilobyte of a store file: magic, checksum and what is known of the text, as JSON.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sinterlm_config::stable_hash;

/// Room for the header; ids start behind it.
pub(super) const HEADER_BYTES: usize = 1024;

const MAGIC: &[u8; 8] = b"SNTRTOK\n";
const VERSION: u32 = 1;
/// Magic, length of the JSON (u32, little-endian), SHA-256 of the JSON.
const JSON_START: usize = 8 + 4 + 32;

/// What is known of a tokenized text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreHeader {
    /// Version of the file format.
    pub version: u32,
    /// Bytes of one id on disk: 2 where the vocabulary allows, else 4.
    pub token_bytes: u8,
    /// Rows an embedding needs for these ids.
    pub vocab_size: u64,
    /// The id around documents.
    pub end_of_text: u32,
    /// Fingerprint of the tokenizer.
    pub tokenizer: String,
    /// Fingerprint of the text's source; empty in memory.
    pub source: String,
    /// Number of documents.
    pub documents: u64,
    /// Training documents left out because the validation text holds them too.
    pub dropped_documents: u64,
    /// Ids in the stream, one more than there are targets.
    pub tokens: u64,
    /// UTF-8 bytes of the trimmed documents, without anything between them.
    pub text_bytes: u64,
    /// GPT-2 tokens of the trimmed documents and one end-of-text each; counted for validation.
    pub gpt2_tokens: Option<u64>,
    /// Checksum of blocks spread over the ids.
    pub checksum: u64,
}

impl StoreHeader {
    pub(super) fn new(vocab_size: usize, end_of_text: u32, tokenizer: &str, source: &str) -> Self {
        Self {
            version: VERSION,
            token_bytes: if vocab_size <= 1 << 16 { 2 } else { 4 },
            vocab_size: vocab_size as u64,
            end_of_text,
            tokenizer: tokenizer.to_owned(),
            source: source.to_owned(),
            documents: 0,
            dropped_documents: 0,
            tokens: 1,
            text_bytes: 0,
            gpt2_tokens: None,
            checksum: 0,
        }
    }

    /// The header block of a file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("plain numbers and strings");
        let mut bytes = MAGIC.to_vec();
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(Sha256::digest(&json).iter());
        bytes.extend(json);
        assert!(
            bytes.len() <= HEADER_BYTES,
            "two fingerprints and ten numbers stay below 1 KiB"
        );
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    /// Reads the header of a file, or says what is wrong with it.
    pub(super) fn from_bytes(file: &[u8]) -> Result<Self, String> {
        if file.len() < HEADER_BYTES {
            return Err(format!(
                "is cut off within its header, after {} bytes",
                file.len()
            ));
        }
        if &file[..8] != MAGIC {
            return Err("is no token store".into());
        }
        let len = u32::from_le_bytes(file[8..12].try_into().expect("four bytes")) as usize;
        let json = file[JSON_START..HEADER_BYTES].get(..len);
        let json = json.filter(|json| Sha256::digest(json).as_slice() == &file[12..JSON_START]);
        let json = json.ok_or("its header does not match its checksum")?;
        let header: Self = serde_json::from_slice(json)
            .map_err(|e| format!("its header is of another version ({e})"))?;
        if header.version != VERSION || !matches!(header.token_bytes, 2 | 4) || header.tokens == 0 {
            return Err(format!(
                "its header is of version {}, not {VERSION}",
                header.version
            ));
        }
        Ok(header)
    }
}

/// A checksum that reads at most a mebibyte: all ids, or 256 blocks of 4 KiB at even distances
/// from the first to the last.
pub(super) fn checksum(ids: &[u8]) -> u64 {
    const BLOCKS: usize = 256;
    const BLOCK_BYTES: usize = 4096;
    if ids.len() <= BLOCKS * BLOCK_BYTES {
        return stable_hash(ids);
    }
    let last = ids.len() - BLOCK_BYTES;
    let hashes = (0..BLOCKS).flat_map(|block| {
        // In u128, since a product of a length and a block number can pass 64 bits.
        let start = (last as u128 * block as u128 / (BLOCKS - 1) as u128) as usize;
        stable_hash(&ids[start..start + BLOCK_BYTES]).to_le_bytes()
    });
    stable_hash(&hashes.collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_large_text_sees_its_ends_and_its_blocks() {
        let whole: Vec<u8> = (0..3_000_000_u32).map(|i| ((i * i) >> 7) as u8).collect();
        for place in [0, 5_000_000 / 255, 1_499_999, 2_999_999] {
            let mut damaged = whole.clone();
            damaged[place..(place + 8000).min(3_000_000)].fill(0xAB);
            assert_ne!(checksum(&whole), checksum(&damaged), "damage at {place}");
        }
        assert_ne!(checksum(&whole[..100]), checksum(&whole[..101]));
    }

    #[test]
    fn random_bytes_are_refused_without_a_panic() {
        let mut file = StoreHeader::new(300, 0, &"a".repeat(64), &"b".repeat(64)).to_bytes();
        assert!(StoreHeader::from_bytes(&file).is_ok());
        for place in 0..200 {
            file[place] ^= 0xFF;
            assert!(StoreHeader::from_bytes(&file).is_err(), "byte {place}");
            file[place] ^= 0xFF;
        }
        assert!(StoreHeader::from_bytes(&[]).is_err());
    }
}
