//! Rows of records packed into full rows: the loss and every gradient are those of rows by themselves.
//!
//! Runs on flex, or on the backend that `BURN_DEVICE` names where it was compiled in.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use proptest::prelude::*;
use sinterlm_config::{KeyRng, Seed};
use sinterlm_data::{
    Batch, BatchesConfig, Body, Layout, Origin, Prompter, Record, RowBatches, RowSet, RowsConfig,
    Tokenizer,
};
use sinterlm_losses::CrossEntropyOptions;
use sinterlm_model::{Activation, ForwardCtx, Gpt, GptConfig, NormKind, PathStack, Positions};
use sinterlm_testkit::{SINGLE_OP_F32, assert_close, fixed_weight, tiny_stories};
use sinterlm_text::DeviceBatch;

/// Two of the rows below always fit.
const MAX: usize = 80;

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::train_bpe(tiny_stories(), 300).unwrap());

fn device() -> Device {
    match std::env::var_os("BURN_DEVICE") {
        Some(_) => Device::default(),
        None => Device::flex(),
    }
}

/// A software driver compiles kernels for each shape, a minute for a case.
fn cases() -> u32 {
    let is_named = std::env::var_os("BURN_DEVICE").is_some();
    if is_named { 1 } else { 24 }
}

fn gpt2() -> GptConfig {
    GptConfig {
        vocab_size: 300,
        max_seq_len: MAX,
        d_model: 32,
        n_layers: 2,
        n_heads: 4,
        ..GptConfig::default()
    }
}

fn llama() -> GptConfig {
    GptConfig {
        n_kv_heads: 2,
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        activation: Activation::Swiglu,
        qkv_bias: false,
        attn_out_bias: false,
        mlp_bias: false,
        tied_head: false,
        ..gpt2()
    }
}

/// Between them they have every option that attention has.
fn decoders() -> [(&'static str, GptConfig); 4] {
    [
        ("gpt2", gpt2()),
        ("llama", llama()),
        (
            "windows and normalised keys",
            GptConfig {
                window: 5,
                global_layers: vec![1],
                qk_norm: true,
                ..llama()
            },
        ),
        (
            "soft caps",
            GptConfig {
                attn_softcap: 5.0,
                logits_softcap: 3.0,
                window: 7,
                ..gpt2()
            },
        ),
    ]
}

/// Weights that are large enough for the loss to depend on what a token attends to.
fn model(config: &GptConfig, seed: u64, device: &Device) -> Gpt {
    let filled = config.init_from(device, |spec| {
        let path = format!("{seed}.{}", spec.path);
        Ok::<_, Infallible>(fixed_weight(&path, &spec.shape))
    });
    filled.unwrap()
}

/// Rows of records whose prompts and completions have these numbers of words.
fn rows(words: &[(usize, usize)], seed: u64) -> Arc<RowSet> {
    let mut rng = KeyRng::new(seed);
    let mut text = |count: usize| -> String {
        let letter = |_| char::from(b'a' + (rng.next_f32() * 26.0) as u8);
        (0..count).map(letter).flat_map(|c| [' ', c]).collect()
    };
    let records: Vec<Record> = (0..)
        .zip(words)
        .map(|(number, &(prompt, completion))| {
            let body = Body::Completion {
                prompt: text(prompt),
                completion: text(completion),
            };
            Record::new(
                body,
                Origin::Made {
                    name: "letters",
                    number,
                },
            )
        })
        .collect();
    let config = RowsConfig {
        max_seq_len: MAX,
        ..RowsConfig::default()
    };
    let prompter = Prompter::new(&config.template, &TOKENIZER, None, &[]).unwrap();
    Arc::new(RowSet::build(&records, &prompter, &config).unwrap())
}

/// All rows as one batch.
fn batch(set: &Arc<RowSet>, layout: Layout, seed: u64) -> Batch {
    let config = BatchesConfig {
        layout,
        max_epochs: Some(1),
        ..BatchesConfig::default()
    };
    let end = TOKENIZER.end_of_text();
    let batches = RowBatches::new(vec![set.clone()], &config, MAX, 4, end, Seed(seed)).unwrap();
    batches.batch(0, set.rows().len()).unwrap().batch
}

/// Every gradient by path, in the order of the model.
struct Taken {
    tape: Gradients,
    stack: PathStack,
    found: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Taken {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        let gradient = param.val().grad_remove(&mut self.tape);
        let gradient = gradient.unwrap_or_else(|| panic!("{path}: no gradient"));
        let values = gradient.into_data().convert::<f32>();
        self.found.push((path, values.try_into_vec().unwrap()));
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

/// Mean loss of a batch, and every gradient of it.
fn computed(model: &Gpt, batch: &Batch, device: &Device) -> (f64, Vec<(String, Vec<f32>)>) {
    let (options, ctx) = (CrossEntropyOptions::default(), ForwardCtx::default());
    let loss = DeviceBatch::new(batch, device).loss(model, &options, &ctx);
    let loss = loss.share_of(batch.token_count());
    let value = f64::from(loss.clone().without_autodiff().into_scalar::<f32>());
    let mut taken = Taken {
        tape: loss.backward(),
        stack: PathStack::default(),
        found: Vec::new(),
    };
    model.visit(&mut taken);
    (value, taken.found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn packed_rows_have_the_loss_and_all_gradients_of_padded_ones(
        words in prop::collection::vec((1_usize..14, 1_usize..5), 4..24), seed in 0..1_000_u64,
    ) {
        let device = device().autodiff();
        let set = rows(&words, seed);
        let padded = batch(&set, Layout::Padded, seed);
        let packed = batch(&set, Layout::Packed, seed);
        prop_assert!(packed.rows < padded.rows && packed.segments.iter().any(|s| *s > 0));
        for (name, config) in decoders() {
            let model = model(&config, seed, &device);
            let (loss, gradients) = computed(&model, &packed, &device);
            let (expected_loss, expected) = computed(&model, &padded, &device);
            assert_close(&[loss], &[expected_loss], SINGLE_OP_F32, name);
            assert_eq!(gradients.len(), expected.len());
            for ((path, gradient), (_, expected)) in gradients.iter().zip(&expected) {
                assert_close(gradient, expected, SINGLE_OP_F32, &format!("{name}, {path}"));
            }
        }
    }
}

/// The comparison above can fail: without segments each row reads those before it.
#[test]
fn rows_that_see_each_other_have_another_loss_and_other_gradients() {
    let device = device().autodiff();
    let set = rows(&[(5, 3), (9, 2), (4, 4), (12, 1), (3, 3)], 1);
    let packed = batch(&set, Layout::Packed, 1);
    let mut open = packed.clone();
    open.segments.fill(0);
    for (name, config) in decoders() {
        let model = model(&config, 1, &device);
        let (loss, gradients) = computed(&model, &packed, &device);
        let (other_loss, others) = computed(&model, &open, &device);
        assert!((loss / other_loss - 1.0).abs() > 1e-4, "{name}: {loss}");
        for ((path, gradient), (_, other)) in gradients.iter().zip(&others) {
            let pairs = || gradient.iter().zip(other);
            let apart: f32 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
            let norm = pairs().map(|(a, _)| a * a).sum::<f32>();
            assert!(apart > 1e-6 * norm, "{name}, {path}");
        }
    }
}
