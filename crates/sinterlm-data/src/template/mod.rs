//! Chat templates: from messages to the text that a model was trained on, and to tokens with the
//! span of each turn. Templates are Jinja, which `jinja` runs; where they are found is in `finding`.

mod date;
mod fields;
mod finding;
mod guard;
mod jinja;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use fields::{Json, JsonMap};
pub(crate) use guard::Rendered;
use jinja::{Marked, Program};

use crate::{DataError, Tokenizer};

/// A model without a template of its own reads this: roles on lines of their own, in plain words.
const PLAIN: &str = "\
{%- for message in messages -%}
{{ message.role | capitalize }}: {{ message.content | trim }}
{% endfor -%}
{%- if add_generation_prompt -%}
Assistant:
{%- endif -%}
";

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
    /// Further fields that the template reads, such as `tool_calls`, in their order.
    #[serde(flatten)]
    pub extra: JsonMap,
}

impl ChatMessage {
    /// A message without further fields.
    pub fn new(role: &str, content: &str) -> Self {
        Self {
            role: role.to_owned(),
            content: content.to_owned(),
            ..Self::default()
        }
    }

    /// What a template sees of the message. Thoughts are called `reasoning_content` and, for older
    /// templates, `thinking`, whatever the conversation calls them: so does `transformers`.
    fn fields(&self) -> Json {
        let names = ["reasoning_content", "thinking", "reasoning"];
        let thoughts = names.into_iter().filter_map(|name| self.extra.get(name));
        let thoughts = thoughts
            .into_iter()
            .find(|value| **value != Json::Null)
            .cloned();
        let mut fields = JsonMap::default();
        if let Some(thoughts) = &thoughts {
            fields.insert("thinking", thoughts.clone());
        }
        fields.insert("role", &*self.role);
        fields.insert("content", &*self.content);
        for (name, value) in self.extra.iter() {
            fields.insert(name, value.clone());
        }
        if let Some(thoughts) = thoughts {
            fields.insert("reasoning_content", thoughts);
        }
        fields.into()
    }
}

/// A Hugging Face chat template.
///
/// # Example
/// ```
/// use sinterlm_data::{ChatMessage, ChatTemplate};
///
/// let source = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'].strip() }}{% endfor %}";
/// let template = ChatTemplate::new("example", source)?;
/// let text = template.render(&[ChatMessage::new("user", " Hi! ")], true)?;
/// assert_eq!(text, "<user>Hi!");
/// # Ok::<(), sinterlm_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    program: Arc<Program>,
    name: String,
    source: String,
    unix_seconds: Option<u64>,
    /// What a template reads beside the messages: `bos_token`, `eos_token`, `tools` and the like.
    /// `tools` and `documents` are none where they are not given, as in `transformers`.
    pub variables: BTreeMap<String, Json>,
}

/// A conversation as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedChat {
    /// The rendered text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The part of each message.
    pub turns: Vec<Turn>,
}

/// Where a message stands in a rendered conversation.
///
/// An assistant's turn is what the model has to write: it begins behind the generation prompt and
/// goes up to the next turn, marks that end it included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The message's role.
    pub role: String,
    /// Bytes of the text.
    pub bytes: Range<usize>,
    /// Tokens that start in them.
    pub tokens: Range<usize>,
}

impl ChatTemplate {
    /// Reads a template; `name` is what errors call it.
    ///
    /// # Errors
    /// [`DataError::Template`] where it is no Jinja template.
    pub fn new(name: &str, source: &str) -> Result<Self, DataError> {
        let program = Program::parse(source).map_err(|e| fault(name, e))?;
        Ok(Self {
            program: Arc::new(program),
            name: name.to_owned(),
            source: source.to_owned(),
            unix_seconds: None,
            variables: BTreeMap::new(),
        })
    }

    /// The format for models without a template: each message on a line behind its role.
    pub fn plain() -> Self {
        Self::new("plain", PLAIN).expect("the built-in template is rendered by a test")
    }

