//! GPT-2's tokenizer rebuilt from the token ranks that crate `tiktoken-rs` carries. They name the
//! tokens but not the merges; the merge of a token is how the tokens before it split it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::END_OF_TEXT;

/// Tokens below `<|endoftext|>`: 256 bytes and 50,000 merges.
const RANKED: u32 = 50_256;

/// A Hugging Face `tokenizer.json` of GPT-2, like the one published with the model.
pub(super) fn tokenizer_json() -> String {
    let ranks = tiktoken_rs::r50k_base_singleton();
    let tokens: Vec<Vec<u8>> = (0..RANKED)
        .map(|rank| {
            ranks
                .decode_bytes(&[rank])
                .expect("r50k ranks 0 to 50255 without a gap")
        })
        .collect();
    let symbols = byte_symbols();
    let spell = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|&b| symbols[b as usize])
            .collect::<String>()
    };
    let mut vocab: Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(rank, token)| (spell(token), rank.into()))
        .collect();
    vocab.insert(END_OF_TEXT.into(), RANKED.into());
    let merges: Vec<[String; 2]> = merges(&tokens).map(|(l, r)| [spell(l), spell(r)]).collect();
    let byte_level = |add_prefix_space: bool, trim_offsets: bool| {
        json!({ "type": "ByteLevel", "add_prefix_space": add_prefix_space,
                "trim_offsets": trim_offsets, "use_regex": true })
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{ "id": RANKED, "content": END_OF_TEXT, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true }],
        "normalizer": null,
        "pre_tokenizer": byte_level(false, true),
        "post_processor": byte_level(true, false),
        "decoder": byte_level(true, true),
        "model": { "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges },
    })
    .to_string()
}

/// The two parts each token of several bytes was merged from, in the order of the merges.
fn merges(tokens: &[Vec<u8>]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let ranks: HashMap<&[u8], usize> = tokens
        .iter()
        .enumerate()
        .map(|(rank, token)| (token.as_slice(), rank))
        .collect();
    tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.len() > 1)
        .map(move |(rank, token)| {
            // Byte-pair encoding with the earlier tokens only; `cuts` are the parts' ends.
            let mut cuts: Vec<usize> = (0..=token.len()).collect();
            while cuts.len() > 3 {
                let best = (0..cuts.len() - 2)
                    .filter_map(|i| ranks.get(&token[cuts[i]..cuts[i + 2]]).map(|&r| (r, i)))
                    .filter(|&(r, _)| r < rank)
                    .min();
                let (_, i) =
                    best.expect("a merged token has two parts, both of them earlier tokens");
                cuts.remove(i + 1);
            }
            token.split_at(cuts[1])
        })
}

/// The printable character that stands for each byte in GPT-2's files: printable Latin-1 for
/// itself, the other bytes in order from U+0100 on.
pub(super) fn byte_symbols() -> [char; 256] {
    let mut symbols = ['\0'; 256];
    let mut next = 0x100_u32;
    for byte in 0..=255_u8 {
        symbols[byte as usize] = match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => {
                next += 1;
                char::from_u32(next - 1).expect("U+0100 to U+0143 are characters")
            }
        };
    }
    symbols
}
