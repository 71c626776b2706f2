//! Speculative decoding: a small model drafts tokens, the large one reads them all in one pass and
//! keeps as many as its own distribution allows.

use std::ops::ControlFlow;

use sinterlm_config::{KeyRng, Seed, Stream};
use sinterlm_kernels::{FEW_ROWS, log_sum_exp};

use super::{
    Context, Decoder, Finish, Generated, Overflow, Request, SITE_ACCEPT, SITE_DRAFT, SITE_INSTEAD,
    SITE_TOKEN, SampleConfig, Sampler, Token, allowed, sampler::draw, under_model,
};
use crate::causal_lm::CausalLm;
use crate::error::ModelError;

/// What speculative decoding generated, and how good the drafts were.
#[derive(Clone, Debug, PartialEq)]
pub struct Speculated {
    /// The new tokens.
    pub generated: Generated,
    /// Tokens that the small model proposed.
    pub drafted: usize,
    /// How many of them were kept.
    pub accepted: usize,
}

/// Continues a request like [`super::generate`], with the help of a smaller model of the same
/// vocabulary that proposes `draft_tokens` at a time.
///
/// A proposal `x` is kept with probability `min(1, p(x)/q(x))`, else replaced by a draw from
/// `max(0, p − q)`, so that the tokens are distributed as the large model's own, whatever the small
/// one proposes (Leviathan et al. 2023, <https://arxiv.org/abs/2211.17192>). `p` and `q` are the
/// distributions after penalties and truncations. Greedy texts are those of [`super::generate`].
///
/// # Errors
/// As [`super::generate`], and [`ModelError::VocabularyMismatch`].
pub fn speculative<T: CausalLm, D: CausalLm>(
    (target, draft): (&T, &D),
    request: &Request,
    draft_tokens: usize,
    config: &SampleConfig,
    seed: Seed,
    mut on_token: impl FnMut(Token) -> ControlFlow<()>,
) -> Result<Speculated, ModelError> {
    let vocabularies = [target.head(), draft.head()].map(|head| head.vocab_size());
    if vocabularies[0] != vocabularies[1] && request.vocab_size.is_none() {
        return Err(ModelError::VocabularyMismatch {
            target: vocabularies[0],
            draft: vocabularies[1],
        });
    }
    let prompt_len = request.prompt.len();
    let capacity = prompt_len.saturating_add(config.max_new_tokens);
    let mut target = Decoder::new(target, 1, capacity, config.overflow);
    let mut draft = Decoder::new(draft, 1, capacity, Overflow::Slide);
    target.add(&request.prompt)?;
    draft.add(&request.prompt)?;
    let sampler = Sampler::new(config, &request.logit_bias);
    let key = |position: usize, site: u64| {
        let at = (position - prompt_len) as u64;
        seed.key(Stream::Sample, at, request.number, site)
    };
    let mut done = Speculated {
        generated: Generated {
            tokens: Vec::new(),
            finish: Finish::Length,
        },
        drafted: 0,
        accepted: 0,
    };
    loop {
        let begin = target.ids(0).len();
        let left = config.max_new_tokens - done.generated.tokens.len();
        // The prompt is read alone, as without drafts; behind it a pass stays within few rows.
        let proposals = if begin == prompt_len {
            0
        } else {
            draft_tokens
                .min(left.saturating_sub(1))
                .min(FEW_ROWS - 1)
                .min(target.room(0))
                .min(draft.room(0))
        };
        let mut proposed = Vec::with_capacity(proposals);
        for at in 0..proposals {
            let logits = draft.next_logits()?;
            let context = Context {
                ids: draft.ids(0),
                prompt_len,
            };
            let q = sampler.probabilities(allowed(request, logits.row(0)), context);
            let id = draw(&q, key(begin + at, SITE_DRAFT)) as u32;
            draft.push(0, &[id]);
            target.push(0, &[id]);
            proposed.push((id, q));
        }
        let logits = target.last_logits(0, proposals + 1)?;
        let ids = target.ids(0);
        let mut tokens = Vec::with_capacity(proposals + 1);
        let mut all_kept = true;
        for (at, (id, q)) in proposed.iter().enumerate() {
            let total = log_sum_exp(logits.row(at));
            let row = allowed(request, logits.row(at));
            if total.is_nan() {
                let position = begin + at;
                return Err(ModelError::LogitsNotFinite { position });
            }
            let context = Context {
                ids: &ids[..begin + at],
                prompt_len,
            };
            let mut p = sampler.probabilities(row, context);
            let place = *id as usize;
            let uniform = KeyRng::new(key(begin + at, SITE_ACCEPT)).next_f32();
            all_kept = uniform * q[place] < p[place];
            let id = if all_kept {
                *id
            } else {
                for (p, q) in p.iter_mut().zip(q) {
                    *p = (*p - q).max(0.0);
                }
                draw(&p, key(begin + at, SITE_INSTEAD)) as u32
            };
            let logprob = row[id as usize] - total;
            tokens.push(Token { id, logprob });
            if !all_kept {
                break;
            }
            done.accepted += 1;
        }
        if all_kept {
            let context = Context { ids, prompt_len };
            let key = key(ids.len(), SITE_TOKEN);
            let row = logits.row(proposals);
            let token = sampler.choose(allowed(request, row), context, key);
            let position = ids.len();
            let token = token.ok_or(ModelError::LogitsNotFinite { position })?;
            tokens.push(under_model(token, request, row));
        }
        done.drafted += proposals;
        target.truncate(0, begin);
        draft.truncate(0, begin);
        for token in tokens {
            target.push(0, &[token.id]);
            draft.push(0, &[token.id]);
            done.generated.tokens.push(token);
            let finish = if request.stop.contains(&token.id) {
                Some(Finish::Stop)
            } else if on_token(token).is_break() {
                Some(Finish::Broken)
            } else if done.generated.tokens.len() >= config.max_new_tokens {
                Some(Finish::Length)
            } else if config.overflow == Overflow::Error && target.is_full(0) {
                Some(Finish::Context)
            } else {
                None
            };
            if let Some(finish) = finish {
                done.generated.finish = finish;
                return Ok(done);
            }
        }
    }
}
