//! Writes records for a model and tokenises them: the prompt as generation does, the answer apart.
//! Chat templates are in `chat`, forms of fixed text in `fixed`.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::config::PromptTemplate;
use super::fixed::{FixedForm, Prompt};
use super::rendered::{Field, RenderedRow};
use crate::{Body, ChatMessage, ChatTemplate, DataError, Record, Tokenizer};

/// Turns records into prompts for generation and into rows for training, in one form.
///
/// # Example
/// ```
/// use sinterlm_data::{Body, Origin, PromptTemplate, Prompter, Record, Tokenizer};
///
/// let tokenizer = Tokenizer::gpt2();
/// let prompter = Prompter::new(&PromptTemplate::PlainInstruction, &tokenizer, None, &[])?;
/// let body = Body::Instruction {
///     instruction: "Name a color.".into(),
///     input: String::new(),
///     output: "Red".into(),
/// };
/// let prompt = prompter.prompt_ids(&body)?;
/// assert_eq!(tokenizer.decode(&prompt), "Instruction: Name a color.\nResponse:");
///
/// let record = Record::new(body, Origin::Made { name: "example", number: 0 });
/// let rows = prompter.render(&record)?;
/// assert!(rows[0].ids.starts_with(&prompt));
/// assert_eq!(tokenizer.decode(&rows[0].ids[prompt.len()..]), " Red<|endoftext|>");
/// # Ok::<(), sinterlm_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Prompter {
    pub(super) tokenizer: Tokenizer,
    form: Form,
    begin: Vec<u32>,
    /// Whether the parts of a prompt are told apart by role and field.
    pub(super) by_part: bool,
    pub(super) roles: Roles,
}

#[derive(Clone, Debug)]
enum Form {
    Fixed(FixedForm),
    Chat(ChatTemplate),
}

/// Names of roles, made once.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    pub(super) prompt: Arc<str>,
    pub(super) assistant: Arc<str>,
    user: Arc<str>,
    text: Arc<str>,
}

/// What is asked, and the answer where there is one.
struct Asked<'a> {
    instruction: Cow<'a, str>,
    input: &'a str,
    answer: Option<&'a str>,
    is_fields: bool,
}

impl Prompter {
    /// The built form of a template.
    ///
    /// `chat` is the model's own template, which [`PromptTemplate::Chat`] asks for. `begin` is what
    /// stands before a text that this model reads: the end of the text before for models of ours, the
    /// begin-of-text token or nothing for others. Chat templates write it themselves.
    ///
    /// # Errors
    /// [`DataError::NoChatTemplate`] where `chat` is missing.
    pub fn new(
        template: &PromptTemplate,
        tokenizer: &Tokenizer,
        chat: Option<&ChatTemplate>,
        begin: &[u32],
    ) -> Result<Self, DataError> {
        let form = match (FixedForm::new(template), chat) {
            (Some(fixed), _) => Form::Fixed(fixed),
            (None, Some(chat)) => Form::Chat(chat.clone()),
            (None, None) => return Err(DataError::NoChatTemplate),
        };
        Ok(Self {
            tokenizer: tokenizer.clone(),
            form,
            begin: begin.to_vec(),
            by_part: false,
            roles: Roles {
                prompt: "prompt".into(),
                assistant: "assistant".into(),
                user: "user".into(),
                text: "text".into(),
            },
        })
    }

    /// Tells the parts of a prompt apart by role and field, which takes time: a chat template renders
    /// each message by itself.
    #[must_use]
    pub fn with_parts(mut self) -> Self {
        self.by_part = true;
        self
    }

    /// The tokens that a model reads to write the record's last answer, which is not looked at; of
    /// a text with a class, its tokens.
    ///
    /// # Errors
    /// [`DataError::Template`] and [`DataError::Rendering`] where the form refuses the record.
    pub fn prompt_ids(&self, body: &Body) -> Result<Vec<u32>, DataError> {
        match (body, &self.form) {
            (Body::Completion { prompt: text, .. } | Body::Labelled { text, .. }, _) => {
                Ok(self.beginning(self.tokenizer.encode(text)))
            }
            (_, Form::Chat(template)) => {
                let messages = messages(body);
                let last = messages.last().is_some_and(is_answer);
                let asked = &messages[..messages.len() - usize::from(last)];
                template.ids(asked, true, &self.tokenizer)
            }
            (_, Form::Fixed(form)) => {
                let mut asked = asked(form, body)?;
                if let Some(last) = asked.last_mut() {
                    last.answer = None;
                }
                Ok(self.fixed_row(form, &asked).ids)
            }
        }
    }

