//! From a row of logits to a token: penalties, truncations and the draw. Pure functions of logits,
//! text and key; which rows there are is left to `rows`.

use sinterlm_config::KeyRng;
use sinterlm_kernels::{log_sum_exp, softmax_in_place, softmax_of_part, softmax_sums};

use super::{SampleConfig, Token};

/// The text that a token is chosen for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Prompt and generated tokens.
    pub ids: &'a [u32],
    /// How many of them are the prompt.
    pub prompt_len: usize,
}

/// Chooses tokens by a [`SampleConfig`] and a bias on logits.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SampleConfig,
    logit_bias: Vec<(u32, f32)>,
}

/// What is left to draw from: ids and their logits, by falling logit once anything was cut off.
struct Candidates {
    ids: Vec<u32>,
    logits: Vec<f32>,
    sorted: bool,
}

impl Sampler {
    /// A sampler; `logit_bias` is added to the logits of single ids, before all else.
    pub fn new(config: &SampleConfig, logit_bias: &[(u32, f32)]) -> Self {
        Self {
            config: config.clone(),
            logit_bias: logit_bias.to_vec(),
        }
    }

    /// The probability of each token after all transformations; one is 1 where the choice is greedy.
    pub fn probabilities(&self, logits: &[f32], context: Context<'_>) -> Vec<f32> {
        let mut probabilities = vec![0.0; logits.len()];
        if self.config.temperature == 0.0 {
            probabilities[greedy(&self.penalised(logits, context)) as usize] = 1.0;
            return probabilities;
        }
        let mut left = self.candidates(logits, context);
        softmax_in_place(&mut left.logits);
        for (&id, &p) in left.ids.iter().zip(&left.logits) {
            probabilities[id as usize] = p;
        }
        probabilities
    }

    /// Chooses a token; `key` is the key of the draw. None where the logits have no finite sum.
    pub fn choose(&self, logits: &[f32], context: Context<'_>, key: u64) -> Option<Token> {
        let total = log_sum_exp(logits);
        if total.is_nan() {
            return None;
        }
        let id = if self.is_plain() {
            draw_plain(logits, total, key)
        } else if self.config.temperature == 0.0 {
            greedy(&self.penalised(logits, context))
        } else {
            let mut left = self.candidates(logits, context);
            softmax_in_place(&mut left.logits);
            left.ids[draw(&left.logits, key)]
        };
        let logprob = logits[id as usize] - total;
        Some(Token { id, logprob })
    }

    /// Whether tokens are drawn from the model's own distribution.
    fn is_plain(&self) -> bool {
        let plain = SampleConfig {
            max_new_tokens: self.config.max_new_tokens,
            overflow: self.config.overflow,
            ..SampleConfig::plain(0)
        };
        self.logit_bias.is_empty() && self.config == plain
    }

