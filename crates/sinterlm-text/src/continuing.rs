//! From prompts to texts: draws, beam searches and drafts around `sinterlm_model::generate`, with text
//! handed out as it comes.

use std::ops::ControlFlow;

use sinterlm_config::Seed;
use sinterlm_data::{TextStream, Tokenizer};
use sinterlm_model::{
    BeamConfig, CausalLm, Generated, Gpt, Request, SampleConfig, Token, beam_search, generate,
    speculative,
};

use crate::error::TextError;

/// How texts are continued.
#[derive(Clone, Debug)]
pub struct Continuing<'a> {
    /// The tokenizer of the model.
    pub tokenizer: &'a Tokenizer,
    /// Where the texts come from.
    pub method: Method<'a>,
    /// How tokens are chosen.
    pub config: SampleConfig,
    /// The seed of the draws, keyed by the prompt's number.
    pub seed: Seed,
    /// Number of the first prompt: the others count on from it.
    pub first_number: u64,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
    /// Strings that end a text and are left out of it.
    pub stops: Vec<String>,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Method<'a> {
    /// Draws from the model, all prompts side by side.
    #[default]
    Sample,
    /// The likeliest text, by a search with so many beams.
    Beams(usize),
    /// Draws from the model, with tokens drafted by a smaller one, so many at a time.
    Draft(&'a Gpt, usize),
}

impl<'a> Continuing<'a> {
    /// Draws with seed 0 and the default config, up to the tokenizer's end of text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            method: Method::default(),
            config: SampleConfig::default(),
            seed: Seed(0),
            first_number: 0,
            ends: tokenizer.ends(),
            stops: Vec::new(),
            logit_bias: Vec::new(),
        }
    }

    /// Continues each prompt and hands out whole characters as they come, with the prompt's place.
    ///
    /// # Errors
    /// As [`generate`].
    pub fn texts<M: CausalLm>(
        &self,
        model: &M,
        prompts: Vec<Vec<u32>>,
        mut on_text: impl FnMut(usize, &str),
    ) -> Result<Vec<Generated>, TextError> {
        let numbered = prompts.iter().cloned().enumerate();
        match self.method {
            Method::Sample => self.sample(model, prompts, on_text),
            Method::Beams(beams) => numbered
                .map(|(row, ids)| self.search(model, ids, beams, |text| on_text(row, text)))
                .collect(),
            Method::Draft(draft, tokens) => numbered
                .map(|(row, ids)| {
                    let request = self.request(ids, row);
                    self.speculate((model, draft), &request, tokens, |text| on_text(row, text))
                })
                .collect(),
        }
    }

    fn sample<M: CausalLm>(
        &self,
        model: &M,
        prompts: Vec<Vec<u32>>,
        mut on_text: impl FnMut(usize, &str),
    ) -> Result<Vec<Generated>, TextError> {
        let mut streams: Vec<_> = prompts.iter().map(|prompt| self.stream(prompt)).collect();
        let requests = prompts.into_iter().enumerate();
        let requests: Vec<Request> = requests.map(|(at, ids)| self.request(ids, at)).collect();
        let on_token = |row: usize, token: Token| {
            on_text(row, &streams[row].push(token.id));
            go_on(&streams[row])
        };
        let (config, seed) = (&self.config, self.seed);
        let done = generate(model, &requests, config, seed, on_token)?;
        for (row, stream) in streams.into_iter().enumerate() {
            on_text(row, &stream.finish());
        }
        Ok(done)
    }

    fn speculate<T: CausalLm, D: CausalLm>(
        &self,
        models: (&T, &D),
        request: &Request,
        draft_tokens: usize,
        mut on_text: impl FnMut(&str),
    ) -> Result<Generated, TextError> {
        let mut stream = self.stream(&request.prompt);
        let on_token = |token: Token| {
            on_text(&stream.push(token.id));
            go_on(&stream)
        };
        let (config, seed) = (&self.config, self.seed);
        let done = speculative(models, request, draft_tokens, config, seed, on_token)?;
        on_text(&stream.finish());
        Ok(done.generated)
    }

    /// A search's text is cut at a stop string like others, but the search goes on behind it.
    fn search<M: CausalLm>(
        &self,
        model: &M,
        prompt: Vec<u32>,
        beams: usize,
        mut on_text: impl FnMut(&str),
    ) -> Result<Generated, TextError> {
        let config = BeamConfig {
            beams,
            length_penalty: 1.0,
            max_new_tokens: self.config.max_new_tokens,
        };
        let mut stream = self.stream(&prompt);
        let found = beam_search(model, &self.request(prompt, 0), &config)?;
        let best = found
            .into_iter()
            .next()
            .expect("a search of one token or more finds a text");
        for token in &best.generated.tokens {
            on_text(&stream.push(token.id));
        }
        on_text(&stream.finish());
        Ok(best.generated)
    }

    fn request(&self, prompt: Vec<u32>, number: usize) -> Request {
        Request {
            prompt,
            number: self.first_number + number as u64,
            stop: self.ends.clone(),
            logit_bias: self.logit_bias.clone(),
            vocab_size: Some(self.tokenizer.vocab_size()),
        }
    }

    /// The text behind a prompt.
    fn stream(&self, prompt: &[u32]) -> TextStream {
        TextStream::new(self.tokenizer)
            .after(prompt)
            .skip_special()
            .with_stops(&self.stops)
    }
}

fn go_on(stream: &TextStream) -> ControlFlow<()> {
    match stream.stopped() {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    }
}

/// Continues texts at the start of a document, as samples during training do.
///
/// # Errors
/// As [`generate`].
pub fn continue_texts<M: CausalLm>(
    model: &M,
    prompts: &[String],
    continuing: &Continuing<'_>,
    on_text: impl FnMut(usize, &str),
) -> Result<Vec<Generated>, TextError> {
    let ids = |prompt: &String| start_of_text(continuing.tokenizer, prompt);
    continuing.texts(model, prompts.iter().map(ids).collect(), on_text)
}

/// The ids of a text behind the end of another one, as in training.
pub(crate) fn start_of_text(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = vec![tokenizer.end_of_text()];
    ids.extend(tokenizer.encode(text));
    ids
}