    /// The rows of a record: one, or one for each answer of a conversation whose template writes
    /// earlier messages in another way once later ones follow. A preference record is written with
    /// its better answer, a text with a class without the class.
    ///
    /// Each answer's tokens stand behind exactly those that [`prompt_ids`](Self::prompt_ids) gives
    /// for the record up to there.
    ///
    /// # Errors
    /// [`DataError::Template`] and [`DataError::Rendering`] where the form refuses the record,
    /// [`DataError::NoMarkedAnswer`] where a template has marks and marks nothing of it.
    pub fn render(&self, record: &Record) -> Result<Vec<RenderedRow>, DataError> {
        match (&record.body, &self.form) {
            (Body::Labelled { text, .. }, _) => {
                let mut row = RenderedRow {
                    text: text.clone(),
                    ..RenderedRow::default()
                };
                let ids = self.beginning(self.tokenizer.encode(text));
                row.push(ids, &self.roles.text, None, None);
                Ok(vec![row])
            }
            (Body::Completion { prompt, completion }, _) => {
                let mut row = RenderedRow {
                    text: prompt.clone(),
                    ..RenderedRow::default()
                };
                let ids = self.beginning(self.tokenizer.encode(prompt));
                row.push(ids, &self.roles.prompt, None, None);
                let whole = 0..completion.len();
                self.push_answer(&mut row, completion, &[whole], None, 0);
                Ok(vec![row])
            }
            (body, Form::Chat(template)) => self.chat_rows(template, &messages(body)),
            (body, Form::Fixed(form)) => {
                let mut asked = asked(form, body)?;
                // A conversation may end with a question, which nothing is learnt from.
                while asked.last().is_some_and(|last| last.answer.is_none()) {
                    asked.pop();
                }
                if asked.is_empty() {
                    return Err(refused(form, "holds no answer of the assistant"));
                }
                Ok(vec![self.fixed_row(form, &asked)])
            }
        }
    }

