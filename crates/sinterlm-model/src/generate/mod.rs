//! Continuing texts, token by token: one request or many side by side, each as if it were alone.
//! What a row has read is kept by `Decoder`, how a token is chosen decided by `Sampler`.

mod beam;
mod config;
mod decoder;
mod sampler;
mod speculative;

pub use beam::{Beam, BeamConfig, beam_search};
pub use config::{Overflow, SampleConfig};
pub use decoder::{Decoder, Logits};
pub use sampler::{Context, Sampler};
pub use speculative::{Speculated, speculative};

use std::ops::ControlFlow;

use rayon::prelude::*;
use sinterlm_config::{Seed, Stream};
use sinterlm_kernels::{FEW_ROWS, log_sum_exp};

use crate::causal_lm::CausalLm;
use crate::error::ModelError;

/// A text to continue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The text so far, at least one token.
    pub prompt: Vec<u32>,
    /// Draws are keyed by seed, this number and the position: the same number gives the same text
    /// whatever else is generated beside it.
    pub number: u64,
    /// Tokens that end the text.
    pub stop: Vec<u32>,
    /// Added to the logits of single ids.
    pub logit_bias: Vec<(u32, f32)>,
    /// Ids from here on are never chosen: the padding of a vocabulary. Absent: all may be.
    pub vocab_size: Option<usize>,
}

/// A generated token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its log-probability under the model itself, in nats: at temperature 1, without penalties and
    /// with nothing cut off, not even the padding of the vocabulary.
    pub logprob: f32,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With one of the request's stop tokens, the last of the tokens.
    Stop,
    /// At `max_new_tokens`.
    Length,
    /// With the model's context, under [`Overflow::Error`].
    Context,
    /// The caller broke off.
    Broken,
}

/// What was added to a request's prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens, a stop token among them.
    pub tokens: Vec<Token>,
    /// Why there are no more.
    pub finish: Finish,
}

/// A row of the decoder and the request that it answers.
struct Live {
    request: usize,
    sampler: Sampler,
    tokens: Vec<Token>,
    /// Row of the logits that its next token is chosen from.
    source: usize,
}

/// Continues every request and hands each new token that is no stop token to `on_token`, with the
/// request's place in `requests`; a break ends that request.
///
/// Up to [`FEW_ROWS`] requests run side by side; a row that ends makes room for the next one.
/// Requests with one prompt that start together share its reading. On flex the result of a request
/// depends, bit for bit, on nothing but itself, `config`, `seed` and its number; on other backends
/// up to near ties of logits.
///
/// # Errors
/// - [`ModelError::EmptyPrompt`], [`ModelError::TokenOutOfRange`] for a prompt's id that the model
///   does not have, [`ModelError::ContextFull`] for a prompt that does not fit under
///   [`Overflow::Error`]: before anything is generated
/// - [`ModelError::LogitsNotFinite`] where the model's output is not a number
pub fn generate<M: CausalLm>(
    model: &M,
    requests: &[Request],
    config: &SampleConfig,
    seed: Seed,
    mut on_token: impl FnMut(usize, Token) -> ControlFlow<()>,
) -> Result<Vec<Generated>, ModelError> {
    let longest = requests.iter().map(|r| r.prompt.len()).max().unwrap_or(0);
    let capacity = longest.saturating_add(config.max_new_tokens);
    let slots = requests.len().min(FEW_ROWS);
    let mut decoder = Decoder::new(model, slots, capacity, config.overflow);
    for request in requests {
        decoder.check(&request.prompt)?;
    }
    let mut results: Vec<Option<Generated>> = vec![None; requests.len()];
    let mut live: Vec<Live> = Vec::new();
    let mut waiting = 0..requests.len();
    loop {
        let begun = live.len();
        let mut copies: Vec<Live> = Vec::new();
        while live.len() + copies.len() < slots
            && let Some(request) = waiting.next()
        {
            let prompt = &requests[request].prompt;
            let same = |row: &usize| requests[live[*row].request].prompt == *prompt;
            let source = (begun..live.len()).find(same);
            let row = Live {
                request,
                sampler: Sampler::new(config, &requests[request].logit_bias),
                tokens: Vec::new(),
                source: source.unwrap_or(live.len()),
            };
            if source.is_some() {
                copies.push(row);
            } else {
                decoder.add(prompt)?;
                live.push(row);
            }
        }
        if live.is_empty() {
            break;
        }
        let logits = decoder.next_logits()?;
        for copy in copies {
            decoder.copy_row(copy.source);
            live.push(copy);
        }
        let texts: Vec<&[u32]> = (0..live.len()).map(|row| decoder.ids(row)).collect();
        let chosen: Vec<Option<Token>> = live
            .par_iter()
            .zip(texts)
            .map(|(live, ids)| {
                let request = &requests[live.request];
                let context = Context {
                    ids,
                    prompt_len: request.prompt.len(),
                };
                let key = seed.key(
                    Stream::Sample,
                    live.tokens.len() as u64,
                    request.number,
                    SITE_TOKEN,
                );
                let row = logits.row(live.source);
                let token = live.sampler.choose(allowed(request, row), context, key);
                token.map(|token| under_model(token, request, row))
            })
            .collect();
        let mut kept = Vec::new();
        for (row, (live, token)) in live.iter_mut().zip(chosen).enumerate() {
            let token = token.ok_or_else(|| ModelError::LogitsNotFinite {
                position: decoder.ids(row).len(),
            })?;
            live.tokens.push(token);
            decoder.push(row, &[token.id]);
            let request = &requests[live.request];
            let finish = if request.stop.contains(&token.id) {
                Some(Finish::Stop)
            } else if on_token(live.request, token).is_break() {
                Some(Finish::Broken)
            } else if live.tokens.len() >= config.max_new_tokens {
                Some(Finish::Length)
            } else if config.overflow == Overflow::Error && decoder.is_full(row) {
                Some(Finish::Context)
            } else {
                None
            };
            match finish {
                None => kept.push(row),
                Some(finish) => {
                    results[live.request] = Some(Generated {
                        tokens: std::mem::take(&mut live.tokens),
                        finish,
                    });
                }
            }
        }
        if kept.len() < live.len() {
            decoder.select(&kept);
            let mut row = 0;
            live.retain(|_| {
                row += 1;
                kept.binary_search(&(row - 1)).is_ok()
            });
        }
        for (row, live) in live.iter_mut().enumerate() {
            live.source = row;
        }
    }
    let ended = results
        .into_iter()
        .map(|result| result.expect("every row ends before the loop"));
    Ok(ended.collect())
}

/// Sites of the draws at one position; they enter the keys and never change.
const SITE_TOKEN: u64 = 0;
const SITE_DRAFT: u64 = 1;
const SITE_ACCEPT: u64 = 2;
const SITE_INSTEAD: u64 = 3;

/// A token with its log-probability among all that the model knows, whichever may be chosen.
fn under_model(token: Token, request: &Request, logits: &[f32]) -> Token {
    if allowed(request, logits).len() == logits.len() {
        return token;
    }
    let logprob = logits[token.id as usize] - log_sum_exp(logits);
    Token { logprob, ..token }
}

/// The logits that a request may choose from.
fn allowed<'a>(request: &Request, logits: &'a [f32]) -> &'a [f32] {
    &logits[..request
        .vocab_size
        .unwrap_or(logits.len())
        .clamp(1, logits.len())]
}
