//! SentencePiece's table of characters in a `tokenizer.json` (`precompiled_charsmap`): whether a search
//! in it always ends. The search itself is crate `spm_precompiled`'s, which trusts the table.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// Units that the search may look at behind each node: one for each byte.
const BYTES: usize = 256;

/// Whether all tables of characters in a normalizer can be searched for any text.
pub(super) fn check(normalizer: &Value) -> Result<(), String> {
    let parts = normalizer.get("normalizers").and_then(Value::as_array);
    parts.into_iter().flatten().try_for_each(check)?;
    if normalizer.get("type").and_then(Value::as_str) != Some("Precompiled") {
        return Ok(());
    }
    let table = normalizer.get("precompiled_charsmap");
    let fault = |e: &str| format!("its precompiled_charsmap {e}");
    let table = table
        .and_then(Value::as_str)
        .ok_or_else(|| fault("is no text"))?;
    let bytes = BASE64_STANDARD.decode(table);
    let bytes = bytes.map_err(|e| fault(&format!("is not base64 ({e})")))?;
    check_table(&bytes).map_err(|e| fault(&e))
}

/// A table: the trie's size in bytes, the trie in units of four bytes (a double array as Darts writes
/// it), and the texts that its leaves point at, each ended by a zero.
fn check_table(bytes: &[u8]) -> Result<(), String> {
    let cut = || "is cut off".to_owned();
    let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let units = u32::from_le_bytes(*size) as usize / 4;
    let (trie, texts) = rest.split_at_checked(units * 4).ok_or_else(cut)?;
    let texts = std::str::from_utf8(texts).map_err(|e| format!("has texts in no UTF-8 ({e})"))?;
    let trie: Vec<u32> = trie
        .chunks_exact(4)
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]))
        .collect();
    if trie.is_empty() {
        return Err("has no trie".to_owned());
    }
    // Every node that some text leads to. A place is looked at once, so circles end as well.
    let mut seen = vec![false; trie.len()];
    let mut waiting = vec![children(trie[0], 0)];
    while let Some(first) = waiting.pop() {
        for byte in 1..BYTES {
            let place = first ^ byte;
            let unit = *trie
                .get(place)
                .ok_or_else(|| format!("points at unit {place} of {}", trie.len()))?;
            if unit & (1 << 31 | 0xff) != byte as u32 || std::mem::replace(&mut seen[place], true) {
                continue;
            }
            let behind = children(unit, place);
            if unit >> 8 & 1 == 1 {
                let leaf = trie.get(behind);
                let leaf = leaf.ok_or_else(|| format!("points at unit {behind}"))?;
                let text = (leaf & !(1 << 31)) as usize;
                if !texts.is_char_boundary(text) {
                    return Err(format!("points at byte {text} of its texts"));
                }
            }
            waiting.push(behind);
        }
    }
    Ok(())
}

/// Place of the child for byte 0 of a unit at `place`; those of the others differ in their last bits.
fn children(unit: u32, place: usize) -> usize {
    place ^ ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that writes `a` as `b`.
    fn table() -> Vec<u32> {
        let mut trie = vec![0u32; 512];
        trie[0] = 256 << 10; // the root's children from 256 on
        trie[256 ^ 0x61] = (0x61 ^ 0x01) << 10 | 1 << 8 | 0x61; // the leaf stands at 256 ^ 1
        trie[256 ^ 0x01] = 0;
        trie
    }

    fn bytes(trie: &[u32], texts: &[u8]) -> Vec<u8> {
        let mut bytes = (trie.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(texts);
        bytes
    }

    #[test]
    fn a_table_is_searched_as_the_library_does() {
        let whole = bytes(&table(), b"b\0");
        assert_eq!(check_table(&whole), Ok(()));
        let table = spm(&whole);
        assert_eq!(table.normalize_string("cab"), "cbb");
    }

    fn spm(bytes: &[u8]) -> tokenizers::normalizers::Precompiled {
        let json = serde_json::json!({
            "type": "Precompiled",
            "precompiled_charsmap": BASE64_STANDARD.encode(bytes),
        });
        serde_json::from_str(&json.to_string()).unwrap()
    }

    #[test]
    fn no_damaged_table_that_passes_makes_the_library_panic() {
        let mut passed = 0;
        let nodes = [0, 256 ^ 0x61, 256 ^ 0x01, 300];
        for (place, bit) in nodes
            .iter()
            .flat_map(|at| (0..32).map(move |bit| (*at, bit)))
        {
            let mut trie = table();
            trie[place] ^= 1 << bit;
            let damaged = bytes(&trie, "bé\0".as_bytes());
            if check_table(&damaged).is_ok() {
                passed += 1;
                let text: String = ('\u{1}'..'\u{ff}').collect();
                spm(&damaged).normalize_string(&text);
            }
        }
        assert!(passed > 20 && passed < 120, "{passed} of 128");
    }
}
