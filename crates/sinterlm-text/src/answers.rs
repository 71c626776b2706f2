//! Answers to the prompts of a file, batch by batch.

use serde::Serialize;
use sinterlm_data::{Body, PromptTemplate};
use sinterlm_model::{CausalLm, Finish, Overflow};

use crate::continuing::Continuing;
use crate::conversation::PLAIN_STOPS;
use crate::error::TextError;
use crate::prompt_records::{PromptRecord, PromptRecords};
use crate::text_model::TextModel;

/// Prompts that are answered before the first of them are handed out. Many times as many as are read
/// side by side, so that few steps have an empty place.
const BATCH: usize = 256;

/// What a model wrote after a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The prompt in words: a text as it was given, or the last message of a conversation.
    pub prompt: String,
    /// What the model wrote.
    pub text: String,
    /// Whether it ended the text itself, and was not cut off.
    pub ended_by_eos: bool,
    /// Number of tokens that it wrote, one that ended the text among them.
    #[serde(skip)]
    pub tokens: usize,
}

impl TextModel {
    /// Answers the prompts in their order and hands out each answer.
    ///
    /// Each is read as [`ask`](Self::ask) tells; what a form begins every answer with is left out of the
    /// text. Where a model has neither a form nor a template and a file holds a conversation, the
    /// beginning of the user's next line ends every answer, too. `unix_seconds` is the time that a
    /// template is told.
    ///
    /// # Errors
    /// [`TextError::Template`] for a faulty template; [`TextError::Record`] for a prompt that the template refuses or that does not fit into the
    /// context under [`Overflow::Error`], before anything is generated; then as
    /// [`Continuing::texts`].
    pub fn answer(
        &self,
        prompts: &PromptRecords,
        continuing: &Continuing<'_>,
        unix_seconds: u64,
        mut on_answer: impl FnMut(Answer),
    ) -> Result<(), TextError> {
        let template = self.chat_template()?.cloned();
        let template = template.map(|own| own.with_date(unix_seconds));
        let mut ids = Vec::with_capacity(prompts.records.len());
        for record in &prompts.records {
            let read = self.ask_by(template.as_ref(), &record.body);
            let read = read.map_err(|error| fault(prompts, record, error.to_string()))?;
            let context = self.model.max_seq_len();
            if continuing.config.overflow == Overflow::Error && read.len() > context {
                let tokens = read.len();
                let what = format!(
                    "{tokens} tokens do not fit into the model's context of {context}; shorten the \
                     prompt, or let the context slide"
                );
                return Err(fault(prompts, record, what));
            }
            ids.push(read);
        }
        let mut continuing = continuing.clone();
        let is_chat = |record: &PromptRecord| matches!(record.body, Body::Chat { .. });
        let is_plain = template.is_none() && self.form.is_none();
        if is_plain && prompts.records.iter().any(is_chat) {
            continuing.stops.extend(PLAIN_STOPS.map(str::to_owned));
        }
        for (records, ids) in prompts.records.chunks(BATCH).zip(ids.chunks(BATCH)) {
            let mut texts = vec![String::new(); records.len()];
            let done = continuing.texts(&self.model, ids.to_vec(), |row, piece| {
                texts[row].push_str(piece);
            })?;
            continuing.first_number += records.len() as u64;
            for ((record, text), generated) in records.iter().zip(texts).zip(done) {
                on_answer(Answer {
                    prompt: record.text().into_owned(),
                    text: self.without_start(&record.body, text),
                    ended_by_eos: generated.finish == Finish::Stop,
                    tokens: generated.tokens.len(),
                });
            }
        }
        Ok(())
    }

    /// An answer without what its form begins every answer with.
    fn without_start(&self, body: &Body, text: String) -> String {
        let start = self.form.as_ref().map_or("", PromptTemplate::answer_start);
        match (body, text.strip_prefix(start)) {
            // The text behind a prompt is trained as it is.
            (Body::Completion { .. }, _) | (_, None) => text,
            (_, Some(answer)) => answer.to_owned(),
        }
    }
}

fn fault(prompts: &PromptRecords, record: &PromptRecord, fault: String) -> TextError {
    let field = match record.body {
        Body::Chat { .. } => "messages",
        _ => "prompt",
    };
    TextError::Record {
        path: prompts.path.clone(),
        place: record.place,
        field: field.to_owned(),
        fault,
    }
}
