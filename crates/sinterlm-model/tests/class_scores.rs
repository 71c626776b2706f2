//! What a head reads of a row: padding, pools, and the last block at the token that is read alone.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use proptest::prelude::*;
use sinterlm_config::Seed;
use sinterlm_model::{
    Activation, Checkpointing, ForwardCtx, Gpt, GptConfig, NormKind, PathStack, Pool, Positions,
    Probe, Reading, TokenBatch, Weight, WithHead,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close, fixed_weight};

fn gpt2() -> GptConfig {
    GptConfig {
        vocab_size: 50,
        max_seq_len: 24,
        d_model: 32,
        n_layers: 2,
        n_heads: 4,
        ..GptConfig::default()
    }
}

/// Every option of attention at once.
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
        ..gpt2()
    }
}

/// Weights by a formula, large enough that attention tells tokens apart.
fn model(config: &GptConfig, device: &Device) -> WithHead<Gpt> {
    let lm = config.init_from(device, |spec| {
        let mut values = fixed_weight(&spec.path, &spec.shape);
        if spec.shape.len() == 2 {
            for value in &mut values {
                *value *= 3.0;
            }
        }
        Ok::<_, std::convert::Infallible>(values)
    });
    let mut model = WithHead::init(lm.unwrap(), 3, Seed(1), device);
    let score = fixed_weight("score.weight", &[3, 32]);
    let score = Tensor::<2>::from_data(TensorData::new(score, [3, 32]), device);
    model.score.weight = Weight::Dense(Param::from_tensor(score));
    model
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

fn padded(rows: &[Vec<u32>], min_seq: usize, device: &Device) -> TokenBatch {
    let reading = Reading {
        min_seq,
        pad_id: 9,
        ..Reading::default()
    };
    reading.batch(rows, device)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn padding_changes_no_score_but_that_of_the_last_column(
        rows in prop::collection::vec(prop::collection::vec(0u32..50, 1..8), 1..4),
        extra in 1usize..10,
        is_llama: bool,
    ) {
        let device = Device::flex();
        let model = model(&if is_llama { llama() } else { gpt2() }, &device);
        let ctx = ForwardCtx::default();
        let longest = rows.iter().map(Vec::len).max().unwrap();
        let scores = |rows: &[Vec<u32>], pool, min_seq| {
            values(model.scores(&padded(rows, min_seq, &device), pool, &ctx))
        };
        for pool in [Pool::Last, Pool::First, Pool::Mean] {
            let together = scores(&rows, pool, longest + extra);
            for (row, together) in rows.iter().zip(together.chunks(3)) {
                let alone = scores(std::slice::from_ref(row), pool, 0);
                assert_close(together, &alone, WHOLE_MODEL_F32, &format!("{pool:?}"));
            }
        }
        // There, padding is text.
        let column = scores(&rows, Pool::LastColumn, longest + extra);
        for (row, column) in rows.iter().zip(column.chunks(3)) {
            let mut text = row.clone();
            text.resize(longest + extra, 9);
            let written = scores(&[text], Pool::Last, 0);
            assert_close(column, &written, WHOLE_MODEL_F32, "last column");
        }
    }
}

#[test]
fn pools_read_what_they_are_called() {
    let device = Device::flex();
    let (model, ctx) = (model(&gpt2(), &device), ForwardCtx::default());
    let rows = [vec![3, 8, 20, 41], vec![7, 7]];
    let tokens = padded(&rows, 0, &device);
    let all = values(model.token_scores(&tokens, &ctx));
    let at = |row: usize, column: usize| all[(row * 4 + column) * 3..][..3].to_vec();
    let mean = |row: usize, len: usize| -> Vec<f32> {
        let sum = |class: usize| (0..len).map(|column| at(row, column)[class]).sum::<f32>();
        (0..3).map(|class| sum(class) / len as f32).collect()
    };
    for (pool, expected) in [
        (Pool::Last, [at(0, 3), at(1, 1)]),
        (Pool::First, [at(0, 0), at(1, 0)]),
        (Pool::Mean, [mean(0, 4), mean(1, 2)]),
    ] {
        let scores = values(model.scores(&tokens, pool, &ctx));
        let what = format!("{pool:?}");
        assert_close(&scores, &expected.concat(), WHOLE_MODEL_F32, &what);
    }
    let [last, column] = [Pool::Last, Pool::LastColumn].map(|pool| {
        let scores = values(model.scores(&tokens, pool, &ctx));
        scores[3..].to_vec()
    });
    assert!(last != column, "padding is read");
}

/// Gradients by path, from all tapes of a pass.
#[derive(Default)]
struct Collected(BTreeMap<String, Vec<f32>>);

impl Collected {
    fn add(&mut self, model: &WithHead<Gpt>, tape: &mut Gradients) {
        let (sums, stack) = (self, PathStack::default());
        model.visit(&mut Reader { sums, tape, stack });
    }
}

struct Reader<'a> {
    sums: &'a mut Collected,
    tape: &'a mut Gradients,
    stack: PathStack,
}

