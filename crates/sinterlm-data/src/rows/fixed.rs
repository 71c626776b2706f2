//! Forms with two places, `{instruction}` and `{input}`: Alpaca's and the like.

use std::ops::Range;

use super::config::{INPUT, INSTRUCTION, PromptTemplate};
use super::rendered::Field;

/// `PROMPT_DICT` of tatsu-lab/stanford_alpaca, train.py.
const ALPACA_WITH: &str = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:";
const ALPACA_WITHOUT: &str = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:";
const PLAIN_WITH: &str = "Instruction: {instruction}\nInput: {input}\nResponse:";
const PLAIN_WITHOUT: &str = "Instruction: {instruction}\nResponse:";
const ROLES_WITH: &str = "<|user|>\n{instruction}\n\n{input}\n<|assistant|>\n";
const ROLES_WITHOUT: &str = "<|user|>\n{instruction}\n<|assistant|>\n";

/// A form that is read.
#[derive(Clone, Debug)]
pub(super) struct FixedForm {
    pub(super) name: &'static str,
    with_input: Vec<Part>,
    without_input: Vec<Part>,
    /// What each answer begins with.
    pub(super) answer_start: String,
    /// What stands between an answer's end and the next prompt.
    pub(super) separator: String,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Place(Field),
}

/// A prompt with the places of a record's texts in it.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) fields: Vec<(Range<usize>, Field)>,
}

impl FixedForm {
    /// The form of a config; none for chat templates.
    pub(super) fn new(template: &PromptTemplate) -> Option<Self> {
        let made = |name, with: &str, without: &str, separator: &str| Self {
            name,
            with_input: parts(with),
            without_input: parts(without),
            answer_start: template.answer_start().to_owned(),
            separator: separator.to_owned(),
        };
        Some(match template {
            PromptTemplate::Alpaca => made("alpaca", ALPACA_WITH, ALPACA_WITHOUT, ""),
            PromptTemplate::PlainInstruction => {
                made("plain_instruction", PLAIN_WITH, PLAIN_WITHOUT, "")
            }
            PromptTemplate::Roles => made("roles", ROLES_WITH, ROLES_WITHOUT, "\n"),
            PromptTemplate::Chat => return None,
            PromptTemplate::Own {
                with_input,
                without_input,
                separator,
                ..
            } => made("own", with_input, without_input, separator),
        })
    }

    /// The prompt of an instruction.
    pub(super) fn prompt(&self, instruction: &str, input: &str) -> Prompt {
        let mut prompt = Prompt::default();
        let parts = if input.trim().is_empty() {
            &self.without_input
        } else {
            &self.with_input
        };
        for part in parts {
            match part {
                Part::Text(text) => prompt.text.push_str(text),
                Part::Place(field) => {
                    let begin = prompt.text.len();
                    let is_input = *field == Field::Input;
                    prompt
                        .text
                        .push_str(if is_input { input } else { instruction });
                    prompt.fields.push((begin..prompt.text.len(), *field));
                }
            }
        }
        prompt
    }
}

fn parts(mut text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    loop {
        let places = [(INSTRUCTION, Field::Instruction), (INPUT, Field::Input)];
        let found = places.map(|(place, field)| text.find(place).map(|at| (at, place, field)));
        let Some((at, place, field)) = found.into_iter().flatten().min_by_key(|found| found.0)
        else {
            parts.push(Part::Text(text.to_owned()));
            return parts;
        };
        parts.push(Part::Text(text[..at].to_owned()));
        parts.push(Part::Place(field));
        text = &text[at + place.len()..];
    }
}
