//! What a row of a file teaches: the body of a record in each form. Conversations are read by `chat`.

use std::collections::HashSet;
use std::sync::Arc;

use super::Body;
use super::chat::{dialogue, is_answer, message, messages};
use super::columns::{Fault, Field, Row, wrong_type};
use crate::{ChatMessage, Json, RecordForm};

/// The names of labels and tasks, each kept once however many records have it.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(super) fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

/// The body of a record of a form.
pub(super) fn body(form: RecordForm, row: &mut Row<'_>, names: &mut Names) -> Result<Body, Fault> {
    match form {
        RecordForm::Auto => unreachable!("the form is known before records are read"),
        RecordForm::Alpaca => alpaca(row),
        RecordForm::Completion => Ok(Body::Completion {
            prompt: row.text(Field::Prompt)?,
            completion: row.filled(Field::Completion)?,
        }),
        RecordForm::Messages | RecordForm::ShareGpt => chat(row),
        RecordForm::Labelled => Ok(Body::Labelled {
            text: row.filled(Field::Text)?,
            label: names.get(&name_in(row, Field::Label)?),
        }),
        RecordForm::Preference => preference(row),
    }
}

/// A name that may be written as a string, a number or a truth value.
pub(super) fn name_in(row: &mut Row<'_>, field: Field) -> Result<String, Fault> {
    let Some((name, value)) = row.take(field) else {
        return Err(row.missing(field));
    };
    let text = match value {
        Json::Text(text) => text.trim().to_owned(),
        Json::Int(number) => number.to_string(),
        Json::Float(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        other => return Err(wrong_type(name, &other, "a name, a number or a boolean")),
    };
    if text.is_empty() {
        return Err(format!("field `{name}` is empty"));
    }
    Ok(text)
}

fn alpaca(row: &mut Row<'_>) -> Result<Body, Fault> {
    let system = row.optional_text(Field::System)?;
    let history = history(row)?;
    let instruction = row.text(Field::Instruction)?;
    let input = row.optional_text(Field::Input)?;
    if instruction.trim().is_empty() && input.trim().is_empty() {
        return Err("neither an instruction nor an input".to_owned());
    }
    let output = row.filled(Field::Output)?;
    if system.is_empty() && history.is_empty() {
        return Ok(Body::Instruction {
            instruction,
            input,
            output,
        });
    }
    let mut messages = asked(system, history, instruction, &input);
    messages.push(ChatMessage::new("assistant", &output));
    Ok(Body::Chat { messages })
}

/// A conversation up to an answer. An empty line parts an instruction from its input, as where prompts
/// are read to be answered.
fn asked(
    system: String,
    history: Vec<ChatMessage>,
    mut instruction: String,
    input: &str,
) -> Vec<ChatMessage> {
    let mut messages = Vec::with_capacity(history.len() + 3);
    if !system.is_empty() {
        messages.push(ChatMessage::new("system", &system));
    }
    messages.extend(history);
    if !input.is_empty() {
        if !instruction.is_empty() {
            instruction.push_str("\n\n");
        }
        instruction.push_str(input);
    }
    messages.push(ChatMessage::new("user", &instruction));
    messages
}

/// Earlier rounds of a conversation: pairs of question and answer.
fn history(row: &mut Row<'_>) -> Result<Vec<ChatMessage>, Fault> {
    let Some((name, value)) = row.take(Field::History) else {
        return Ok(Vec::new());
    };
    let Json::List(rounds) = value else {
        // A table has no lists; an empty cell is no history.
        return match value {
            Json::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
            other => Err(wrong_type(name, &other, "a list of pairs")),
        };
    };
    let mut messages = Vec::with_capacity(2 * rounds.len());
    for (number, round) in rounds.iter().enumerate() {
        let pair = match round {
            Json::List(pair) => &pair[..],
            _ => &[],
        };
        let [Json::Text(question), Json::Text(answer)] = pair else {
            return Err(format!("`{name}.{number}` is not a pair of strings"));
        };
        messages.push(ChatMessage::new("user", question));
        messages.push(ChatMessage::new("assistant", answer));
    }
    Ok(messages)
}

fn chat(row: &mut Row<'_>) -> Result<Body, Fault> {
    let system = row.optional_text(Field::System)?;
    let Some((name, value)) = row.take(Field::Messages) else {
        return Err(row.missing(Field::Messages));
    };
    let mut messages = messages(name, value)?;
    if !messages.iter().any(is_answer) {
        return Err(format!(
            "`{name}` has no answer, no message of `assistant` with a text"
        ));
    }
    if !system.is_empty() {
        messages.insert(0, ChatMessage::new("system", &system));
    }
    Ok(Body::Chat { messages })
}

/// What stands in `chosen` or `rejected`.
enum Side {
    Answer(String),
    /// A conversation that ends with the answer.
    Whole(Vec<ChatMessage>),
}

fn preference(row: &mut Row<'_>) -> Result<Body, Fault> {
    let (chosen, rejected) = sides(row)?;
    let system = row.optional_text(Field::System)?;
    let (mut prompt, chosen, rejected) = match (chosen, rejected) {
        (Side::Answer(chosen), Side::Answer(rejected)) => (prompt(row)?, chosen, rejected),
        (Side::Whole(chosen), Side::Whole(rejected)) => parted(chosen, rejected)?,
        _ => return Err("one answer stands alone, the other ends a conversation".to_owned()),
    };
    for (name, answer) in [("better", &chosen), ("worse", &rejected)] {
        if answer.trim().is_empty() {
            return Err(format!("the {name} answer is empty"));
        }
    }
    if !system.is_empty() {
        prompt.insert(0, ChatMessage::new("system", &system));
    }
    Ok(Body::Preference {
        prompt,
        chosen,
        rejected,
    })
}

/// The better and the worse answer of a record.
fn sides(row: &mut Row<'_>) -> Result<(Side, Side), Fault> {
    if row.has(Field::Response0) && row.has(Field::Response1) {
        let answers = (row.text(Field::Response0)?, row.text(Field::Response1)?);
        let answers = (Side::Answer(answers.0), Side::Answer(answers.1));
        let Some((name, id)) = row.take(Field::Preferred) else {
            return Err(row.missing(Field::Preferred));
        };
        return match &id {
            Json::Int(0) | Json::Bool(false) => Ok(answers),
            Json::Int(1) | Json::Bool(true) => Ok((answers.1, answers.0)),
            Json::Text(text) if text == "0" => Ok(answers),
            Json::Text(text) if text == "1" => Ok((answers.1, answers.0)),
            _ => Err(format!("field `{name}` is neither 0 nor 1")),
        };
    }
    if let Some((name, pair)) = row.take(Field::Completion)
        && !row.has(Field::Chosen)
    {
        // The better answer comes first.
        return match pair {
            Json::List(pair) => match <[Json; 2]>::try_from(pair) {
                Ok([chosen, rejected]) => Ok((side(name, chosen)?, side(name, rejected)?)),
                Err(list) => Err(format!("`{name}` has {} answers, not two", list.len())),
            },
            _ => Err(row.missing(Field::Chosen)),
        };
    }
    let mut one = |field| match row.take(field) {
        Some((name, value)) => side(name, value),
        None => Err(row.missing(field)),
    };
    Ok((one(Field::Chosen)?, one(Field::Rejected)?))
}

fn side(name: &str, value: Json) -> Result<Side, Fault> {
    match value {
        Json::Text(text) => Ok(match dialogue(&text) {
            Some(turns) => Side::Whole(turns),
            None => Side::Answer(text),
        }),
        Json::Map(map) => Ok(Side::Answer(message(name, map)?.content)),
        list @ Json::List(_) => {
            let mut turns = messages(name, list)?;
            match turns.len() {
                1 => Ok(Side::Answer(turns.remove(0).content)),
                _ => Ok(Side::Whole(turns)),
            }
        }
        other => Err(wrong_type(name, &other, "an answer")),
    }
}

/// The conversation before two answers.
fn prompt(row: &mut Row<'_>) -> Result<Vec<ChatMessage>, Fault> {
    let prompt = match (row.take(Field::Prompt), row.take(Field::Messages)) {
        (Some((_, Json::Text(text))), _) => match dialogue(&text) {
            Some(mut turns) => {
                // The mark behind which the answer stands.
                turns.pop_if(|last| last.role == "assistant" && last.content.is_empty());
                turns
            }
            None => vec![ChatMessage::new("user", &text)],
        },
        (Some((name, list)), _) | (None, Some((name, list))) => messages(name, list)?,
        (None, None) if row.has(Field::Instruction) => {
            let history = history(row)?;
            let instruction = row.text(Field::Instruction)?;
            let input = row.optional_text(Field::Input)?;
            asked(String::new(), history, instruction, &input)
        }
        (None, None) => return Err(row.missing(Field::Prompt)),
    };
    if prompt
        .iter()
        .all(|message| message.content.trim().is_empty())
    {
        return Err("the prompt is empty".to_owned());
    }
    Ok(prompt)
}

/// Two conversations that differ in their last message alone: what they share, and the two answers.
fn parted(
    mut chosen: Vec<ChatMessage>,
    mut rejected: Vec<ChatMessage>,
) -> Result<(Vec<ChatMessage>, String, String), Fault> {
    let (Some(better), Some(worse)) = (chosen.pop(), rejected.pop()) else {
        return Err("a conversation is empty".to_owned());
    };
    if chosen != rejected {
        return Err("the two conversations part before their last messages".to_owned());
    }
    if chosen.is_empty() {
        return Err("the conversations hold no prompt".to_owned());
    }
    if better.role != "assistant" || worse.role != "assistant" {
        return Err("a conversation does not end with an answer of `assistant`".to_owned());
    }
    Ok((chosen, better.content, worse.content))
}
