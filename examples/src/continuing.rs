//! From prompts to texts: what programs that generate share around `sinterlm::model::generate`.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::{TextStream, Tokenizer};
use sinterlm::model::{
    BeamConfig, CausalLm, Generated, Gpt, LoadOptions, ModelError, Request, SampleConfig, Token,
    WeightsAs, beam_search, generate, load_model_with, speculative,
};

use crate::exit::{Failure, OrFailure};
use crate::weights::find_weights;

/// A model and the tokenizer saved beside it.
#[derive(Debug)]
pub struct Weights {
    /// The model folder.
    pub folder: PathBuf,
    /// The model.
    pub model: Gpt,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Whether the folder has Hugging Face's `tokenizer_config.json`: then a text begins as that
    /// tokenizer says, and otherwise with the end of the text before it, as in our training.
    published: bool,
}

impl Weights {
    /// Loads what `path` means: run directory, checkpoint or model folder.
    ///
    /// # Errors
    /// Where there is no model or no tokenizer, or they do not belong together.
    pub fn open(path: &Path, device: &Device, weights: WeightsAs) -> Result<Self> {
        let folder = find_weights(path, false)?;
        let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))?;
        let options = LoadOptions {
            weights,
            ..LoadOptions::default()
        };
        let (model, _) = load_model_with(&folder, device, &options)?;
        let (knows, holds) = (tokenizer.vocab_size(), model.config().vocab_size);
        if knows > holds {
            let folder = folder.display();
            bail!(
                "{folder}: tokenizer.json knows {knows} tokens, the weights {holds}; it is the tokenizer of another model"
            );
        }
        Ok(Self {
            published: folder.join("tokenizer_config.json").is_file(),
            folder,
            model,
            tokenizer,
        })
    }

    /// The ids of a prompt at the start of a text.
    pub fn prompt(&self, text: &str) -> Vec<u32> {
        if self.published {
            let ids = self.tokenizer.encode_with_template(text);
            if !ids.is_empty() {
                return ids;
            }
        }
        start_of_text(&self.tokenizer, text)
    }

    /// Tokens that end a text: the tokenizer's, and those of `generation_config.json`.
    pub fn ends(&self) -> Vec<u32> {
        let mut ends = vec![self.tokenizer.end_of_text()];
        let marks = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];
        ends.extend(marks.iter().filter_map(|mark| self.tokenizer.special(mark)));
        let config = std::fs::read_to_string(self.folder.join("generation_config.json"));
        let config: serde_json::Value = config
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let entry = &config["eos_token_id"];
        let listed = entry
            .as_array()
            .map_or(std::slice::from_ref(entry), Vec::as_slice);
        ends.extend(listed.iter().filter_map(|id| Some(id.as_u64()? as u32)));
        ends
    }
}

/// How texts are continued.
#[derive(Clone, Debug)]
pub struct Continuing<'a> {
    /// The tokenizer of the model.
    pub tokenizer: &'a Tokenizer,
    /// How tokens are chosen.
    pub config: &'a SampleConfig,
    /// Tokens that end a text.
    pub ends: &'a [u32],
    /// Strings that end a text.
    pub stops: &'a [String],
    /// Added to the logits of single tokens.
    pub logit_bias: &'a [(u32, f32)],
    /// The seed of the draws, keyed by the prompt's place.
    pub seed: Seed,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug)]
pub enum Method<'a> {
    /// Draws from the model, all prompts side by side.
    Sample,
    /// The likeliest text, by a search with so many beams.
    Beams(usize),
    /// Draws from the model, with tokens drafted by a smaller one, so many at a time.
    Draft(&'a Gpt, usize),
}

