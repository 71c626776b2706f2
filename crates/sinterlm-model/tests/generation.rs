//! Generation: cached = uncached, many = one by one, speculative = plain, beams = exhaustive search.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_kernels::{Route, with_route};
use sinterlm_model::{
    BeamConfig, CausalLm, Decoder, Finish, ForwardCtx, Generated, Gpt, GptConfig, ModelError,
    Overflow, Preset, Request, SampleConfig, TokenBatch, beam_search, generate, speculative,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close};

const VOCAB: usize = 97;

fn config() -> GptConfig {
    GptConfig {
        vocab_size: VOCAB,
        max_seq_len: 160,
        d_model: 48,
        n_heads: 3,
        ..Preset::Tiny.config()
    }
}

fn model() -> Gpt {
    // Larger weights than a fresh model's, so that distributions are far from flat.
    sharpened(&config(), 3)
}

/// A model whose logits differ by several nats.
fn sharpened(config: &GptConfig, seed: u64) -> Gpt {
    let made = config.init_from(&Device::flex(), |spec| {
        let factor = if spec.path.starts_with("wte") {
            25.0
        } else {
            6.0
        };
        let mut values = spec.draw(Seed(seed));
        if !spec.path.contains("norm") {
            for value in &mut values {
                *value *= factor;
            }
        }
        Ok::<_, std::convert::Infallible>(values)
    });
    made.unwrap()
}

