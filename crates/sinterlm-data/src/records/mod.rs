//! Records: what fine-tuning and alignment learn from, in one form whatever file they came from.
//! Reading them from files belongs to `read`, cleaning to `hygiene`, tokens to `rows`.

mod body;
mod chat;
mod columns;
mod config;
mod fingerprint;
mod forms;
mod options;
#[cfg(feature = "parquet")]
mod parquet;
mod read;
mod row_fault;
mod rows;
mod sets;
mod table;
mod texts;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::{ChatMessage, RecordPlace};
pub use config::{
    BadRecords, FieldNames, LabelColumn, RecordForm, RecordsConfig, RecordsSource, SetConfig,
    TableHeader,
};
pub(crate) use fingerprint::content_key;
pub use fingerprint::records_hash;
pub use options::RecordOptions;
pub use read::{RecordSet, read_records};
pub use sets::{LoadedSet, load_records};
pub use texts::{TextRecord, read_texts, read_texts_from};

/// One example of a supervised or preference data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What is learnt.
    pub body: Body,
    /// The task that it belongs to, by which figures are given apart; none where the set names none.
    pub task: Option<Arc<str>>,
    /// Weight of its tokens in the loss, 1 by default.
    pub weight: f32,
    /// Where it came from.
    pub origin: Origin,
}

/// The content of a [`Record`].
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// An instruction with its answer (Stanford Alpaca's fields).
    Instruction {
        /// What is asked.
        instruction: String,
        /// What the instruction is about; empty where it stands alone.
        input: String,
        /// The answer.
        output: String,
    },
    /// A text and how it continues, without roles.
    Completion {
        /// The beginning.
        prompt: String,
        /// What is learnt.
        completion: String,
    },
    /// A conversation: any roles, one answer of `assistant` or more.
    Chat {
        /// The messages in their order.
        messages: Vec<ChatMessage>,
    },
    /// A text with its class.
    Labelled {
        /// The text.
        text: String,
        /// Name of the class.
        label: Arc<str>,
    },
    /// A prompt with a better and a worse answer.
    Preference {
        /// The conversation up to the answers.
        prompt: Vec<ChatMessage>,
        /// The better answer.
        chosen: String,
        /// The worse one.
        rejected: String,
    },
}

/// Where a record came from; shown as `file.json: record 3 (line 17)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A place in a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The place.
        place: RecordPlace,
    },
    /// Made by a generator of that name, with the record's number.
    Made {
        /// The generator.
        name: &'static str,
        /// Number of the record, from 0.
        number: u64,
    },
}

impl Record {
    /// A record of weight 1 without a task.
    pub fn new(body: Body, origin: Origin) -> Self {
        Self {
            body,
            task: None,
            weight: 1.0,
            origin,
        }
    }

    /// All texts of the record, in reading order: what is asked first, answers last. A label is no text.
    pub fn texts(&self) -> Vec<&str> {
        match &self.body {
            Body::Instruction {
                instruction,
                input,
                output,
            } => vec![instruction, input, output],
            Body::Completion { prompt, completion } => vec![prompt, completion],
            Body::Chat { messages } => messages.iter().map(|m| &*m.content).collect(),
            Body::Labelled { text, .. } => vec![text],
            Body::Preference {
                prompt,
                chosen,
                rejected,
            } => {
                let prompt = prompt.iter().map(|m| &*m.content);
                prompt.chain([&**chosen, &**rejected]).collect()
            }
        }
    }

    /// The texts of [`texts`](Self::texts), to be changed.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        match &mut self.body {
            Body::Instruction {
                instruction,
                input,
                output,
            } => vec![instruction, input, output],
            Body::Completion { prompt, completion } => vec![prompt, completion],
            Body::Chat { messages } => messages.iter_mut().map(|m| &mut m.content).collect(),
            Body::Labelled { text, .. } => vec![text],
            Body::Preference {
                prompt,
                chosen,
                rejected,
            } => {
                let prompt = prompt.iter_mut().map(|m| &mut m.content);
                prompt.chain([chosen, rejected]).collect()
            }
        }
    }

    /// The last answer: of a preference record the better one. None for labelled texts, and for a
    /// conversation that ends with a question.
    pub fn answer(&self) -> Option<&str> {
        match &self.body {
            Body::Instruction { output, .. } => Some(output),
            Body::Completion { completion, .. } => Some(completion),
            Body::Chat { messages } => {
                let last = messages.last().filter(|last| last.role == "assistant");
                last.map(|last| &*last.content)
            }
            Body::Preference { chosen, .. } => Some(chosen),
            Body::Labelled { .. } => None,
        }
    }

    /// What the last answer is to, in words; a labelled text itself.
    pub fn question(&self) -> String {
        let last = |messages: &[ChatMessage]| {
            let asked = messages
                .iter()
                .rev()
                .find(|message| message.role != "assistant");
            asked.map_or_else(String::new, |asked| asked.content.clone())
        };
        match &self.body {
            Body::Instruction {
                instruction, input, ..
            } if !input.trim().is_empty() => format!("{instruction}\n\n{input}"),
            Body::Instruction { instruction, .. } => instruction.clone(),
            Body::Completion { prompt, .. } => prompt.clone(),
            Body::Chat { messages } => last(messages),
            Body::Preference { prompt, .. } => last(prompt),
            Body::Labelled { text, .. } => text.clone(),
        }
    }

    /// The class of a labelled text; none for other records.
    pub fn label(&self) -> Option<&str> {
        match &self.body {
            Body::Labelled { label, .. } => Some(label),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, place } => write!(f, "{}: {place}", path.display()),
            Self::Made { name, number } => write!(f, "{name}: record {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_their_places_for_change_agree() {
        let made = |number| Origin::Made {
            name: "test",
            number,
        };
        let hi = ChatMessage::new("user", "hi");
        let bodies = [
            Body::Instruction {
                instruction: "a".into(),
                input: "b".into(),
                output: "c".into(),
            },
            Body::Completion {
                prompt: "a".into(),
                completion: "b".into(),
            },
            Body::Chat {
                messages: vec![hi.clone(), ChatMessage::new("assistant", "yes")],
            },
            Body::Labelled {
                text: "a".into(),
                label: "spam".into(),
            },
            Body::Preference {
                prompt: vec![hi],
                chosen: "a".into(),
                rejected: "b".into(),
            },
        ];
        for (number, body) in bodies.into_iter().enumerate() {
            let mut record = Record::new(body, made(number as u64));
            let texts: Vec<String> = record.texts().into_iter().map(str::to_owned).collect();
            let changed: Vec<String> = record.texts_mut().into_iter().map(|t| t.clone()).collect();
            assert_eq!(texts, changed, "{}", record.origin);
        }
    }
}
