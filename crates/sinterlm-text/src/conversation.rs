//! A conversation with a model: what was said, and what the model has read of it.

use sinterlm_config::{Seed, Stream};
use sinterlm_data::{Body, ChatMessage, ChatTemplate, PromptTemplate, TextStream};
use sinterlm_model::{Context, Decoder, Gpt, ModelError, Overflow, SampleConfig, Sampler, Token};

use crate::answer_start::WithoutStart;
use crate::error::TextError;
use crate::text_model::TextModel;

/// What ends an answer in the plain format: else the model writes the other side, too.
pub(crate) const PLAIN_STOPS: [&str; 2] = ["\nUser:", "\nSystem:"];

/// How a model answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationConfig {
    /// How tokens are chosen.
    pub sample: SampleConfig,
    /// The seed of the draws.
    pub seed: Seed,
    /// Strings that end an answer and are left out of it.
    pub stops: Vec<String>,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// The time of the conversation in seconds since 1970 (UTC), which some templates ask for.
    pub unix_seconds: u64,
}

/// A model that answers. Only what is new in a conversation is read.
#[derive(Debug)]
pub struct Conversation<'a> {
    /// What was said so far.
    pub messages: Vec<ChatMessage>,
    model: &'a TextModel,
    template: Option<ChatTemplate>,
    decoder: Decoder<'a, Gpt>,
    sampler: Sampler,
    config: ConversationConfig,
    answers: u64,
}

impl<'a> Conversation<'a> {
    /// A conversation that nothing was said in, to be read as [`TextModel::ask`] tells: a model without
    /// a form and without a template is addressed in a plain format of roles and lines.
    pub fn new(model: &'a TextModel, config: &ConversationConfig) -> Self {
        let mut config = config.clone();
        if model.template.is_none() && model.form.is_none() {
            config.stops.extend(PLAIN_STOPS.map(str::to_owned));
        }
        let (template, now) = (model.template.clone(), config.unix_seconds);
        let overflow = config.sample.overflow;
        Self {
            messages: Vec::new(),
            template: template.map(|own| own.with_date(now)),
            decoder: Decoder::new(&model.model, 1, usize::MAX, overflow),
            sampler: Sampler::new(&config.sample, &config.logit_bias),
            model,
            config,
            answers: 0,
        }
    }

    /// Adds a message and the model's answer, of which pieces are handed out as they come.
    ///
    /// # Errors
    /// [`TextError::Template`] for a faulty template, [`TextError::Data`] where it refuses the
    /// conversation, [`TextError::Model`] where the model cannot read or continue it. The message is then
    /// taken back.
    pub fn answer(&mut self, message: &str, on_text: impl FnMut(&str)) -> Result<(), TextError> {
        self.model.chat_template()?;
        self.messages.push(ChatMessage::new("user", message));
        let body = Body::Chat {
            messages: self.messages.clone(),
        };
        let ids = self.model.ask_by(self.template.as_ref(), &body);
        let written = match ids {
            Ok(ids) => self.write(&ids, on_text).map_err(TextError::from),
            Err(error) => Err(error.into()),
        };
        match &written {
            Ok(text) => {
                let answer = ChatMessage::new("assistant", text.trim());
                self.messages.push(answer);
            }
            Err(_) => drop(self.messages.pop()),
        }
        written.map(drop)
    }

    /// Continues the conversation's tokens up to an end and returns the text.
    fn write(&mut self, ids: &[u32], mut on_text: impl FnMut(&str)) -> Result<String, ModelError> {
        let vocab_size = self.model.tokenizer.vocab_size();
        if self.decoder.rows() == 0 {
            self.decoder.add(ids)?;
        } else {
            self.decoder.set(0, ids)?;
        }
        self.answers += 1;
        let stream = TextStream::new(&self.model.tokenizer).skip_special();
        let mut stream = stream.with_stops(&self.config.stops);
        let form = self.model.form.as_ref();
        let mut answer = WithoutStart::new(form.map_or("", PromptTemplate::answer_start));
        let mut text = String::new();
        let mut give = |piece: &str| {
            text.push_str(piece);
            on_text(piece);
        };
        for position in 0..self.config.sample.max_new_tokens {
            if self.config.sample.overflow == Overflow::Error && self.decoder.is_full(0) {
                break;
            }
            let logits = self.decoder.next_logits()?;
            let row = &logits.row(0)[..vocab_size];
            let context = Context {
                ids: self.decoder.ids(0),
                prompt_len: ids.len(),
            };
            let seed = self.config.seed;
            let key = seed.key(Stream::Sample, position as u64, self.answers, 0);
            let token = self.sampler.choose(row, context, key);
            let Some(Token { id, .. }) = token else {
                let position = self.decoder.ids(0).len();
                return Err(ModelError::LogitsNotFinite { position });
            };
            self.decoder.push(0, &[id]);
            if self.model.ends.contains(&id) {
                break;
            }
            give(&answer.push(&stream.push(id)));
            if stream.stopped().is_some() {
                break;
            }
        }
        give(&answer.push(&stream.finish()));
        give(&answer.finish());
        Ok(text)
    }
}
