//! A conversation with a model: what was said, and what the model has read of it.

use sinterlm::burn::tensor::Device;
use sinterlm::config::Stream;
use sinterlm::data::{ChatMessage, ChatTemplate, DataError, TextStream};
use sinterlm::model::{Context, Decoder, Gpt, ModelError, Overflow, SampleConfig, Sampler, Token};

use crate::continuing::Weights;
use crate::sampling::Sampling;

/// A model that answers. Only what is new in a conversation is read.
#[derive(Debug)]
pub struct Conversation<'a> {
    /// What was said so far.
    pub messages: Vec<ChatMessage>,
    weights: &'a Weights,
    template: ChatTemplate,
    decoder: Decoder<'a, Gpt>,
    sampler: Sampler,
    sampling: Sampling,
    config: SampleConfig,
    ends: Vec<u32>,
    stops: Vec<String>,
    answers: u64,
}

impl<'a> Conversation<'a> {
    /// A conversation that nothing was said in; without a template the plain one is taken.
    pub fn new(weights: &'a Weights, sampling: &Sampling, device: &Device) -> Self {
        let template = weights.template.clone();
        let mut stops = sampling.stop.clone();
        if template.is_none() {
            // The model would go on with the other's part.
            stops.extend(["\nUser:", "\nSystem:"].map(str::to_owned));
        }
        let config = sampling.config();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        Self {
            messages: Vec::new(),
            template: template.unwrap_or_else(ChatTemplate::plain).with_date(now),
            decoder: Decoder::new(&weights.model, 1, usize::MAX, config.overflow, device),
            sampler: Sampler::new(&config, &sampling.logit_bias),
            sampling: sampling.clone(),
            ends: weights.ends.clone(),
            weights,
            config,
            stops,
            answers: 0,
        }
    }

    /// Adds a message and the model's answer, of which pieces are handed out as they come.
    ///
    /// # Errors
    /// Outside, where the template refuses the conversation; inside, where the model cannot read it.
    /// The message is then taken back.
    pub fn answer(
        &mut self,
        message: &str,
        on_text: impl FnMut(&str),
    ) -> Result<Result<(), ModelError>, DataError> {
        self.messages.push(ChatMessage::new("user", message));
        let chat = self
            .template
            .ids(&self.messages, true, &self.weights.tokenizer);
        let ended = chat.map(|ids| self.write(&ids, on_text));
        match &ended {
            Ok(Ok(text)) => self
                .messages
                .push(ChatMessage::new("assistant", text.trim())),
            _ => drop(self.messages.pop()),
        }
        ended.map(|ended| ended.map(drop))
    }

    /// Continues the conversation's tokens up to an end and returns the text.
    fn write(&mut self, ids: &[u32], mut on_text: impl FnMut(&str)) -> Result<String, ModelError> {
        let vocab_size = self.weights.tokenizer.vocab_size();
        if self.decoder.rows() == 0 {
            self.decoder.add(ids)?;
        } else {
            self.decoder.set(0, ids)?;
        }
        self.answers += 1;
        let stream = TextStream::new(&self.weights.tokenizer).skip_special();
        let mut stream = stream.with_stops(&self.stops);
        let mut text = String::new();
        let mut give = |piece: &str| {
            text.push_str(piece);
            on_text(piece);
        };
        for position in 0..self.config.max_new_tokens {
            if self.config.overflow == Overflow::Error && self.decoder.is_full(0) {
                break;
            }
            let logits = self.decoder.next_logits()?;
            let row = &logits.row(0)[..vocab_size];
            let context = Context {
                ids: self.decoder.ids(0),
                prompt_len: ids.len(),
            };
            let seed = self.sampling.seed();
            let key = seed.key(Stream::Sample, position as u64, self.answers, 0);
            let token = self.sampler.choose(row, context, key);
            let Some(Token { id, .. }) = token else {
                let position = self.decoder.ids(0).len();
                return Err(ModelError::LogitsNotFinite { position });
            };
            self.decoder.push(0, &[id]);
            if self.ends.contains(&id) {
                break;
            }
            give(&stream.push(id));
            if stream.stopped().is_some() {
                break;
            }
        }
        give(&stream.finish());
        Ok(text)
    }
}
