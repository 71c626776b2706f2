//! Training behind a frozen prefix: the activations of a cache in place of the blocks that made them.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use proptest::prelude::*;
use sinterlm_config::{KeyRng, Seed};
use sinterlm_data::{
    BatchesConfig, Body, Layout, Origin, Prompter, Record, RowBatches, RowSet, RowsConfig,
    Tokenizer,
};
use sinterlm_eval::{class_probabilities, class_probabilities_behind};
use sinterlm_losses::CrossEntropyOptions;
use sinterlm_model::{
    Activation, ForwardCtx, Gpt, GptConfig, NormKind, Pool, Positions, Precision, PrefixCache,
    PrefixOf, Preset, Reading, Selection, WithHead, named_values,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close};
use sinterlm_text::DeviceBatch;
use sinterlm_trainer::{
    ClassRow, ClassRows, Classes, MicroBatch, OptimizerConfig, TrainSettings, Trainer,
    TrainerConfig,
};

const SEED: Seed = Seed(5);
const LAYERS: usize = 3;

fn autodiff() -> Device {
    Device::flex().autodiff()
}

fn gpt2() -> GptConfig {
    GptConfig {
        vocab_size: 64,
        max_seq_len: 32,
        d_model: 32,
        n_layers: LAYERS,
        n_heads: 2,
        dropout: 0.1,
        ..GptConfig::default()
    }
}

fn llama() -> GptConfig {
    GptConfig {
        n_kv_heads: 1,
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        activation: Activation::Swiglu,
        tied_head: false,
        ..gpt2()
    }
}

/// Everything behind the first `blocks` blocks is trained.
fn settings(blocks: usize, layers: usize, rows: u64) -> TrainSettings {
    let mut trained: Vec<String> = (blocks..layers).map(|n| format!("blocks.{n}")).collect();
    trained.extend(["norm", "score"].map(str::to_owned));
    TrainSettings {
        trainer: TrainerConfig {
            max_steps: 100,
            micro_batch_size: MicroBatch::Rows(rows),
            train_only: Selection(trained),
            ..TrainerConfig::default()
        },
        optimizer: OptimizerConfig {
            peak_lr: 5e-3,
            ..OptimizerConfig::default()
        },
        seed: SEED,
        ..TrainSettings::default()
    }
}

/// Rows of these lengths, of both classes by turns.
fn rows(lengths: impl IntoIterator<Item = usize>) -> Vec<ClassRow> {
    let mut rng = KeyRng::new(11);
    let mut row = |(number, len): (usize, usize)| ClassRow {
        ids: (0..len).map(|_| (rng.next_f32() * 64.0) as u32).collect(),
        class: (number % 2) as u32,
        weight: 1.0,
    };
    lengths.into_iter().enumerate().map(&mut row).collect()
}

fn cache_of(folder: &tempfile::TempDir, of: &PrefixOf<'_>, rows: &[Vec<u32>]) -> PrefixCache {
    let path = folder.path().join("rows.prefix");
    let go_on = |_, _| ControlFlow::Continue(());
    let cache = PrefixCache::open_or_fill(&path, of, rows, go_on);
    cache.unwrap().unwrap()
}

/// Two trainers of the same model, the second of them with a cache.
fn pair(
    config: &GptConfig,
    rows: &ClassRows,
    blocks: usize,
    settings: &TrainSettings,
) -> [Trainer<WithHead<Gpt>, Classes>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let model = config.init(SEED, &autodiff());
    let model = WithHead::init(model.without_head(), 2, SEED, &autodiff());
    let model = settings.trainer.freeze_parameters(model).unwrap();
    assert!(model.lm.frozen_prefix() >= blocks);
    let of = PrefixOf {
        model: &model.lm,
        blocks,
        precision: settings.trainer.precision,
    };
    let start = Instant::now();
    let cache = Arc::new(cache_of(&folder, &of, &rows.cached_rows()));
    eprintln!("cache filled in {:?}", start.elapsed());
    let objective = || Classes::new(rows.clone(), &settings.trainer, SEED, &autodiff());
    [objective(), objective().with_prefix(cache).unwrap()]
        .map(|objective| Trainer::new(model.clone(), objective, settings, &autodiff()).unwrap())
}