fn ids(count: usize, seed: usize) -> Vec<u32> {
    let id = |i: usize| ((i * i + 3 * i + seed * 31) % VOCAB) as u32;
    (0..count).map(id).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn uncached(model: &Gpt, text: &[u32]) -> Vec<f32> {
    let tokens = TokenBatch::dense(text, 1, &Device::flex());
    values(model.last_logits(&tokens, &ForwardCtx::default(), None))
}

fn request(prompt: Vec<u32>, number: u64) -> Request {
    Request {
        prompt,
        number,
        ..Request::default()
    }
}

fn run(model: &Gpt, requests: &[Request], config: &SampleConfig, seed: u64) -> Vec<Generated> {
    let on_token = |_, _| ControlFlow::Continue(());
    generate(model, requests, config, Seed(seed), on_token).unwrap()
}

fn ids_of(generated: &Generated) -> Vec<u32> {
    generated.tokens.iter().map(|token| token.id).collect()
}

#[test]
fn cached_logits_of_unequal_rows_equal_uncached_ones() {
    let model = model();
    let mut decoder = Decoder::new(&model, 4, 160, Overflow::Slide);
    for (row, len) in [1, 100, 17, 64].into_iter().enumerate() {
        decoder.add(&ids(len, row)).unwrap();
    }
    for step in 0..4 {
        let logits = decoder.next_logits().unwrap();
        for row in 0..4 {
            let expected = uncached(&model, decoder.ids(row));
            assert_close(logits.row(row), &expected, WHOLE_MODEL_F32, "logits");
            decoder.push(row, &ids(1 + row * step, row + step));
        }
    }
}

#[test]
fn other_backends_generate_the_same_greedy_texts() {
    // The composed form of every operation, on the CPU.
    let model = model();
    let requests = [request(ids(9, 0), 0), request(ids(70, 1), 1)];
    let config = SampleConfig::greedy(12);
    let native = run(&model, &requests, &config, 0);
    let composed = with_route(Route::Composed, || run(&model, &requests, &config, 0));
    for (native, composed) in native.iter().zip(&composed) {
        assert_eq!(ids_of(native), ids_of(composed));
    }
}

#[test]
fn logits_of_the_last_tokens_equal_those_of_the_texts_cut_there() {
    let model = model();
    let mut decoder = Decoder::new(&model, 1, 160, Overflow::Slide);
    decoder.add(&ids(20, 0)).unwrap();
    decoder.next_logits().unwrap();
    decoder.push(0, &ids(5, 1));
    let logits = decoder.last_logits(0, 7).unwrap();
    for at in 0..7 {
        let expected = uncached(&model, &decoder.ids(0)[..19 + at]);
        assert_close(logits.row(at), &expected, WHOLE_MODEL_F32, "logits");
    }
}

#[test]
fn a_row_set_to_another_text_reads_what_differs() {
    let model = model();
    let mut decoder = Decoder::new(&model, 1, 160, Overflow::Slide);
    decoder.add(&ids(30, 0)).unwrap();
    decoder.next_logits().unwrap();
    let other = [&ids(20, 0)[..], &ids(8, 5)].concat();
    for text in [&other[..], &other[..4], &other] {
        decoder.set(0, text).unwrap();
        let expected = uncached(&model, text);
        let found = decoder.next_logits().unwrap();
        assert_close(found.row(0), &expected, WHOLE_MODEL_F32, "logits");
    }
}

#[test]
fn a_request_gives_the_same_bits_whatever_is_generated_beside_it() {
    let model = model();
    let config = SampleConfig {
        temperature: 1.0,
        top_k: 20,
        top_p: 0.9,
        repetition_penalty: 1.2,
        ..SampleConfig::plain(12)
    };
    let lengths = [3, 90, 1, 40, 7, 66, 2, 64, 5, 30];
    let requests: Vec<Request> = lengths
        .into_iter()
        .enumerate()
        .map(|(at, len)| Request {
            stop: vec![at as u32 * 9],
            ..request(ids(len, at), at as u64)
        })
        .collect();
    let together = run(&model, &requests, &config, 5);
    for (request, together) in requests.iter().zip(&together) {
        let alone = run(&model, std::slice::from_ref(request), &config, 5);
        assert_eq!(alone[0], *together);
    }
}

#[test]
fn more_requests_than_rows_and_shared_prompts_change_nothing() {
    let model = model();
    let config = SampleConfig::plain(4);
    let requests: Vec<Request> = (0..70)
        .map(|n| request(ids(5 + n % 2, 0), n as u64))
        .collect();
    let together = run(&model, &requests, &config, 5);
    for at in [0, 1, 2, 40, 63, 64, 69] {
        let alone = run(&model, &requests[at..=at], &config, 5);
        assert_eq!(alone[0], together[at], "request {at}");
    }
    let same_prompt = together.iter().step_by(2);
    let differ = same_prompt.filter(|other| **other != together[0]).count();
    assert!(differ > 0, "draws depend on the number");
}

#[test]
fn log_probabilities_are_the_models_own() {
    let model = model();
    let config = SampleConfig {
        temperature: 0.5,
        top_k: 3,
        ..SampleConfig::plain(6)
    };
    let generated = run(&model, &[request(ids(4, 0), 0)], &config, 1);
    let mut text = ids(4, 0);
    for token in &generated[0].tokens {
        let logits = uncached(&model, &text);
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let expected = f64::from(logits[token.id as usize]) - total.ln();
        assert!((f64::from(token.logprob) - expected).abs() < 1e-4);
        text.push(token.id);
    }
}

#[test]
fn log_probabilities_count_the_padding_of_a_vocabulary() {
    let model = model();
    let limited = Request {
        vocab_size: Some(7),
        ..request(ids(3, 0).iter().map(|id| id % 7).collect(), 0)
    };
    let on_token = |_| ControlFlow::Continue(());
    let plain = SampleConfig::plain(5);
    let drawn = run(&model, std::slice::from_ref(&limited), &plain, 1);
    let drafted = speculative((&model, &model), &limited, 2, &plain, Seed(1), on_token);
    let beams = BeamConfig {
        beams: 2,
        length_penalty: 1.0,
        max_new_tokens: 5,
    };
    let searched = beam_search(&model, &limited, &beams).unwrap();
    for generated in [
        &drawn[0],
        &drafted.unwrap().generated,
        &searched[0].generated,
    ] {
        let mut text = limited.prompt.clone();
        for token in &generated.tokens {
            let logits = uncached(&model, &text);
            let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            let expected = f64::from(logits[token.id as usize]) - total.ln();
            assert!((f64::from(token.logprob) - expected).abs() < 1e-3);
            text.push(token.id);
        }
    }
}

#[test]
fn generation_slides_past_the_context_and_is_repeatable() {
    let config = GptConfig {
        max_seq_len: 24,
        ..config()
    };
    let model = sharpened(&config, 3);
    let sample = SampleConfig {
        max_new_tokens: 60,
        ..SampleConfig::default()
    };
    let text =
        |prompt: usize, seed| ids_of(&run(&model, &[request(ids(prompt, 0), 0)], &sample, seed)[0]);
    assert_eq!(text(5, 1).len(), 60);
    assert_eq!(text(5, 1), text(5, 1));
    assert!(text(5, 1) != text(5, 2));
    assert_eq!(text(100, 1).len(), 60);
}

#[test]
fn without_sliding_a_text_ends_with_the_context_and_a_long_prompt_is_refused() {
    let config = GptConfig {
        max_seq_len: 24,
        ..config()
    };
    let model = sharpened(&config, 3);
    let sample = SampleConfig {
        overflow: Overflow::Error,
        ..SampleConfig::plain(60)
    };
    let ended = run(
        &model,
        &[request(ids(5, 0), 0), request(ids(24, 0), 1)],
        &sample,
        1,
    );
    let seen: Vec<_> = ended.iter().map(|g| (g.tokens.len(), g.finish)).collect();
    // The last token is never read.
    assert_eq!(seen, [(20, Finish::Context), (1, Finish::Context)]);
    let on_token = |_, _| ControlFlow::Continue(());
    let refused = |prompt: Vec<u32>| {
        let requests = [request(prompt, 0)];
        generate(&model, &requests, &sample, Seed(0), on_token).unwrap_err()
    };
    assert!(matches!(
        refused(ids(25, 0)),
        ModelError::ContextFull {
            tokens: 25,
            context: 24
        }
    ));
    assert!(matches!(refused(vec![]), ModelError::EmptyPrompt));
    assert!(matches!(
        refused(vec![VOCAB as u32]),
        ModelError::TokenOutOfRange {
            id: 97,
            vocab_size: 97
        }
    ));
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let model = config().init_from(&Device::flex(), |spec| {
        Ok::<_, std::convert::Infallible>(vec![f32::NAN; spec.draw(Seed(0)).len()])
    });
    let on_token = |_, _| ControlFlow::Continue(());
    let requests = [request(ids(3, 0), 0)];
    let ended = generate(
        &model.unwrap(),
        &requests,
        &SampleConfig::default(),
        Seed(0),
        on_token,
    );
    assert!(matches!(
        ended,
        Err(ModelError::LogitsNotFinite { position: 3 })
    ));
}

#[test]
fn greedy_generation_takes_the_likeliest_token_of_the_full_pass() {
    let model = model();
    let mut text = ids(5, 0);
    let greedy = SampleConfig::greedy(10);
    for id in ids_of(&run(&model, &[request(text.clone(), 0)], &greedy, 0)[0]) {
        let logits = uncached(&model, &text);
        let best = (0..VOCAB).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        assert_eq!(Some(id as usize), best);
        text.push(id);
    }
}

#[test]
fn ids_beyond_the_tokenizer_are_never_chosen_and_a_break_ends_one_row() {
    let model = model();
    let limited = |number| Request {
        vocab_size: Some(7),
        ..request(ids(3, 0).iter().map(|id| id % 7).collect(), number)
    };
    let requests = [limited(0), limited(1)];
    let on_token = |row, _| {
        if row == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let config = SampleConfig::plain(30);
    let ended = generate(&model, &requests, &config, Seed(0), on_token).unwrap();
    assert_eq!(
        (ended[0].tokens.len(), ended[0].finish),
        (1, Finish::Broken)
    );
    assert_eq!(
        (ended[1].tokens.len(), ended[1].finish),
        (30, Finish::Length)
    );
    assert!(ids_of(&ended[1]).iter().all(|id| *id < 7));
}

/// A vocabulary of five, so that whole distributions can be counted.
fn tiny(seed: u64) -> Gpt {
    let config = GptConfig {
        vocab_size: 5,
        max_seq_len: 16,
        d_model: 8,
        n_heads: 2,
        n_layers: 1,
        ..Preset::Tiny.config()
    };
    sharpened(&config, seed)
}

fn speculate(
    models: (&Gpt, &Gpt),
    request: &Request,
    drafts: usize,
    config: &SampleConfig,
) -> Vec<u32> {
    let on_token = |_| ControlFlow::Continue(());
    let done = speculative(models, request, drafts, config, Seed(1), on_token);
    let done = done.unwrap();
    assert!(done.accepted <= done.drafted);
    ids_of(&done.generated)
}

#[test]
fn speculation_leaves_greedy_texts_as_they_are() {
    let (target, draft) = (model(), sharpened(&config(), 9));
    let config = SampleConfig {
        repetition_penalty: 1.3,
        ..SampleConfig::greedy(40)
    };
    let request = request(ids(9, 0), 0);
    let plain = ids_of(&run(&target, std::slice::from_ref(&request), &config, 1)[0]);
    for drafts in [1, 4, 7] {
        assert_eq!(
            speculate((&target, &draft), &request, drafts, &config),
            plain
        );
        assert_eq!(
            speculate((&target, &target), &request, drafts, &config),
            plain
        );
    }
}

#[test]
fn speculation_leaves_the_distribution_as_it_is() {
    const DRAWS: u64 = 4000;
    let (target, draft) = (tiny(1), tiny(2));
    let config = SampleConfig {
        temperature: 1.3,
        top_k: 4,
        ..SampleConfig::plain(3)
    };
    // How often each text of three tokens comes, with and without drafts: chi-squared of two samples.
    let mut counts = [[0u32; 125]; 2];
    let place = |ids: &[u32]| ids.iter().fold(0, |place, &id| place * 5 + id as usize);
    let requests: Vec<Request> = (0..DRAWS).map(|n| request(vec![1, 3], n)).collect();
    for generated in run(&target, &requests, &config, 1) {
        counts[0][place(&ids_of(&generated))] += 1;
    }
    for n in 0..DRAWS {
        // Numbers of their own, so that the two samples are independent.
        let request = request(vec![1, 3], DRAWS + n);
        counts[1][place(&speculate((&target, &draft), &request, 2, &config))] += 1;
    }
    let (mut statistic, mut freedom) = (0.0_f64, -1.0_f64);
    for (&a, &b) in counts[0].iter().zip(&counts[1]) {
        let (a, b) = (f64::from(a), f64::from(b));
        if a + b >= 10.0 {
            statistic += (a - b).powi(2) / (a + b);
            freedom += 1.0;
        }
    }
    // Mean and five standard deviations of chi-squared.
    let limit = freedom + 5.0 * (2.0 * freedom).sqrt();
    assert!(freedom > 10.0, "only {freedom} texts came often");
    assert!(statistic < limit, "{statistic} is above {limit}");
}

#[test]
fn a_wide_beam_finds_the_likeliest_of_all_texts() {
    let model = tiny(4);
    let prompt = vec![1, 3];
    let config = BeamConfig {
        beams: 25,
        length_penalty: 0.0,
        max_new_tokens: 3,
    };
    let found = beam_search(&model, &request(prompt.clone(), 0), &config).unwrap();
    let mut best: Vec<(f64, Vec<u32>)> = (0..125u32)
        .map(|n| {
            let text = vec![n / 25, n / 5 % 5, n % 5];
            let mut sum = 0.0;
            for at in 0..3 {
                let read = [&prompt[..], &text[..at]].concat();
                let logits = uncached(&model, &read);
                let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                sum += f64::from(logits[text[at] as usize]) - total.ln();
            }
            (sum, text)
        })
        .collect();
    best.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (found, (sum, text)) in found[..3].iter().zip(&best) {
        assert_eq!(ids_of(&found.generated), *text);
        assert!((found.score - sum).abs() < 1e-4);
    }
}

#[test]
fn one_beam_is_greedy_and_stops_where_it_is_told() {
    let model = model();
    let prompt = ids(6, 0);
    let greedy = ids_of(
        &run(
            &model,
            &[request(prompt.clone(), 0)],
            &SampleConfig::greedy(8),
            0,
        )[0],
    );
    let config = BeamConfig {
        beams: 1,
        length_penalty: 1.0,
        max_new_tokens: 8,
    };
    let mut asked = request(prompt, 0);
    let found = beam_search(&model, &asked, &config).unwrap();
    assert_eq!(ids_of(&found[0].generated), greedy);
    asked.stop = vec![greedy[0]];
    let found = beam_search(&model, &asked, &config).unwrap();
    assert_eq!(ids_of(&found[0].generated), greedy[..1]);
    assert_eq!(found[0].generated.finish, Finish::Stop);
}
