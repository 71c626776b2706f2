//! A decoder that begins behind its frozen blocks, with what they made of a batch before.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use proptest::prelude::*;
use sinterlm_config::Seed;
use sinterlm_model::{
    Activation, CausalLm, Checkpointing, ForwardCtx, Gpt, GptConfig, NormKind, PathStack, Pool,
    Positions, Probe, Reading, RopeScaling, TokenBatch, WithHead,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close, fixed_weight};

const LAYERS: usize = 3;

fn gpt2() -> GptConfig {
    GptConfig {
        vocab_size: 50,
        max_seq_len: 24,
        d_model: 32,
        n_layers: LAYERS,
        n_heads: 4,
        dropout: 0.2,
        ..GptConfig::default()
    }
}

/// Every option of attention at once, and a head of its own.
fn llama() -> GptConfig {
    GptConfig {
        n_kv_heads: 2,
        head_dim: 6,
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        activation: Activation::Swiglu,
        qk_norm: true,
        window: 5,
        attn_softcap: 2.0,
        tied_head: false,
        ..gpt2()
    }
}

/// Freezes what lies below a path.
struct Freeze<'a>(&'a [String], PathStack);

impl ModuleMapper for Freeze<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.1.path();
        let path = path.strip_prefix("lm.").unwrap_or(&path);
        if self.0.iter().any(|frozen| path.starts_with(frozen)) {
            return param.set_require_grad(false);
        }
        param
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.1.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.1.exit();
    }
}

fn freeze<M: Module>(model: M, paths: &[&str]) -> M {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    model.map(&mut Freeze(&paths, PathStack::default()))
}

/// A model on an autodiff device whose first blocks and embeddings are frozen.
fn model(config: &GptConfig, frozen_blocks: usize) -> WithHead<Gpt> {
    let device = Device::flex().autodiff();
    // Large enough that attention tells tokens apart.
    let lm = config.init_from(&device, |spec| {
        let scale = if spec.shape.len() == 2 { 3.0 } else { 1.0 };
        let values = fixed_weight(&spec.path, &spec.shape);
        let values = values.into_iter().map(|value| scale * value).collect();
        Ok::<_, std::convert::Infallible>(values)
    });
    let model = WithHead::init(lm.unwrap(), 3, Seed(1), &device);
    let blocks: Vec<String> = (0..frozen_blocks).map(|n| format!("blocks.{n}.")).collect();
    let mut paths = vec!["wte", "wpe"];
    paths.extend(blocks.iter().map(String::as_str));
    freeze(model, &paths)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

/// Gradients by path, from all tapes of a pass.
#[derive(Debug, Default, PartialEq)]
struct Collected(BTreeMap<String, Vec<f32>>);

struct Reader<'a>(&'a mut Collected, &'a mut Gradients, PathStack);

impl ModuleVisitor for Reader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(self.1) else {
            return;
        };
        let gradient = values(gradient);
        let zeros = || vec![0.0; gradient.len()];
        let sum = self.0.0.entry(self.2.path()).or_insert_with(zeros);
        sum.iter_mut().zip(&gradient).for_each(|(sum, x)| *sum += x);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.2.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.2.exit();
    }
}

/// Scores of a batch and the gradients of a weighted sum of them.
fn both(
    model: &WithHead<Gpt>,
    tokens: &TokenBatch,
    pool: Pool,
    [dropout, checkpointing]: [bool; 2],
) -> (Vec<f32>, Collected) {
    let ctx = ForwardCtx {
        dropout_key: dropout.then_some(7),
        checkpointing: checkpointing.then(Checkpointing::default),
        ..ForwardCtx::default()
    };
    let scores = model.scores(tokens, pool, &ctx);
    let weights = fixed_weight("weights", &scores.dims());
    let weights = TensorData::new(weights, scores.dims());
    let weights = Tensor::<2>::from_data(weights, &scores.device());
    let mut tape = (scores.clone() * weights).sum().backward();
    let mut sums = Collected::default();
    let mut take = |tape: &mut Gradients| {
        model.visit(&mut Reader(&mut sums, tape, PathStack::default()));
    };
    let checkpointing = ctx.checkpointing.unwrap_or_default();
    checkpointing.backward(&mut tape, &mut take);
    (values(scores), sums)
}

fn pools() -> impl Strategy<Value = Pool> {
    prop::sample::select(vec![Pool::Last, Pool::First, Pool::Mean, Pool::LastColumn])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_known_prefix_changes_no_bit_of_scores_and_gradients(
        rows in prop::collection::vec(prop::collection::vec(0u32..50, 1..8), 1..4),
        extra in 0usize..4,
        blocks in 0..=LAYERS,
        pool in pools(),
        options: [bool; 2],
        is_llama: bool,
    ) {
        let model = model(&if is_llama { llama() } else { gpt2() }, blocks);
        let device = Device::flex().autodiff();
        let min_seq = rows.iter().map(Vec::len).max().unwrap() + extra;
        let reading = Reading { pool, pad_id: 9, min_seq, max_tokens: 0 };
        let tokens = reading.batch(&rows, &device);
        let cached = reading.batch(&reading.cached_rows(&rows), &device);
        let hidden = model.lm.prefix(&cached, blocks, &ForwardCtx::default());
        prop_assert!(!hidden.is_tracked());
        let known = tokens.clone().with_prefix(blocks, hidden);
        let (expected, gradients) = both(&model, &tokens, pool, options);
        let (found, found_gradients) = both(&model, &known, pool, options);
        if blocks < LAYERS || pool == Pool::Mean {
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(&found_gradients, &gradients);
        } else {
            // The whole pass computes the last block at the read token alone, by other products.
            assert_close(&found, &expected, WHOLE_MODEL_F32, "scores");
            for (path, gradient) in &gradients.0 {
                assert_close(&found_gradients.0[path], gradient, WHOLE_MODEL_F32, path);
            }
        }
        let trained = |path: &String| (blocks..LAYERS).any(|n| path.contains(&format!("blocks.{n}.")));
        let of_blocks = gradients.0.keys().filter(|path| path.contains("blocks."));
        prop_assert!(of_blocks.clone().all(trained));
        prop_assert_eq!(of_blocks.count() > 0, blocks < LAYERS);
    }
}