#[test]
fn steps_with_a_cache_have_the_bits_of_those_without_where_shapes_are_equal() {
    // All rows are one batch, in training as for the cache.
    let rows = ClassRows::new(rows([6; 8]), 2, Reading::default()).unwrap();
    for config in [gpt2(), llama()] {
        for precision in [Precision::F32, Precision::Bf16] {
            for blocks in 0..LAYERS {
                let mut settings = settings(blocks, LAYERS, 8);
                settings.trainer.precision = precision;
                let [mut without, mut with] = pair(&config, &rows, blocks, &settings);
                for _ in 0..4 {
                    let (a, b) = (without.step().unwrap(), with.step().unwrap());
                    assert_eq!(a.loss.to_bits(), b.loss.to_bits(), "{blocks} blocks");
                    assert_eq!(a.grad_norm.to_bits(), b.grad_norm.to_bits());
                }
                assert!(named_values(without.model()) == named_values(with.model()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn steps_with_a_cache_equal_those_without(
        lengths in prop::collection::vec(1usize..20, 6..10),
        blocks in 0..=LAYERS,
        pool in prop::sample::select(vec![Pool::Last, Pool::First, Pool::Mean, Pool::LastColumn]),
        is_llama: bool,
    ) {
        let min_seq = if pool == Pool::LastColumn { 24 } else { 0 };
        let reading = Reading { pool, pad_id: 9, min_seq, max_tokens: 0 };
        let rows = ClassRows::new(rows(lengths), 2, reading).unwrap();
        // Dropout would draw other masks for a last block that is computed whole.
        let config = GptConfig { dropout: 0.0, ..if is_llama { llama() } else { gpt2() } };
        let mut settings = settings(blocks, LAYERS, 3);
        settings.trainer.first_step_checks = false; // equal texts may be of both classes
        let [mut without, mut with] = pair(&config, &rows, blocks, &settings);
        for _ in 0..3 {
            let (a, b) = (without.step().unwrap(), with.step().unwrap());
            assert_close(&[a.loss], &[b.loss], WHOLE_MODEL_F32, "loss");
            assert_close(&[a.grad_norm], &[b.grad_norm], WHOLE_MODEL_F32, "norm");
        }
    }
}

#[test]
fn evaluation_with_a_cache_has_the_bits_of_that_without() {
    let rows: Vec<Vec<u32>> = rows([7, 3, 30, 12, 1, 30])
        .into_iter()
        .map(|row| row.ids)
        .collect();
    let device = Device::flex();
    for config in [gpt2(), llama()] {
        let model = WithHead::init(config.init(SEED, &device), 3, SEED, &device);
        let of = PrefixOf {
            model: &model.lm,
            blocks: 2,
            precision: Precision::F32,
        };
        // Rows that are padded further than those of training are read without a cache.
        for (pool, min_seq) in [
            (Pool::Last, 0),
            (Pool::Mean, 0),
            (Pool::LastColumn, 20),
            (Pool::LastColumn, 32),
        ] {
            let reading = Reading {
                pool,
                pad_id: 9,
                min_seq,
                max_tokens: 0,
            };
            let folder = tempfile::tempdir().unwrap();
            let cache = cache_of(&folder, &of, &reading.cached_rows(&rows));
            let ctx = ForwardCtx::default();
            let without = class_probabilities(&model, &rows, &reading, &ctx);
            let with = class_probabilities_behind(&model, &rows, Some(&cache), &reading, &ctx);
            assert_eq!(with, without, "{pool:?}");
            // A model with other first blocks is told apart where its own are not asked.
            let other = WithHead {
                lm: config.init(Seed(6), &device),
                ..model.clone()
            };
            let [own, behind] = [None, Some(&cache)]
                .map(|cache| class_probabilities_behind(&other, &rows, cache, &reading, &ctx));
            assert_eq!(own == behind, min_seq == 20, "{pool:?}");
        }
    }
}

#[test]
fn a_cache_of_other_rows_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = gpt2().init(SEED, &Device::flex());
    let of = PrefixOf {
        model: &model,
        blocks: 1,
        precision: Precision::F32,
    };
    let cache = Arc::new(cache_of(&folder, &of, &[vec![1, 2], vec![3]]));
    let settings = settings(1, LAYERS, 1);
    let refused = |lengths: &[usize], reading: Reading| {
        let rows = ClassRows::new(rows(lengths.iter().copied()), 2, reading).unwrap();
        let objective = Classes::new(rows, &settings.trainer, SEED, &autodiff());
        objective.with_prefix(cache.clone()).is_err()
    };
    assert!(!refused(&[2, 1], Reading::default()));
    assert!(refused(&[2], Reading::default()));
    assert!(refused(&[1, 2], Reading::default()));
    let padded = Reading {
        pool: Pool::LastColumn,
        min_seq: 4,
        ..Reading::default()
    };
    assert!(refused(&[2, 1], padded));
}

#[test]
fn a_step_reads_the_cache_in_place_of_the_frozen_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let rows = ClassRows::new(rows([6; 8]), 2, Reading::default()).unwrap();
    let settings = settings(2, LAYERS, 8);
    let other = gpt2().init(Seed(6), &Device::flex());
    let of = PrefixOf {
        model: &other,
        blocks: 2,
        precision: Precision::F32,
    };
    let cache = Arc::new(cache_of(&folder, &of, &rows.cached_rows()));
    let objective = || Classes::new(rows.clone(), &settings.trainer, SEED, &autodiff());
    let losses = [objective(), objective().with_prefix(cache).unwrap()].map(|objective| {
        let model = gpt2().init(SEED, &autodiff()).without_head();
        let model = WithHead::init(model, 2, SEED, &autodiff());
        let mut trainer = Trainer::new(model, objective, &settings, &autodiff()).unwrap();
        trainer.step().unwrap().loss.to_bits()
    });
    assert!(losses[0] != losses[1]);
}

#[test]
fn packed_and_padded_rows_of_tokens_have_the_loss_that_they_have_without_a_cache() {
    let tokenizer = Tokenizer::gpt2();
    let records: Vec<Record> = (0..30)
        .map(|number| {
            let body = Body::Completion {
                prompt: "word ".repeat(number % 7 + 1),
                completion: format!(" {number}"),
            };
            let number = number as u64;
            Record::new(
                body,
                Origin::Made {
                    name: "words",
                    number,
                },
            )
        })
        .collect();
    let config = RowsConfig {
        max_seq_len: 32,
        ..RowsConfig::default()
    };
    let prompter = Prompter::new(&config.template, &tokenizer, None, &[]).unwrap();
    let set = Arc::new(RowSet::build(&records, &prompter, &config).unwrap());
    let decoder = GptConfig {
        vocab_size: tokenizer.vocab_size(),
        dropout: 0.0,
        ..llama()
    };
    let mut settings = settings(2, LAYERS, 4);
    settings.trainer.train_only = Selection::new(["blocks.2", "norm", "head"]);
    let model = decoder.init(SEED, &autodiff());
    let model = settings.trainer.freeze_parameters(model).unwrap();
    let of = PrefixOf {
        model: &model,
        blocks: model.frozen_prefix(),
        precision: Precision::F32,
    };
    let ids: Vec<Vec<u32>> = set.rows().iter().map(|row| row.ids.to_vec()).collect();
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, &of, &ids);
    for layout in [Layout::Padded, Layout::Packed] {
        let config = BatchesConfig {
            layout,
            ..BatchesConfig::default()
        };
        let end = tokenizer.end_of_text();
        let batches = RowBatches::new(vec![set.clone()], &config, 32, 4, end, SEED).unwrap();
        for number in 0..4 {
            let batch = batches.batch(number, 4).unwrap();
            let mut device = DeviceBatch::new(&batch.batch, &autodiff());
            let loss = |batch: &DeviceBatch| {
                let (options, ctx) = (CrossEntropyOptions::default(), ForwardCtx::default());
                batch
                    .loss(&model, &options, &ctx)
                    .share_of(batch.count)
                    .into_scalar::<f32>()
            };
            let without = loss(&device);
            let places = batch.places.iter();
            let places = places.map(|row| row.iter().map(|place| place.row));
            device.tokens = cache.attach(device.tokens, places);
            assert_close(&[loss(&device)], &[without], WHOLE_MODEL_F32, "loss");
        }
    }
}

/// The time of some steps, and their losses.
fn timed(trainer: &mut Trainer<WithHead<Gpt>, Classes>, steps: u64) -> (Duration, Vec<f64>) {
    let start = Instant::now();
    let losses = (0..steps).map(|_| trainer.step().unwrap().loss).collect();
    (start.elapsed(), losses)
}

#[test]
#[ignore = "slow: two minutes of a decoder of GPT-2's size"]
fn later_epochs_of_gpt2_behind_eleven_frozen_blocks_take_a_sixth_of_the_first() {
    let config = Preset::Gpt2.config();
    let (count, per_step) = (64, 8);
    let rows = rows((0..count).map(|number| 64 + number * 37 % 65));
    let rows = ClassRows::new(rows, 2, Reading::default()).unwrap();
    let mut settings = settings(11, 12, per_step as u64);
    settings.trainer.first_step_checks = false;
    let [mut without, mut with] = pair(&config, &rows, 11, &settings);
    let steps = (count / per_step) as u64;
    let whole: Vec<_> = (0..2).map(|_| timed(&mut without, steps)).collect();
    let cached: Vec<_> = (0..4).map(|_| timed(&mut with, steps)).collect();
    for ((_, losses), (_, expected)) in cached.iter().zip(&whole) {
        assert_close(losses, expected, WHOLE_MODEL_F32, "losses");
        let bits = |losses: &[f64]| losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
        let (found, expected) = (bits(losses), bits(expected));
        let equal = found.iter().zip(&expected).filter(|(a, b)| a == b).count();
        eprintln!("{equal} of {steps} losses have the same bits");
    }
    let times = |epochs: &[(Duration, Vec<f64>)]| -> Vec<Duration> {
        epochs.iter().map(|(time, _)| *time).collect()
    };
    let (whole, cached) = (times(&whole), times(&cached));
    eprintln!("epochs without {whole:?}, with {cached:?}");
    let later = cached[1..].iter().min().unwrap();
    assert!(*whole.iter().min().unwrap() > 6 * *later);
}
