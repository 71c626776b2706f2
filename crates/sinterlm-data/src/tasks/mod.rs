//! Built-in sets for fine-tuning, made from a seed without any file: instructions with closed-form
//! answers (`instructions`), short messages of two classes (`messages`) and pairs of answers
//! (`preferences`).

mod families;
mod formats;
mod instructions;
mod message_clauses;
mod messages;
mod operations;
mod preferences;
mod talk;
mod words;

pub use instructions::{InstructionTasks, TaskSplit, majority_answers};
pub use messages::SpamMessages;
pub use preferences::PreferenceTasks;

/// A question with its one right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    instruction: String,
    input: String,
    output: String,
}

impl Question {
    /// What is asked about: the input, or the instruction of a question without one.
    fn content(&self) -> &str {
        if self.input.is_empty() {
            &self.instruction
        } else {
            &self.input
        }
    }
}