    fn fixed_row(&self, form: &FixedForm, asked: &[Asked<'_>]) -> RenderedRow {
        let mut row = RenderedRow::default();
        for (number, turn) in asked.iter().enumerate() {
            let mut prompt = form.prompt(&turn.instruction, turn.input);
            if number > 0 {
                let shift = form.separator.len();
                prompt.text.insert_str(0, &form.separator);
                for (range, _) in &mut prompt.fields {
                    *range = range.start + shift..range.end + shift;
                }
            }
            self.push_prompt(&mut row, &prompt, turn.is_fields);
            if let Some(answer) = turn.answer {
                let text = [&form.answer_start, answer].concat();
                let own = form.answer_start.len()..text.len();
                let field = turn.is_fields.then_some(Field::Output);
                self.push_answer(&mut row, &text, &[own], field, number);
            }
        }
        row
    }

    fn push_prompt(&self, row: &mut RenderedRow, prompt: &Prompt, is_fields: bool) {
        let ordinary: Vec<Range<usize>> = prompt.fields.iter().map(|(at, _)| at.clone()).collect();
        let text = prompt.text.as_str();
        let before = row.ids.last().copied();
        row.text.push_str(text);
        if !self.by_part {
            let ids = self.tokenizer.ids_behind(before, text, &ordinary);
            let ids = if before.is_none() {
                self.beginning(ids)
            } else {
                ids
            };
            row.push(ids, &self.roles.user, None, None);
            return;
        }
        let tokens = if before.is_some() {
            self.tokenizer.encode_behind(before, text, &ordinary)
        } else {
            let tokens = self.tokenizer.encode_with_special_outside(text, &ordinary);
            let ids = tokens.iter().map(|(id, _)| *id).collect();
            let begin = self.beginning(ids).len() - tokens.len();
            let begin = self.begin.iter().copied().take(begin);
            row.push(begin, &self.roles.user, None, None);
            tokens
        };
        for (id, start) in tokens {
            let mut fields = prompt.fields.iter().filter(|_| is_fields);
            let field = fields.find(|(at, _)| at.contains(&start));
            let field = field.map(|(_, field)| *field);
            row.push([id], &self.roles.user, field, None);
        }
    }

    fn push_answer(
        &self,
        row: &mut RenderedRow,
        text: &str,
        ordinary: &[Range<usize>],
        field: Option<Field>,
        number: usize,
    ) {
        let before = row.ids.last().copied();
        let mut ids = self.tokenizer.ids_behind(before, text, ordinary);
        ids.push(self.tokenizer.end_of_text());
        row.text.push_str(text);
        row.push(ids, &self.roles.assistant, field, Some(number));
    }

    /// A text's tokens behind what stands before a text, which is there at most once.
    fn beginning(&self, ids: Vec<u32>) -> Vec<u32> {
        if self.begin.is_empty() || (!ids.is_empty() && self.begin.last() == ids.first()) {
            return ids;
        }
        [self.begin.as_slice(), &ids].concat()
    }
}

/// Whether a message is the model's.
pub(super) fn is_answer(message: &ChatMessage) -> bool {
    message.role == "assistant"
}

/// A body as a conversation.
fn messages(body: &Body) -> Cow<'_, [ChatMessage]> {
    let answered = |before: &[ChatMessage], answer: &str| {
        let mut all = before.to_vec();
        all.push(ChatMessage::new("assistant", answer));
        Cow::Owned(all)
    };
    match body {
        Body::Chat { messages } => Cow::Borrowed(messages),
        Body::Instruction {
            instruction,
            input,
            output,
        } => {
            let asked = if input.trim().is_empty() {
                instruction.clone()
            } else {
                format!("{instruction}\n\n{input}")
            };
            answered(&[ChatMessage::new("user", &asked)], output)
        }
        Body::Preference { prompt, chosen, .. } => answered(prompt, chosen),
        Body::Completion { prompt, completion } => {
            answered(&[ChatMessage::new("user", prompt)], completion)
        }
        Body::Labelled { text, .. } => Cow::Owned(vec![ChatMessage::new("user", text)]),
    }
}

/// A body as instructions: what stands before an answer, of whichever roles, is one instruction.
fn asked<'a>(form: &FixedForm, body: &'a Body) -> Result<Vec<Asked<'a>>, DataError> {
    let (messages, better) = match body {
        Body::Instruction {
            instruction,
            input,
            output,
        } => {
            return Ok(vec![Asked {
                instruction: Cow::Borrowed(instruction),
                input,
                answer: Some(output),
                is_fields: true,
            }]);
        }
        Body::Chat { messages } => (messages.as_slice(), None),
        Body::Preference { prompt, chosen, .. } => (prompt.as_slice(), Some(chosen.as_str())),
        Body::Completion { .. } | Body::Labelled { .. } => (&[][..], None),
    };
    let mut turns: Vec<Asked<'a>> = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    let mut end = |said: &mut Vec<&str>, answer: Option<&'a str>| {
        if said.is_empty() {
            return Err(refused(
                form,
                "has an answer that nothing was asked before; start conversations with the user, or use the chat form",
            ));
        }
        turns.push(Asked {
            instruction: Cow::Owned(said.join("\n\n")),
            input: "",
            answer,
            is_fields: false,
        });
        said.clear();
        Ok(())
    };
    for message in messages {
        if is_answer(message) {
            end(&mut said, Some(&message.content))?;
        } else {
            said.push(&message.content);
        }
    }
    if better.is_some() || !said.is_empty() {
        end(&mut said, better)?;
    }
    Ok(turns)
}

fn refused(form: &FixedForm, fault: &str) -> DataError {
    DataError::Rendering {
        form: form.name.to_owned(),
        fault: fault.to_owned(),
    }
}
