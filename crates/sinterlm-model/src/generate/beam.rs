//! Beam search: the likeliest texts as wholes, by keeping several and extending each by its
//! likeliest tokens.

use sinterlm_kernels::log_sum_exp;

use super::{Decoder, Finish, Generated, Request, Token, allowed};
use crate::causal_lm::CausalLm;
use crate::error::ModelError;

/// How wide and how far a beam search looks.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamConfig {
    /// Texts kept side by side, at least 1.
    pub beams: usize,
    /// Power of the length that a text's log-probability is divided by: above 0 favours long texts.
    pub length_penalty: f64,
    /// Most tokens to add.
    pub max_new_tokens: usize,
}

/// A text that a beam search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Beam {
    /// What was added to the prompt.
    pub generated: Generated,
    /// Sum of log-probabilities divided by `length ^ length_penalty`, in nats.
    pub score: f64,
}

/// A text in the making; `sum` of its log-probabilities.
#[derive(Clone)]
struct Live {
    tokens: Vec<Token>,
    sum: f64,
}

/// The best continuations of a prompt, best first, at most `beams`.
///
/// As in Hugging Face's `generate` with `early_stopping=False`: of the `2·beams` likeliest
/// extensions, those among the first `beams` that stop are finished, and the search ends once no
/// text in the making scores better now than the worst of `beams` finished ones. The request's
/// number and `logit_bias` are not looked at; where the context ends, so do all texts.
///
/// # Errors
/// As [`super::generate`], under [`super::Overflow::Error`].
///
/// # Panics
/// If `beams` or `max_new_tokens` is 0.
pub fn beam_search<M: CausalLm>(
    model: &M,
    request: &Request,
    config: &BeamConfig,
) -> Result<Vec<Beam>, ModelError> {
    let BeamConfig {
        beams,
        length_penalty,
        max_new_tokens,
    } = *config;
    assert!(
        beams > 0 && max_new_tokens > 0,
        "beam_search: beams and max_new_tokens must be above 0"
    );
    let capacity = request.prompt.len().saturating_add(max_new_tokens);
    let mut decoder = Decoder::new(model, beams, capacity, super::Overflow::Error);
    decoder.add(&request.prompt)?;
    let score = |sum: f64, len: usize| sum / (len as f64).powf(length_penalty);
    let mut live = vec![Live {
        tokens: Vec::new(),
        sum: 0.0,
    }];
    let mut finished: Vec<Beam> = Vec::new();
    for length in 1..=max_new_tokens {
        let logits = decoder.next_logits()?;
        let mut extensions: Vec<(f64, usize, Token)> = Vec::new();
        for (row, live) in live.iter().enumerate() {
            let row_logits = logits.row(row);
            let logits = allowed(request, row_logits);
            let total = log_sum_exp(row_logits);
            if total.is_nan() {
                let position = decoder.ids(row).len();
                return Err(ModelError::LogitsNotFinite { position });
            }
            extensions.extend(likeliest(logits, 2 * beams).into_iter().map(|id| {
                let logprob = logits[id as usize] - total;
                (live.sum + f64::from(logprob), row, Token { id, logprob })
            }));
        }
        extensions.sort_by(|a, b| b.0.total_cmp(&a.0));
        extensions.truncate(2 * beams);
        let (mut sources, mut next) = (Vec::new(), Vec::new());
        for (rank, (sum, row, token)) in extensions.into_iter().enumerate() {
            let tokens = || [live[row].tokens.as_slice(), &[token]].concat();
            if request.stop.contains(&token.id) {
                if rank < beams {
                    finished.push(Beam {
                        generated: Generated {
                            tokens: tokens(),
                            finish: Finish::Stop,
                        },
                        score: score(sum, length),
                    });
                }
            } else if next.len() < beams {
                sources.push(row);
                let tokens = tokens();
                next.push(Live { tokens, sum });
            }
        }
        finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        finished.truncate(beams);
        live = next;
        decoder.select(&sources);
        for (row, live) in live.iter().enumerate() {
            let token = live.tokens.last().expect("every text was just extended");
            decoder.push(row, &[token.id]);
        }
        let full = live.first().is_some_and(|_| decoder.is_full(0));
        let best = live.first().map(|live| score(live.sum, length));
        let settled = finished.len() == beams && best <= finished.last().map(|beam| beam.score);
        if length == max_new_tokens || full {
            let finish = if full {
                Finish::Context
            } else {
                Finish::Length
            };
            finished.extend(live.drain(..).map(|live| Beam {
                score: score(live.sum, length),
                generated: Generated {
                    tokens: live.tokens,
                    finish,
                },
            }));
            break;
        }
        if settled || live.is_empty() {
            break;
        }
    }
    finished.sort_by(|a, b| b.score.total_cmp(&a.score));
    finished.truncate(beams);
    Ok(finished)
}

/// Ids of the `count` largest logits.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then(a.cmp(b))
    };
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, by_logit);
        ids.truncate(count);
    }
    ids.sort_unstable_by(by_logit);
    ids
}