impl ModuleVisitor for Reader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(self.tape) else {
            return;
        };
        let gradient = values(gradient);
        let zeros = || vec![0.0; gradient.len()];
        let sum = self.sums.0.entry(self.stack.path()).or_insert_with(zeros);
        sum.iter_mut().zip(&gradient).for_each(|(sum, x)| *sum += x);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

/// Scores of a way to read the model, and the gradients of a weighted sum of them.
fn both(
    model: &WithHead<Gpt>,
    checkpointing: bool,
    scores: impl FnOnce(&ForwardCtx) -> Tensor<2>,
) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let ctx = ForwardCtx {
        checkpointing: checkpointing.then(Checkpointing::default),
        ..ForwardCtx::default()
    };
    let scores = scores(&ctx);
    let weights = fixed_weight("weights", &scores.dims());
    let weights = TensorData::new(weights, scores.dims());
    let weights = Tensor::<2>::from_data(weights, &scores.device());
    let mut tape = (scores.clone() * weights).sum().backward();
    let mut sums = Collected::default();
    ctx.checkpointing
        .unwrap_or_default()
        .backward(&mut tape, |tape| sums.add(model, tape));
    (values(scores), sums.0)
}

#[test]
fn the_last_block_at_the_read_token_equals_the_whole_pass_with_its_gradients() {
    let device = Device::flex().autodiff();
    let rows = [vec![3, 8, 20, 41, 1, 30, 2, 11], vec![7, 7, 18], vec![5]];
    let tokens = padded(&rows, 0, &device);
    for config in [gpt2(), llama()] {
        let model = model(&config, &device);
        let ends = [7, 2, 0];
        let (whole, expected) = both(&model, false, |ctx| {
            let all = model.token_scores(&tokens, ctx);
            let end = |row: usize| {
                let scores = all.clone().narrow(0, row, 1);
                scores.narrow(1, ends[row], 1).squeeze_dim::<2>(1)
            };
            Tensor::cat((0..3).map(end).collect(), 0)
        });
        for checkpointing in [false, true] {
            let (alone, gradients) = both(&model, checkpointing, |ctx| {
                model.scores(&tokens, Pool::Last, ctx)
            });
            assert_close(&alone, &whole, WHOLE_MODEL_F32, "scores");
            assert_eq!(
                gradients.keys().collect::<Vec<_>>(),
                expected.keys().collect::<Vec<_>>()
            );
            for (path, gradient) in &gradients {
                if !path.ends_with("attn.k.bias") {
                    assert_close(gradient, &expected[path], WHOLE_MODEL_F32, path);
                }
            }
        }
    }
}

#[test]
fn a_block_that_is_read_at_one_token_computes_no_other() {
    let device = Device::flex();
    let model = model(&gpt2(), &device);
    let probe = Probe::default();
    let ctx = ForwardCtx {
        probe: Some(probe.clone()),
        ..ForwardCtx::default()
    };
    let tokens = padded(&[vec![1, 2, 3, 4, 5]], 0, &device);
    model.scores(&tokens, Pool::Last, &ctx);
    let seen = probe.take().into_iter();
    let seen: BTreeMap<_, _> = seen.map(|tensor| (tensor.name, tensor.shape)).collect();
    for (name, expected) in [
        ("blocks.0.mlp.up", [1, 5, 128]),
        ("blocks.1.attn.q", [1, 1, 32]),
        ("blocks.1.attn.k", [1, 5, 32]),
        ("blocks.1.mlp.up", [1, 1, 128]),
        ("norm", [1, 1, 32]),
    ] {
        assert_eq!(seen[name], expected, "{name}");
    }
}
