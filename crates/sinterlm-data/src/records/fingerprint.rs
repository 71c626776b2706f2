//! The identity of records, whatever file they came from.

use sha2::{Digest, Sha256};

use super::{Body, Record};
use crate::ChatMessage;
use crate::source::hex;

/// The identity of records: equal fingerprints mean equal records in equal order.
///
/// SHA-256, in hexadecimal, of bodies, tasks and weights. Where a record came from does not count, so
/// that moved, renamed, recompressed and converted files keep theirs.
pub fn record_fingerprint(records: &[Record]) -> String {
    let mut hash = Hash(Sha256::new());
    hash.text("sinterlm records 1");
    for record in records {
        hash.record(record);
    }
    hex(&hash.0.finalize())
}

struct Hash(Sha256);

impl Hash {
    /// A text behind its length, so that no two lists of texts are the same bytes.
    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    fn record(&mut self, record: &Record) {
        match &record.body {
            Body::Instruction {
                instruction,
                input,
                output,
            } => {
                self.0.update([0]);
                self.text(instruction);
                self.text(input);
                self.text(output);
            }
            Body::Completion { prompt, completion } => {
                self.0.update([1]);
                self.text(prompt);
                self.text(completion);
            }
            Body::Chat { messages } => {
                self.0.update([2]);
                self.messages(messages);
            }
            Body::Labelled { text, label } => {
                self.0.update([3]);
                self.text(text);
                self.text(label);
            }
            Body::Preference {
                prompt,
                chosen,
                rejected,
            } => {
                self.0.update([4]);
                self.messages(prompt);
                self.text(chosen);
                self.text(rejected);
            }
        }
        self.0.update([u8::from(record.task.is_some())]);
        self.text(record.task.as_deref().unwrap_or_default());
        self.0.update(record.weight.to_le_bytes());
    }

    fn messages(&mut self, messages: &[ChatMessage]) {
        self.0.update((messages.len() as u64).to_le_bytes());
        for message in messages {
            self.text(&message.role);
            self.text(&message.content);
            let extra = serde_json::to_string(&message.extra);
            self.text(&extra.expect("JSON read from a file can be written"));
        }
    }
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
            record_fingerprint(&records)
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
