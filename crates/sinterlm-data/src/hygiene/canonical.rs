//! The identity of a record's content, wherever it came from.

use sha2::{Digest, Sha256};
use sinterlm_config::stable_hash;
use unicode_normalization::UnicodeNormalization;

use crate::source::hex;
use crate::{Body, ChatMessage, Record};

/// SHA-256, in hexadecimal, over the canonical form of `records` in their order: all that is learnt
/// (texts, roles, labels, tasks, weights), not where it came from.
///
/// # Example
/// ```
/// let none = sinterlm_data::records_hash(&[]);
/// assert_eq!(none.len(), 64);
/// ```
pub fn records_hash(records: &[Record]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"sinterlm records 1");
    let mut bytes = Vec::new();
    for record in records {
        bytes.clear();
        write(record, &mut bytes);
        hash.update(&bytes);
    }
    hex(&hash.finalize())
}

/// A 64-bit hash of the canonical form, for choices that must not depend on the order of files.
pub(super) fn content_key(record: &Record) -> u64 {
    let mut bytes = Vec::new();
    write(record, &mut bytes);
    stable_hash(&bytes)
}

/// NFKC, lower case, white space collapsed to one space, no control characters: texts of one such form
/// are called equal.
pub(super) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        if word.is_ascii() {
            let letters = word.chars().filter(|c| !c.is_control());
            folded.extend(letters.map(|c| c.to_ascii_lowercase()));
        } else {
            let letters = word.nfkc().filter(|c| !c.is_control());
            folded.extend(letters.flat_map(char::to_lowercase));
        }
    }
    folded
}

/// The folded texts of a record as one key; no folded text holds the NUL that divides two.
pub(super) fn text_key(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| folded(text)).collect();
    texts.join("\0")
}

fn write(record: &Record, out: &mut Vec<u8>) {
    let text = |out: &mut Vec<u8>, text: &str| {
        // The length in front keeps two texts apart from one of their joined content.
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let messages = |out: &mut Vec<u8>, messages: &[ChatMessage]| {
        out.extend((messages.len() as u64).to_le_bytes());
        for message in messages {
            text(out, &message.role);
            text(out, &message.content);
            let extra = serde_json::to_string(&message.extra);
            text(
                out,
                &extra.expect("JSON without foreign types can be written"),
            );
        }
    };
    match &record.body {
        Body::Instruction {
            instruction,
            input,
            output,
        } => {
            out.push(1);
            for part in [instruction, input, output] {
                text(out, part);
            }
        }
        Body::Completion { prompt, completion } => {
            out.push(2);
            text(out, prompt);
            text(out, completion);
        }
        Body::Chat { messages: chat } => {
            out.push(3);
            messages(out, chat);
        }
        Body::Labelled { text: own, label } => {
            out.push(4);
            text(out, own);
            text(out, label);
        }
        Body::Preference {
            prompt,
            chosen,
            rejected,
        } => {
            out.push(5);
            messages(out, prompt);
            text(out, chosen);
            text(out, rejected);
        }
    }
    text(out, record.task.as_deref().unwrap_or_default());
    out.extend(record.weight.to_bits().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    fn record(prompt: &str, completion: &str, number: u64) -> Record {
        let body = Body::Completion {
            prompt: prompt.into(),
            completion: completion.into(),
        };
        Record::new(
            body,
            Origin::Made {
                name: "test",
                number,
            },
        )
    }

    #[test]
    fn the_hash_sees_content_and_order_but_no_origin() {
        let (a, b) = (record("a", "b", 0), record("c", "d", 1));
        let hash = records_hash(&[a.clone(), b.clone()]);
        assert_eq!(hash, records_hash(&[record("a", "b", 7), b.clone()]));
        assert_ne!(hash, records_hash(&[b, a.clone()]));
        assert_ne!(
            records_hash(std::slice::from_ref(&a)),
            records_hash(&[record("ab", "", 0)])
        );
        let heavy = Record {
            weight: 2.0,
            ..a.clone()
        };
        assert_ne!(content_key(&a), content_key(&heavy));
    }

    #[test]
    fn folding_joins_what_a_reader_calls_equal() {
        assert_eq!(folded("  Ｆｕll\u{a0}MOON\n\n"), "full moon");
        assert_eq!(folded("Cafe\u{301}\0"), folded("CAFÉ"));
        assert_ne!(text_key(&["a", "b"]), text_key(&["a b", ""]));
    }
}
