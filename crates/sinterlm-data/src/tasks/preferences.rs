//! Prompts with a better and a worse answer, made of the instructions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, KeyRng, Seed, Stream, Validate, stable_hash};

use super::instructions::other_answer;
use super::words::pick;
use super::{InstructionTasks, TaskSplit};
use crate::{Body, ChatMessage, Origin, Record};

/// Name of the set in the origins of its records.
const NAME: &str = "preferences";

/// Rude answers.
const RUDE: &[&str] = &[
    "Go away.",
    "I do not care.",
    "Leave me alone.",
    "What do you want now?",
    "Ask someone else.",
    "You are boring.",
    "Do it yourself.",
    "Not you again.",
];

/// Pairs of answers to the questions of [`InstructionTasks`], with its splits and tasks.
///
/// The better answer is the right one. The worse one is a right answer to another question of the
/// family; for greetings and harmless requests it is rude, and for harmful requests it agrees to
/// help. The prompt is one message of `user`: the instruction and, after an empty line, the input.
///
/// ```
/// use sinterlm_data::{PreferenceTasks, TaskSplit};
/// let tasks = PreferenceTasks { count: 50, seed: 1 };
/// assert_eq!(tasks.records(TaskSplit::Train).len(), 50);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreferenceTasks {
    /// Number of training records. The other splits have fixed sizes.
    #[schemars(range(min = 1))]
    pub count: u64,
    /// Seed of the records; the questions are those of [`InstructionTasks`] of this seed.
    pub seed: u64,
}

impl Default for PreferenceTasks {
    fn default() -> Self {
        Self {
            count: 10_000,
            seed: 1,
        }
    }
}

impl Validate for PreferenceTasks {
    fn validate(&self, check: &mut Check) {
        check.require(self.count > 0, "count", || {
            "is 0; ask for at least one training record, such as 10000".into()
        });
    }
}

impl PreferenceTasks {
    /// The records of `split` in their order; each has its family as task.
    pub fn records(&self, split: TaskSplit) -> Vec<Record> {
        let (count, seed) = (self.count, self.seed);
        let questions = InstructionTasks { count, seed }.records(split);
        let site = stable_hash(NAME.as_bytes());
        let pair = |(number, record): (u64, Record)| {
            let key = Seed(seed).key(Stream::Records, number, split as u64, site);
            paired(&mut KeyRng::new(key), record, number)
        };
        (0..).zip(questions).filter_map(pair).collect()
    }
}

/// The question of `record` with a worse answer beside its own; none for a body of another kind.
fn paired(rng: &mut KeyRng, record: Record, number: u64) -> Option<Record> {
    let Body::Instruction {
        instruction,
        input,
        output: chosen,
    } = record.body
    else {
        return None;
    };
    let task = record.task.as_deref()?;
    let rejected = match task {
        "greet" | "help" => (*pick(rng, RUDE)).to_owned(),
        "refuse" => "Yes, I will help you with that.".to_owned(),
        _ => other_answer(rng, task, &chosen)?,
    };
    let content = if input.is_empty() {
        instruction
    } else {
        format!("{instruction}\n\n{input}")
    };
    let body = Body::Preference {
        prompt: vec![ChatMessage::new("user", &content)],
        chosen,
        rejected,
    };
    Some(Record {
        body,
        origin: Origin::Made { name: NAME, number },
        ..record
    })
}
