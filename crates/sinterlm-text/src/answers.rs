//! Answers to the prompts of a file, batch by batch.

use serde::Serialize;
use sinterlm_data::{ChatTemplate, DataError};
use sinterlm_model::{CausalLm, Finish, Overflow};

use crate::continuing::Continuing;
use crate::conversation::PLAIN_STOPS;
use crate::error::TextError;
use crate::prompt_records::{PromptForm, PromptRecord, PromptRecords};
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
    /// A model with a chat template reads each prompt through it, a text as a message of the user.
    /// Without one, a text is continued, and a conversation is written as roles and lines; where a
    /// file holds such a conversation, the beginning of the user's next line ends every answer, too.
    /// `unix_seconds` is the time that a template is told.
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
            let read = self.ids_of(&record.form, template.as_ref());
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
        let is_chat = |record: &PromptRecord| matches!(record.form, PromptForm::Messages(_));
        if template.is_none() && prompts.records.iter().any(is_chat) {
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
                    prompt: record.form.text().to_owned(),
                    text,
                    ended_by_eos: generated.finish == Finish::Stop,
                    tokens: generated.tokens.len(),
                });
            }
        }
        Ok(())
    }

    fn ids_of(
        &self,
        form: &PromptForm,
        template: Option<&ChatTemplate>,
    ) -> Result<Vec<u32>, DataError> {
        match (template, form) {
            (Some(template), form) => template.ids(&form.messages(), true, &self.tokenizer),
            (None, PromptForm::Text(text)) => Ok(self.prompt(text)),
            (None, PromptForm::Messages(all)) => {
                ChatTemplate::plain().ids(all, true, &self.tokenizer)
            }
        }
    }
}

fn fault(prompts: &PromptRecords, record: &PromptRecord, fault: String) -> TextError {
    let field = match record.form {
        PromptForm::Text(_) => "prompt",
        PromptForm::Messages(_) => "messages",
    };
    TextError::Record {
        path: prompts.path.clone(),
        place: record.place,
        field: field.to_owned(),
        fault,
    }
}