#[test]
fn trained_blocks_drop_and_frozen_ones_do_not() {
    let device = Device::flex().autodiff();
    let tokens = TokenBatch::dense(&[3, 8, 20, 41], 1, &device);
    for frozen in 0..=LAYERS {
        let model = model(&gpt2(), frozen);
        let seen = |dropout_key| {
            let probe = Probe::default();
            let ctx = ForwardCtx {
                dropout_key,
                probe: Some(probe.clone()),
                ..ForwardCtx::default()
            };
            model.lm.hidden(&tokens, &ctx, None);
            let seen = probe.take().into_iter();
            seen.map(|tensor| (tensor.name, [tensor.min, tensor.max].map(f32::to_bits)))
                .collect::<BTreeMap<_, _>>()
        };
        let (quiet, dropped) = (seen(None), seen(Some(3)));
        assert_eq!(quiet["embeddings"], dropped["embeddings"]);
        for layer in 0..LAYERS {
            let name = format!("blocks.{layer}");
            let is_equal = quiet[&name] == dropped[&name];
            assert_eq!(is_equal, layer < frozen, "{name} of {frozen} frozen");
        }
    }
}

#[test]
fn trained_embeddings_drop() {
    let device = Device::flex().autodiff();
    let tokens = TokenBatch::dense(&[3, 8, 20, 41], 1, &device);
    let model = gpt2().init(Seed(1), &device);
    let model = freeze(model, &["wte", "blocks", "norm"]);
    let run = |dropout_key| {
        let ctx = ForwardCtx {
            dropout_key,
            ..ForwardCtx::default()
        };
        values(model.hidden(&tokens, &ctx, None))
    };
    assert!(run(None) != run(Some(1)), "positions are trained");
}

#[test]
fn the_frozen_prefix_ends_at_the_first_trained_parameter() {
    let device = Device::flex().autodiff();
    let frozen = |config: &GptConfig, paths: &[&str]| {
        freeze(config.init(Seed(1), &device), paths).frozen_prefix()
    };
    let all = ["wte", "wpe", "blocks.0.", "blocks.1.", "norm"];
    assert_eq!(frozen(&gpt2(), &all), 2);
    assert_eq!(frozen(&gpt2(), &["wte", "wpe", "blocks"]), LAYERS);
    assert_eq!(frozen(&gpt2(), &["wte", "wpe", "blocks.1", "blocks.2"]), 0);
    let all_but_a_bias = [
        "wte",
        "wpe",
        "blocks.0",
        "blocks.1.attn",
        "blocks.1.mlp",
        "blocks.2",
    ];
    assert_eq!(frozen(&gpt2(), &all_but_a_bias), 1);
    // A tied head trains the embedding, learned positions are under the first block, too.
    assert_eq!(frozen(&gpt2(), &["wpe", "blocks"]), 0);
    assert_eq!(frozen(&gpt2(), &["wte", "blocks"]), 0);
    assert_eq!(frozen(&llama(), &["wte", "blocks"]), LAYERS);
    let dynamic = |original_max_seq_len| GptConfig {
        rope_scaling: RopeScaling::Dynamic {
            factor: 2.0,
            original_max_seq_len,
        },
        ..llama()
    };
    assert_eq!(frozen(&dynamic(24), &["wte", "blocks"]), LAYERS);
    assert_eq!(frozen(&dynamic(12), &["wte", "blocks"]), 0);
}

#[test]
#[should_panic(expected = "of which 1 are frozen")]
fn a_prefix_of_trained_blocks_is_a_mistake() {
    let device = Device::flex().autodiff();
    let model = model(&gpt2(), 1);
    let tokens = TokenBatch::dense(&[3, 8], 1, &device);
    let hidden = model.lm.prefix(&tokens, 2, &ForwardCtx::default());
    let tokens = tokens.with_prefix(2, hidden.without_autodiff());
    model.scores(&tokens, Pool::Last, &ForwardCtx::default());
}

#[test]
fn a_cache_of_keys_and_values_needs_all_blocks() {
    let device = Device::flex();
    let model = gpt2().init(Seed(1), &device);
    let tokens = TokenBatch::dense(&[3, 8, 20], 1, &device);
    let hidden = model.prefix(&tokens, 2, &ForwardCtx::default());
    let run = |tokens: &TokenBatch| {
        let mut cache = model.new_cache(1, 8);
        let ctx = ForwardCtx::default();
        let first = values(model.hidden(tokens, &ctx, Some(&mut cache)));
        let next = TokenBatch::ragged(&[(3, &[5])], &device);
        [first, values(model.hidden(&next, &ctx, Some(&mut cache)))]
    };
    assert_eq!(run(&tokens), run(&tokens.clone().with_prefix(2, hidden)));
}
