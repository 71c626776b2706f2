//! The identity of records, whatever file they came from.

use sha2::{Digest, Sha256};
use sinterlm_config::stable_hash;

use super::{Body, Record};
use crate::ChatMessage;
use crate::source::hex;

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
pub(crate) fn content_key(record: &Record) -> u64 {
    let mut bytes = Vec::new();
    write(record, &mut bytes);
    stable_hash(&bytes)
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
    out.push(u8::from(record.task.is_some()));
    text(out, record.task.as_deref().unwrap_or_default());
    out.extend(record.weight.to_bits().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    fn record(prompt: &str, completion: &str, number: u64) -> Record {
        let (prompt, completion) = (prompt.to_owned(), completion.to_owned());
        let name = "test";
        Record::new(
            Body::Completion { prompt, completion },
            Origin::Made { name, number },
        )
    }

    #[test]
    fn content_and_order_count_and_the_origin_does_not() {
        let of = |records: &[&Record]| {
            let records: Vec<Record> = records.iter().map(|&record| record.clone()).collect();
            records_hash(&records)
        };
        let (a, b) = (record("ab", "c", 0), record("a", "bc", 1));
        assert_eq!(of(&[&a]), of(&[&record("ab", "c", 7)]));
        assert_ne!(of(&[&a]), of(&[&b]));
        assert_ne!(of(&[&a, &b]), of(&[&b, &a]));
        let mut heavy = a.clone();
        heavy.weight = 2.0;
        let mut named = a.clone();
        named.task = Some("".into());
        assert_ne!(of(&[&a]), of(&[&heavy]));
        assert_ne!(of(&[&a]), of(&[&named]));
    }
}
