//! Chat templates: from messages to the text that a model was trained on, and to tokens with the
//! span of each turn. Hugging Face's Jinja dialect is set up in `environment`.

mod date;
mod environment;
mod json;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use minijinja::{Environment, Value};
use serde::{Deserialize, Serialize};
use sinterlm_formats::{GgufFile, GgufMetadata, TensorSource, refuse_lfs_pointer};

use crate::{DataError, TextMarks, Tokenizer};

/// The template's key in the metadata of a GGUF file.
const GGUF_KEY: &str = "tokenizer.chat_template";

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
    /// Further fields that the template reads, such as `tool_calls`.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
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
    environment: Environment<'static>,
    name: String,
    source: String,
    /// What a template reads beside the messages: `bos_token`, `eos_token`, `tools` and the like.
    pub variables: BTreeMap<String, serde_json::Value>,
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

/// A rendered text, and the ranges of it that stand for special tokens' names in messages.
struct Rendered {
    text: String,
    ordinary: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Reads a template; `name` is what errors call it.
    ///
    /// # Errors
    /// [`DataError::Template`] where it is no Jinja template.
    pub fn new(name: &str, source: &str) -> Result<Self, DataError> {
        let environment = environment::with_template(source).map_err(|e| fault(name, &e))?;
        Ok(Self {
            environment,
            name: name.to_owned(),
            source: source.to_owned(),
            variables: BTreeMap::new(),
        })
    }

    /// The format for models without a template: each message on a line behind its role.
    pub fn plain() -> Self {
        Self::new("plain", PLAIN).expect("the built-in template is rendered by a test")
    }