    /// Logits after bias and penalties.
    fn penalised(&self, logits: &[f32], context: Context<'_>) -> Vec<f32> {
        let mut logits = logits.to_vec();
        let config = &self.config;
        for &(id, bias) in &self.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        let penalty = config.repetition_penalty as f32;
        if (penalty - 1.0).abs() > f32::EPSILON {
            let mut seen = context.ids.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for id in seen {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit *= if *logit < 0.0 { penalty } else { 1.0 / penalty };
                }
            }
        }
        if config.presence_penalty != 0.0 || config.frequency_penalty != 0.0 {
            let mut generated = context.ids[context.prompt_len..].to_vec();
            generated.sort_unstable();
            for run in generated.chunk_by(|a, b| a == b) {
                let by = config.presence_penalty + config.frequency_penalty * run.len() as f64;
                if let Some(logit) = logits.get_mut(run[0] as usize) {
                    *logit -= by as f32;
                }
            }
        }
        let run = config.no_repeat_ngram;
        if run > 0 && context.ids.len() + 1 >= run {
            let (_, last) = context.ids.split_at(context.ids.len() + 1 - run);
            for earlier in context.ids.windows(run).filter(|e| e[..run - 1] == *last) {
                if let Some(logit) = logits.get_mut(earlier[run - 1] as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        logits
    }

    /// What is left after everything that cuts off, with logits divided by the temperature.
    fn candidates(&self, logits: &[f32], context: Context<'_>) -> Candidates {
        let config = &self.config;
        let mut logits = self.penalised(logits, context);
        let inverse = (1.0 / config.temperature) as f32;
        for logit in &mut logits {
            *logit *= inverse;
        }
        let mut left = Candidates {
            ids: (0..logits.len() as u32).collect(),
            logits,
            sorted: false,
        };
        if config.top_k > 0 {
            left.keep_top(config.top_k);
        }
        if config.top_p < 1.0 {
            left.keep_mass(config.top_p);
        }
        if config.min_p > 0.0 {
            let highest = left.logits.iter().copied().fold(f32::MIN, f32::max);
            let lowest = highest + (config.min_p as f32).ln();
            left.retain(|_, logit| logit >= lowest);
        }
        if config.typical_p < 1.0 {
            left.keep_typical(config.typical_p);
        }
        left
    }
}

impl Candidates {
    fn retain(&mut self, keep: impl Fn(u32, f32) -> bool) {
        let pairs = self.ids.iter().copied().zip(self.logits.iter().copied());
        (self.ids, self.logits) = pairs.filter(|&(id, logit)| keep(id, logit)).unzip();
    }

    /// The `k` largest logits, and those equal to the last of them; sorted.
    fn keep_top(&mut self, k: usize) {
        if k < self.logits.len() {
            let lowest = largest(&self.logits, k);
            self.retain(|_, logit| logit >= lowest);
        }
        self.sort();
    }

    fn sort(&mut self) {
        if self.sorted {
            return;
        }
        let mut pairs: Vec<(u32, f32)> = self
            .ids
            .iter()
            .copied()
            .zip(self.logits.iter().copied())
            .collect();
        pairs.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        (self.ids, self.logits) = pairs.into_iter().unzip();
        self.sorted = true;
    }

    /// The fewest largest logits whose probabilities reach `mass`.
    fn keep_mass(&mut self, mass: f64) {
        let total = log_sum_exp(&self.logits);
        // Few tokens hold nearly all of the mass, and sorting all would cost more than the rest.
        let mut count = 128;
        loop {
            let whole = count >= self.logits.len();
            let lowest = if self.sorted || whole {
                f32::NEG_INFINITY
            } else {
                largest(&self.logits, count)
            };
            let mut top = Candidates {
                ids: self.ids.clone(),
                logits: self.logits.clone(),
                sorted: self.sorted,
            };
            top.retain(|_, logit| logit >= lowest);
            top.sort();
            let mut sum = 0.0;
            let reached = top.logits.iter().position(|&logit| {
                sum += f64::from(logit - total).exp();
                sum >= mass
            });
            if let Some(last) = reached {
                top.ids.truncate(last + 1);
                top.logits.truncate(last + 1);
                *self = top;
                return;
            }
            if whole || self.sorted {
                return; // rounding left the sum below
            }
            count *= 8;
        }
    }

    /// The fewest tokens nearest to the entropy whose probabilities reach `mass`.
    fn keep_typical(&mut self, mass: f64) {
        let total = log_sum_exp(&self.logits);
        let logprobs: Vec<f64> = self.logits.iter().map(|&x| f64::from(x - total)).collect();
        let finite = logprobs.iter().filter(|l| l.is_finite());
        let entropy: f64 = finite.map(|&l| -l * l.exp()).sum();
        let mut order: Vec<(f64, f64)> = logprobs
            .iter()
            .map(|&l| ((-l - entropy).abs(), l.exp()))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0.0;
        let last = order.iter().position(|&(_, p)| {
            sum += p;
            sum >= mass
        });
        let Some(last) = last else { return };
        let farthest = order[last].0;
        let mut places = logprobs.iter().map(|&l| (-l - entropy).abs() <= farthest);
        let keep: Vec<bool> = places.by_ref().collect();
        let mut at = keep.iter();
        self.ids.retain(|_| *at.next().expect("one flag per token"));
        let mut at = keep.iter();
        self.logits
            .retain(|_| *at.next().expect("one flag per token"));
    }
}

/// The `k`th largest number, in one pass that keeps few of them.
fn largest(numbers: &[f32], k: usize) -> f32 {
    let mut kept: Vec<f32> = Vec::with_capacity(4 * k);
    let mut lowest = f32::NEG_INFINITY;
    for &x in numbers {
        if x > lowest {
            kept.push(x);
            if kept.len() == 4 * k {
                lowest = *kept.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
                kept.truncate(k);
            }
        }
    }
    if kept.len() < k {
        return lowest;
    }
    *kept.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

/// The largest logit's id, of equal ones the first.
fn greedy(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// A token of the model's own distribution; `total` is [`log_sum_exp`] of the logits. The same as
/// from all candidates, without a copy of them.
fn draw_plain(logits: &[f32], total: f32, key: u64) -> u32 {
    let sums = softmax_sums(logits, total, DRAW_BLOCK);
    let sums: Vec<f64> = sums.into_iter().map(f64::from).collect();
    let place = draw_by_blocks(&sums, key, |block| {
        let mut logits = block_of(logits, block).to_vec();
        softmax_of_part(&mut logits, total);
        logits
    });
    place as u32
}

/// A place drawn in proportion to the given weights, not all 0.
pub(super) fn draw(weights: &[f32], key: u64) -> usize {
    let sums: Vec<f64> = weights.chunks(DRAW_BLOCK).map(block_sum).collect();
    draw_by_blocks(&sums, key, |block| block_of(weights, block).to_vec())
}

/// As [`draw`], given the sum of each block of weights; `weights` are those of one block.
fn draw_by_blocks(sums: &[f64], key: u64, weights: impl Fn(usize) -> Vec<f32>) -> usize {
    let mut left = f64::from(KeyRng::new(key).next_f32()) * sums.iter().sum::<f64>();
    let mut last = 0;
    for (block, &sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
        last = block;
        if left >= sum {
            left -= sum;
            continue;
        }
        for (at, weight) in weights(block).into_iter().enumerate() {
            left -= f64::from(weight);
            if left < 0.0 {
                return block * DRAW_BLOCK + at;
            }
        }
    }
    // Rounding left nothing to take: the last place that has a weight.
    let place = weights(last).iter().rposition(|weight| *weight > 0.0);
    last * DRAW_BLOCK + place.unwrap_or(0)
}

/// Weights whose sum is passed over at once.
const DRAW_BLOCK: usize = 256;

fn block_of(weights: &[f32], block: usize) -> &[f32] {
    let start = block * DRAW_BLOCK;
    &weights[start..weights.len().min(start + DRAW_BLOCK)]
}

/// The sum in eight chains, which a CPU adds side by side.
fn block_sum(weights: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (whole, rest) = weights.as_chunks::<8>();
    for chunk in whole {
        for (sum, &weight) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(weight);
        }
    }
    let rest: f64 = rest.iter().map(|&weight| f64::from(weight)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TEXT: Context = Context {
        ids: &[],
        prompt_len: 0,
    };

    fn sampler(config: SampleConfig) -> Sampler {
        Sampler::new(&config, &[])
    }

    fn choose(sampler: &Sampler, logits: &[f32], key: u64) -> u32 {
        let token = sampler.choose(logits, NO_TEXT, key);
        token.expect("finite logits").id
    }

    #[test]
    fn a_plain_draw_is_the_draw_of_options_that_cut_nothing_off() {
        let logits: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
        let plain = sampler(SampleConfig::plain(1));
        let general = sampler(SampleConfig {
            min_p: 1e-30,
            ..SampleConfig::plain(1)
        });
        assert!(plain.is_plain() && !general.is_plain());
        for key in 0..500 {
            let [a, b] = [&plain, &general].map(|s| choose(s, &logits, key << 40));
            assert_eq!(a, b);
        }
    }

    #[test]
    fn zero_temperature_takes_the_first_likeliest_token() {
        let greedy = sampler(SampleConfig::greedy(1));
        assert_eq!(choose(&greedy, &[0.1, 3.0, -1.0, 3.0], 1), 1);
        let p = greedy.probabilities(&[0.1, 3.0, -1.0, 3.0], NO_TEXT);
        assert_eq!(p, [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn top_k_never_draws_outside_the_k_likeliest() {
        let two = sampler(SampleConfig {
            temperature: 5.0,
            top_k: 2,
            ..SampleConfig::default()
        });
        let draw = |key| choose(&two, &[0.0, 1.0, 0.9, -2.0], key);
        let drawn: Vec<u32> = (0..200).map(draw).collect();
        assert!(drawn.iter().all(|id| [1, 2].contains(id)));
        assert!(drawn.contains(&1) && drawn.contains(&2));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let plain = sampler(SampleConfig::plain(1));
        let logits = [0.0, (3.0f32).ln()]; // probabilities 1/4 and 3/4
        let ones = (0..4000)
            .filter(|k| choose(&plain, &logits, *k) == 1)
            .count();
        assert!((2850..3150).contains(&ones), "{ones} of 4000");
    }

    #[test]
    fn a_flat_distribution_keeps_a_whole_share_under_top_p() {
        let half = sampler(SampleConfig {
            top_p: 0.5,
            ..SampleConfig::plain(1)
        });
        let p = half.probabilities(&vec![0.0; 5000], NO_TEXT);
        let kept = p.iter().filter(|p| **p > 0.0).count();
        assert!((2499..=2501).contains(&kept), "{kept}");
    }

    #[test]
    fn presence_counts_once_and_frequency_each_time_and_neither_the_prompt() {
        let config = SampleConfig {
            presence_penalty: 1.0,
            frequency_penalty: 0.5,
            ..SampleConfig::plain(1)
        };
        let context = Context {
            ids: &[0, 0, 1, 2, 2, 2],
            prompt_len: 2,
        };
        let logits = sampler(config).penalised(&[0.0; 4], context);
        assert_eq!(logits, [0.0, -1.5, -2.5, 0.0]);
    }

    #[test]
    fn the_kth_largest_is_found_in_one_pass() {
        let numbers: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32).collect();
        for k in [1, 2, 50, 999] {
            assert_eq!(
                largest(&numbers, k).to_bits(),
                (1000.0 - k as f32).to_bits()
            );
        }
        assert_eq!(largest(&[2.0, 2.0, 1.0], 3).to_bits(), 1.0f32.to_bits());
    }
}