impl Continuing<'_> {
    /// Continues each prompt by a method and hands out whole characters as they come, with the
    /// prompt's place.
    ///
    /// # Errors
    /// As [`generate`].
    pub fn texts<M: CausalLm>(
        &self,
        model: &M,
        method: Method<'_>,
        prompts: Vec<Vec<u32>>,
        device: &Device,
        mut on_text: impl FnMut(usize, &str),
    ) -> Result<Vec<Generated>, ModelError> {
        let numbered = prompts.iter().cloned().enumerate();
        match method {
            Method::Sample => self.sample(model, prompts, device, on_text),
            Method::Beams(beams) => numbered
                .map(|(row, ids)| self.search(model, ids, beams, device, |text| on_text(row, text)))
                .collect(),
            Method::Draft(draft, tokens) => numbered
                .map(|(row, ids)| {
                    let on_text = |text: &str| on_text(row, text);
                    let prompt = (ids, row);
                    self.speculate((model, draft), prompt, tokens, device, on_text)
                })
                .collect(),
        }
    }

    fn sample<M: CausalLm>(
        &self,
        model: &M,
        prompts: Vec<Vec<u32>>,
        device: &Device,
        mut on_text: impl FnMut(usize, &str),
    ) -> Result<Vec<Generated>, ModelError> {
        let mut streams = vec![self.stream(); prompts.len()];
        let requests = prompts.into_iter().enumerate();
        let requests: Vec<Request> = requests.map(|(at, ids)| self.request(ids, at)).collect();
        let on_token = |row: usize, token: Token| {
            on_text(row, &streams[row].push(token.id));
            go_on(&streams[row])
        };
        let done = generate(model, &requests, self.config, self.seed, device, on_token)?;
        for (row, stream) in streams.into_iter().enumerate() {
            on_text(row, &stream.finish());
        }
        Ok(done)
    }

    fn speculate<T: CausalLm, D: CausalLm>(
        &self,
        models: (&T, &D),
        (prompt, number): (Vec<u32>, usize),
        draft_tokens: usize,
        device: &Device,
        mut on_text: impl FnMut(&str),
    ) -> Result<Generated, ModelError> {
        let mut stream = self.stream();
        let request = self.request(prompt, number);
        let (config, seed) = (self.config, self.seed);
        let done = speculative(
            models,
            &request,
            draft_tokens,
            config,
            seed,
            device,
            |token| {
                on_text(&stream.push(token.id));
                go_on(&stream)
            },
        )?;
        on_text(&stream.finish());
        Ok(done.generated)
    }

    /// A search's text is cut at a stop string like others, but the search goes on behind it.
    fn search<M: CausalLm>(
        &self,
        model: &M,
        prompt: Vec<u32>,
        beams: usize,
        device: &Device,
        mut on_text: impl FnMut(&str),
    ) -> Result<Generated, ModelError> {
        let config = BeamConfig {
            beams,
            length_penalty: 1.0,
            max_new_tokens: self.config.max_new_tokens,
        };
        let found = beam_search(model, &self.request(prompt, 0), &config, device)?;
        let best = found
            .into_iter()
            .next()
            .expect("a search of one token or more finds a text");
        let mut stream = self.stream();
        for token in &best.generated.tokens {
            on_text(&stream.push(token.id));
        }
        on_text(&stream.finish());
        Ok(best.generated)
    }

    fn request(&self, prompt: Vec<u32>, number: usize) -> Request {
        Request {
            prompt,
            number: number as u64,
            stop: self.ends.to_vec(),
            logit_bias: self.logit_bias.to_vec(),
            vocab_size: Some(self.tokenizer.vocab_size()),
        }
    }

    fn stream(&self) -> TextStream {
        TextStream::new(self.tokenizer)
            .skip_special()
            .with_stops(self.stops)
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
    tokenizer: &Tokenizer,
    prompts: &[String],
    config: &SampleConfig,
    seed: Seed,
    device: &Device,
    on_text: impl FnMut(usize, &str),
) -> Result<Vec<Generated>, ModelError> {
    let continuing = Continuing {
        tokenizer,
        config,
        ends: &[tokenizer.end_of_text()],
        stops: &[],
        logit_bias: &[],
        seed,
    };
    let ids = prompts
        .iter()
        .map(|prompt| start_of_text(tokenizer, prompt));
    continuing.texts(model, Method::Sample, ids.collect(), device, on_text)
}

/// What a program ends with where a text cannot be generated: prompts that cannot be continued are
/// unusable input, logits that are no numbers a failure.
///
/// # Errors
/// The one given.
pub fn generated<T>(result: Result<T, ModelError>) -> Result<T, Failure> {
    match result {
        Err(error @ ModelError::LogitsNotFinite { .. }) => Err(error.into()),
        other => other.or_unusable(),
    }
}

fn start_of_text(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = vec![tokenizer.end_of_text()];
    ids.extend(tokenizer.encode(text));
    ids
}

/// All of stdin.
///
/// # Errors
/// Where it cannot be read or is no text.
pub fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("stdin")?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        anyhow!("stdin: byte {offset} is not UTF-8; give the text as UTF-8 or by --prompt")
    })
}