    /// The template of a model folder: `chat_template.jinja`, else the entry `chat_template` of
    /// `tokenizer_config.json` (of several, the one named `default`), with that file's names of the
    /// marks. None where there is neither.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::Template`] where a file is there and unusable.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, DataError> {
        let path = folder.join("tokenizer_config.json");
        let config: serde_json::Value = match read(&path)? {
            Some(text) => serde_json::from_str(&text).map_err(|e| DataError::Template {
                name: path.display().to_string(),
                line: e.line(),
                fault: e.to_string(),
            })?,
            None => serde_json::Value::Null,
        };
        let own = folder.join("chat_template.jinja");
        let (name, source) = match read(&own)? {
            Some(source) => (own, source),
            None => match default_template(&config["chat_template"]) {
                Some(source) => (path, source.to_owned()),
                None => return Ok(None),
            },
        };
        let mut template = Self::new(&name.display().to_string(), &source)?;
        for mark in ["bos_token", "eos_token", "pad_token", "unk_token"] {
            let entry = &config[mark];
            let entry = entry.get("content").unwrap_or(entry);
            if let Some(text) = entry.as_str() {
                template.variables.insert(mark.to_owned(), text.into());
            }
        }
        Ok(Some(template))
    }

    /// The template in the metadata of a GGUF file, with the names of that file's marks; none where
    /// it has none.
    ///
    /// # Errors
    /// [`DataError::Format`] for a value of another type, [`DataError::Template`] where it is no
    /// Jinja template.
    pub fn from_gguf(file: &GgufFile) -> Result<Option<Self>, DataError> {
        let Some(field) = file.field(GGUF_KEY) else {
            return Ok(None);
        };
        let mut template = Self::new(&file.path().display().to_string(), field.text()?)?;
        let Some(tokens) = file.field("tokenizer.ggml.tokens") else {
            return Ok(Some(template));
        };
        let tokens = tokens.texts()?;
        let marks = TextMarks::from_gguf(file)?;
        for (mark, id) in [
            ("bos_token", marks.bos),
            ("eos_token", marks.eos),
            ("pad_token", marks.padding),
            ("unk_token", marks.unknown),
        ] {
            if let Some(text) = id.and_then(|id| tokens.get(id as usize)) {
                let text = text.as_str().into();
                template.variables.insert(mark.to_owned(), text);
            }
        }
        Ok(Some(template))
    }

    /// Adds the template to the metadata of a GGUF file.
    pub fn to_gguf(&self, metadata: &mut GgufMetadata) {
        metadata.insert(GGUF_KEY.to_owned(), self.source.as_str().into());
    }

    /// Lets the template ask for the date, with `strftime_now`; `unix_seconds` is taken as UTC.
    #[must_use]
    pub fn with_date(mut self, unix_seconds: u64) -> Self {
        let now = move |format: &str| date::format(unix_seconds, format);
        self.environment.add_function("strftime_now", now);
        self
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
        let mut variables = self.variables.clone();
        variables.insert("add_generation_prompt".into(), generation_prompt.into());
        let messages = Value::from_serialize(messages);
        let context = minijinja::context! { messages, ..Value::from_serialize(&variables) };
        let template = self.environment.get_template(environment::NAME);
        let text = template.and_then(|template| template.render(context));
        text.map_err(|e| fault(&self.name, &e))
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

    /// Renders with special tokens' names in messages replaced by placeholders, and puts them back.
    fn render_guarded(
        &self,
        messages: &[ChatMessage],
        generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<Rendered, DataError> {
        let names: Vec<&str> = tokenizer.special_names().collect();
        let holds = |message: &ChatMessage| names.iter().any(|name| message.content.contains(name));
        if !messages.iter().any(holds) {
            return Ok(Rendered {
                text: self.render(messages, generation_prompt)?,
                ordinary: Vec::new(),
            });
        }
        // Private-use characters that no message holds: a mark, the number, the mark.
        let used = |c: char| messages.iter().any(|message| message.content.contains(c));
        let mut private = ('\u{100000}'..='\u{10fffd}').filter(|c| !used(*c));
        let full = "a text does not hold 65,000 kinds of private-use characters";
        let mark = private.next().expect(full);
        let mut guarded = messages.to_vec();
        let mut stand_ins = Vec::new();
        for name in names {
            let stand_in = format!("{mark}{}{mark}", private.next().expect(full));
            for message in &mut guarded {
                message.content = message.content.replace(name, &stand_in);
            }
            stand_ins.push((stand_in, name));
        }
        let text = self.render(&guarded, generation_prompt)?;
        let (mut out, mut ordinary) = (String::with_capacity(text.len()), Vec::new());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(mark) {
            out.push_str(&rest[..at]);
            let tail = &rest[at..];
            if let Some((stand_in, name)) = stand_ins.iter().find(|(s, _)| tail.starts_with(s)) {
                ordinary.push(out.len()..out.len() + name.len());
                out.push_str(name);
                rest = &tail[stand_in.len()..];
            } else {
                // The template cut a stand-in apart.
                rest = &tail[mark.len_utf8()..];
            }
        }
        out.push_str(rest);
        Ok(Rendered {
            text: out,
            ordinary,
        })
    }
}

/// The template itself, or of a list of named ones the default.
fn default_template(entry: &serde_json::Value) -> Option<&str> {
    let named = |entry: &&serde_json::Value| entry["name"] == "default";
    let listed = entry.as_array().and_then(|list| list.iter().find(named));
    listed.map_or(entry, |entry| &entry["template"]).as_str()
}

/// A file's text, none where there is no such file.
fn read(path: &Path) -> Result<Option<String>, DataError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            refuse_lfs_pointer(path, text.as_bytes())?;
            Ok(Some(text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io {
            path: path.to_owned(),
            action: "read the chat template",
            source,
        }),
    }
}

fn fault(name: &str, error: &minijinja::Error) -> DataError {
    let detail = error.detail().map(str::to_owned);
    DataError::Template {
        name: name.to_owned(),
        line: error.line().unwrap_or_default(),
        fault: detail.unwrap_or_else(|| error.kind().to_string()),
    }
}
