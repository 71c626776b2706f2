//! From prompts to texts: what programs that generate share around `sinterlm::model::generate`.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::{ChatTemplate, TextStream, Tokenizer};
use sinterlm::formats::WeightFile;
use sinterlm::model::{
    BeamConfig, CausalLm, Generated, Gpt, LoadOptions, ModelError, Request, SampleConfig, Token,
    WeightsAs, beam_search, generate, load_model_with, read_end_ids, speculative,
};

use crate::exit::{Failure, OrFailure};

/// A model with what turns text into its tokens and back.
#[derive(Debug)]
pub struct Weights {
    /// The model folder or file.
    pub path: PathBuf,
    /// The model.
    pub model: Gpt,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template.
    pub template: Option<ChatTemplate>,
    /// Tokens that end a text: the tokenizer's, and those that the model's description names.
    pub ends: Vec<u32>,
    /// Whether a text begins as the tokenizer says, and not with the end of the text before it, as in
    /// our training. Files of others say it, folders by Hugging Face's `tokenizer_config.json`.
    is_published: bool,
}

impl Weights {
    /// Loads a model folder, GGUF or llama2.c file; the tokenizer is the one that belongs to it, or that
    /// of the file or folder `tokenizer`.
    ///
    /// # Errors
    /// Where there is no model or no tokenizer, or they do not belong together.
    pub fn open(
        path: &Path,
        tokenizer: Option<&Path>,
        weights: WeightsAs,
        device: &Device,
    ) -> Result<Self> {
        let options = LoadOptions {
            weights,
            ..LoadOptions::default()
        };
        let (parts, model) = rayon::join(
            || text_parts(path, tokenizer),
            || load_model_with(path, device, &options),
        );
        let ((own, template), (model, _)) = (parts?, model?);
        let (knows, holds) = (own.vocab_size(), model.config().vocab_size);
        if knows > holds {
            let path = path.display();
            bail!(
                "{path}: the tokenizer knows {knows} tokens, the weights {holds}; it is the tokenizer of another model"
            );
        }
        let mut ends = vec![own.end_of_text()];
        let marks = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];
        ends.extend(marks.iter().filter_map(|mark| own.special(mark)));
        ends.extend(read_end_ids(path)?);
        Ok(Self {
            is_published: path.is_file() || path.join("tokenizer_config.json").is_file(),
            path: path.to_owned(),
            model,
            tokenizer: own,
            template,
            ends,
        })
    }

    /// The ids of a prompt at the start of a text.
    pub fn prompt(&self, text: &str) -> Vec<u32> {
        if self.is_published {
            let ids = self.tokenizer.encode_with_template(text);
            if !ids.is_empty() {
                return ids;
            }
        }
        start_of_text(&self.tokenizer, text)
    }
}

/// Tokenizer and chat template of a model folder or file.
fn text_parts(path: &Path, other: Option<&Path>) -> Result<(Tokenizer, Option<ChatTemplate>)> {
    let other = other.map(|other| {
        let beside = other.join("tokenizer.json");
        Tokenizer::from_file(if other.is_dir() { &beside } else { other })
    });
    let other = other.transpose()?;
    if path.is_dir() {
        let template = ChatTemplate::from_folder(path)?;
        let own = || Tokenizer::from_file(&path.join("tokenizer.json"));
        return Ok((other.map_or_else(own, Ok)?, template));
    }
    let (own, template) = match WeightFile::open(path)? {
        WeightFile::Gguf(file) => {
            let holds = file.field("tokenizer.ggml.model").is_some();
            let own = (holds && other.is_none()).then(|| Tokenizer::from_gguf(&file));
            (own.transpose()?, ChatTemplate::from_gguf(&file)?)
        }
        _ => (None, None),
    };
    let tokenizer = other.or(own).with_context(|| {
        let path = path.display();
        format!("{path}: the file holds no tokenizer; name one by --tokenizer")
    });
    Ok((tokenizer?, template))
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
        let mut streams: Vec<_> = prompts.iter().map(|prompt| self.stream(prompt)).collect();
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
        let mut stream = self.stream(&prompt);
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
        let mut stream = self.stream(&prompt);
        let found = beam_search(model, &self.request(prompt, 0), &config, device)?;
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
            number: number as u64,
            stop: self.ends.to_vec(),
            logit_bias: self.logit_bias.to_vec(),
            vocab_size: Some(self.tokenizer.vocab_size()),
        }
    }

    /// The text behind a prompt.
    fn stream(&self, prompt: &[u32]) -> TextStream {
        TextStream::new(self.tokenizer)
            .after(prompt)
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
