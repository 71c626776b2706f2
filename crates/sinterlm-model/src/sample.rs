//! Text continuation, token by token: greedy, temperature and top-k.

use std::ops::ControlFlow;

use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, KeyRng, Seed, Stream, Validate};

use crate::batch::TokenBatch;
use crate::causal_lm::CausalLm;
use crate::context::ForwardCtx;

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// Divides the logits before the softmax; 0 takes the likeliest token (greedy).
    #[schemars(range(min = 0.0, max = 10.0))]
    pub temperature: f64,
    /// Draws among the k likeliest tokens only; 0 means all.
    pub top_k: usize,
    /// Most tokens to add.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 50,
            max_new_tokens: 200,
        }
    }
}

impl Validate for SampleConfig {
    fn validate(&self, _check: &mut Check) {}
}

/// Continues `prompt` and hands each new token to `on_token`, until it breaks or
/// `max_new_tokens` are out.
///
/// Draws are keyed by `seed` and position, so that the same call gives the same text. When the
/// context is full, the older half of it is forgotten and the rest read again.
///
/// # Panics
/// If `prompt` is empty.
pub fn generate<M: CausalLm>(
    model: &M,
    prompt: &[u32],
    config: &SampleConfig,
    seed: Seed,
    device: &Device,
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) {
    assert!(
        !prompt.is_empty(),
        "generate: the prompt needs at least one token"
    );
    let window = model.max_seq_len();
    let ctx = ForwardCtx::default();
    let mut cache = model.new_cache(1, window);
    let mut text = prompt.to_vec();
    let half = (window / 2).max(1);
    let mut unread = if text.len() < window {
        text.len()
    } else {
        half
    };
    for position in 0..config.max_new_tokens {
        if cache.len() + unread > window {
            cache.clear();
            unread = half;
        }
        let unread_text = &text[text.len() - unread..];
        let tokens = TokenBatch::continuing(unread_text, 1, cache.len(), device);
        let logits = model.last_logits(&tokens, &ctx, Some(&mut cache));
        let logits: Vec<f32> = logits
            .into_data()
            .convert::<f32>()
            .try_into_vec()
            .expect("just converted");
        let draw = seed.key(Stream::Sample, position as u64, 0, 0);
        let token = choose(&logits, config, &mut KeyRng::new(draw));
        text.push(token);
        unread = 1;
        if on_token(token).is_break() {
            break;
        }
    }
}

/// Chooses a token from one row of logits.
fn choose(logits: &[f32], config: &SampleConfig, rng: &mut KeyRng) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then_with(|| a.cmp(b))
    };
    if config.temperature == 0.0 {
        return order
            .into_iter()
            .min_by(by_logit)
            .expect("a model has a vocabulary");
    }
    let k = if config.top_k == 0 {
        order.len()
    } else {
        config.top_k.min(order.len())
    };
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, by_logit);
        order.truncate(k);
    }
    order.sort_unstable_by(by_logit);
    let highest = f64::from(logits[order[0] as usize]);
    let weights: Vec<f64> = order
        .iter()
        .map(|&id| ((f64::from(logits[id as usize]) - highest) / config.temperature).exp())
        .collect();
    let mut left = f64::from(rng.next_f32()) * weights.iter().sum::<f64>();
    for (&id, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return id;
        }
    }
    order[k - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_temperature_takes_the_likeliest_token() {
        let config = SampleConfig {
            temperature: 0.0,
            ..SampleConfig::default()
        };
        assert_eq!(
            choose(&[0.1, 3.0, -1.0, 3.0], &config, &mut KeyRng::new(1)),
            1
        );
    }

    #[test]
    fn top_k_never_draws_outside_the_k_likeliest() {
        let config = SampleConfig {
            temperature: 5.0,
            top_k: 2,
            ..SampleConfig::default()
        };
        let drawn: Vec<u32> = (0..200)
            .map(|key| choose(&[0.0, 1.0, 0.9, -2.0], &config, &mut KeyRng::new(key)))
            .collect();
        assert!(drawn.iter().all(|id| [1, 2].contains(id)));
        assert!(drawn.contains(&1) && drawn.contains(&2));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let config = SampleConfig {
            temperature: 1.0,
            top_k: 0,
            ..SampleConfig::default()
        };
        let logits = [0.0, (3.0f32).ln()]; // probabilities 1/4 and 3/4
        let ones = (0..4000)
            .filter(|k| choose(&logits, &config, &mut KeyRng::new(*k)) == 1)
            .count();
        assert!((2850..3150).contains(&ones), "{ones} of 4000");
    }
}