    /// Lets the template ask for the date, with `strftime_now`; `unix_seconds` is taken as UTC.
    #[must_use]
    pub fn with_date(mut self, unix_seconds: u64) -> Self {
        self.unix_seconds = Some(unix_seconds);
        self
    }

    /// What errors call the template.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation; `generation_prompt` adds the prompt for the model's answer.
    ///
    /// # Errors
    /// [`DataError::Template`] with the line where the template fails or refuses the conversation.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        generation_prompt: bool,
    ) -> Result<String, DataError> {
        Ok(self.render_marked(messages, generation_prompt)?.text)
    }

    /// Whether the template marks what the model writes, by `{% generation %}`.
    pub fn has_marks(&self) -> bool {
        self.program.has_marks
    }

    fn render_marked(
        &self,
        messages: &[ChatMessage],
        generation_prompt: bool,
    ) -> Result<Marked, DataError> {
        let messages = Json::List(messages.iter().map(ChatMessage::fields).collect());
        let absent = [("tools", Json::Null), ("documents", Json::Null)];
        let own = self.variables.iter();
        let own = own.map(|(name, value)| (&**name, value.clone()));
        let variables = absent.into_iter().chain(own).chain([
            ("messages", messages),
            ("add_generation_prompt", generation_prompt.into()),
        ]);
        let text = self.program.render(variables, self.unix_seconds);
        text.map_err(|e| fault(&self.name, e))
    }

    /// The tokens of a conversation, to be read by a model.
    ///
    /// Special tokens come from the template alone: their names in a message are encoded as the
    /// characters that they consist of.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn ids(
        &self,
        messages: &[ChatMessage],
        generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, DataError> {
        let rendered = self.render_guarded(messages, generation_prompt, tokenizer)?;
        let tokens = tokenizer.encode_with_special_outside(&rendered.text, &rendered.ordinary);
        Ok(tokens.into_iter().map(|(id, _)| id).collect())
    }

    /// The tokens of a conversation, as [`ids`](Self::ids), with the span of each turn.
    ///
    /// Turns are found by rendering the messages up to each one.
    ///
    /// # Errors
    /// As [`render`](Self::render), and where a message changes how earlier ones are written, as in
    /// Qwen3's template, which drops the thoughts of earlier answers.
    pub fn encode(
        &self,
        messages: &[ChatMessage],
        generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<EncodedChat, DataError> {
        let rendered = self.render_guarded(messages, generation_prompt, tokenizer)?;
        let tokens = tokenizer.encode_with_special_outside(&rendered.text, &rendered.ordinary);
        let token_at = |byte: usize| tokens.partition_point(|(_, start)| *start < byte);
        let mut turns = Vec::with_capacity(messages.len());
        let mut begin = 0;
        for (at, message) in messages.iter().enumerate() {
            if message.role == "assistant" {
                let prompt = self.render_guarded(&messages[..at], true, tokenizer);
                begin = self.beginning(&rendered, &prompt?, at)?;
            }
            let end = if at + 1 == messages.len() && !generation_prompt {
                rendered.text.len()
            } else {
                let until = self.render_guarded(&messages[..=at], false, tokenizer)?;
                self.beginning(&rendered, &until, at)?
            };
            turns.push(Turn {
                role: message.role.clone(),
                bytes: begin..end,
                tokens: token_at(begin)..token_at(end),
            });
            begin = end;
        }
        Ok(EncodedChat {
            text: rendered.text,
            ids: tokens.into_iter().map(|(id, _)| id).collect(),
            turns,
        })
    }

    /// The length of `part`, with which the whole text must begin.
    fn beginning(&self, whole: &Rendered, part: &Rendered, at: usize) -> Result<usize, DataError> {
        if whole.text.starts_with(&part.text) {
            return Ok(part.text.len());
        }
        Err(DataError::Template {
            name: self.name.clone(),
            line: 0,
            fault: format!("message {} changes how those before it are written", at + 1),
        })
    }
}

fn fault(name: &str, fault: jinja::Fault) -> DataError {
    DataError::Template {
        name: name.to_owned(),
        line: fault.line as usize,
        fault: fault.text,
    }
}
