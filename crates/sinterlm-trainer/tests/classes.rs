//! Classification: what a step sees, and ways to the same result.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use burn::tensor::Device;
use sinterlm_config::{KeyRng, Seed};
use sinterlm_eval::class_probabilities;
use sinterlm_model::{
    ClassHead, ForwardCtx, Gpt, GptConfig, Pool, Reading, SaveOptions, WithHead, load_with_head,
    named_values, save_with_head,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close};
use sinterlm_trainer::{
    At, Checkpoint, Checkpoints, ClassRow, ClassRows, Classes, Hooks, MicroBatch, Objective,
    OptimizerConfig, TrainSettings, Trainer, TrainerConfig, Trigger,
};

const SEED: Seed = Seed(5);

/// Rows that are of class 1 where they hold the token 3, of 1 to 9 tokens.
fn rows(count: usize) -> Vec<ClassRow> {
    let mut rng = KeyRng::new(11);
    let mut draw = |bound: u32| (rng.next_f32() * bound as f32) as u32;
    let mut row = |number: usize| {
        let class = (number % 2) as u32;
        let mut ids: Vec<u32> = (0..=draw(9)).map(|_| 4 + draw(28)).collect();
        if class == 1 {
            let at = draw(ids.len() as u32) as usize;
            ids[at] = 3;
        }
        ClassRow {
            ids,
            class,
            weight: 1.0,
        }
    };
    (0..count).map(&mut row).collect()
}

fn reading(pool: Pool) -> Reading {
    Reading {
        pool,
        ..Reading::default()
    }
}

fn fresh(dropout: f64) -> WithHead<Gpt> {
    let device = Device::flex().autodiff();
    let config = GptConfig {
        vocab_size: 32,
        max_seq_len: 16,
        d_model: 32,
        n_layers: 2,
        n_heads: 2,
        dropout,
        ..GptConfig::default()
    };
    WithHead::init(config.init(SEED, &device), 2, SEED, &device)
}

fn settings(rows: u64, grad_accum_steps: u64) -> TrainSettings {
    TrainSettings {
        trainer: TrainerConfig {
            max_steps: 6,
            micro_batch_size: MicroBatch::Rows(rows),
            grad_accum_steps,
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

fn objective(rows: ClassRows, settings: &TrainSettings) -> Classes {
    Classes::new(rows, &settings.trainer, SEED, &Device::flex().autodiff()).untrained(true)
}

fn trainer(
    model: WithHead<Gpt>,
    rows: ClassRows,
    settings: &TrainSettings,
) -> Trainer<WithHead<Gpt>, Classes> {
    let objective = objective(rows, settings);
    Trainer::new(model, objective, settings, &Device::flex().autodiff()).unwrap()
}

#[test]
fn micro_batches_equal_one_batch_whatever_weighs_on_rows() {
    for pool in [Pool::Last, Pool::Mean] {
        let mut weighted = rows(21);
        weighted[3].weight = 0.25;
        weighted[8].weight = 0.0;
        let weighted = ClassRows::new(weighted, 2, reading(pool)).unwrap();
        let weighted = weighted.with_class_weights(&[0.5, 2.0]).unwrap();
        let mut whole = settings(8, 1);
        whole.trainer.first_step_checks = false; // one row has no weight
        let mut parts = settings(2, 4);
        parts.trainer.first_step_checks = false;
        let mut whole = trainer(fresh(0.0), weighted.clone(), &whole);
        let mut parts = trainer(fresh(0.0), weighted, &parts);
        for _ in 0..4 {
            let (a, b) = (whole.step().unwrap(), parts.step().unwrap());
            assert_close(&[a.loss], &[b.loss], WHOLE_MODEL_F32, "loss");
            assert_close(&[a.grad_norm], &[b.grad_norm], WHOLE_MODEL_F32, "norm");
            assert_eq!(a.get("train/accuracy"), b.get("train/accuracy"));
            assert!((a.tokens - b.tokens).abs() < 1e-9);
        }
        for (a, b) in named_values(whole.model())
            .iter()
            .zip(named_values(parts.model()))
        {
            if !a.path.ends_with("attn.k.bias") {
                assert_close(&a.values, &b.values, WHOLE_MODEL_F32, &a.path);
            }
        }
    }
}

#[test]
fn a_resumed_run_equals_the_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, settings) = (rows(21), settings(3, 2));
    let rows = ClassRows::new(rows, 2, reading(Pool::Last)).unwrap();
    let head = ClassHead {
        labels: vec!["without".to_owned(), "with".to_owned()],
        reading: reading(Pool::Last),
        threshold: None,
    };
    let save = move |folder: &std::path::Path, model: &WithHead<Gpt>| {
        Ok(save_with_head(folder, model, &head, &SaveOptions::new(0))?)
    };
    let mut unbroken = trainer(fresh(0.1), rows.clone(), &settings);
    let mut hooks = Hooks {
        kind: "classify",
        checkpoints: Some(Checkpoints::new(folder.path(), save)),
        checkpoint_at: Trigger {
            every_steps: 2,
            ..Trigger::default()
        },
        ..Hooks::default()
    };
    unbroken.run(&mut hooks).unwrap();

    let checkpoint = Checkpoint::open(&folder.path().join("step-00000002")).unwrap();
    let (mut model, _) = load_with_head(&checkpoint.path, &Device::flex().autodiff()).unwrap();
    model.lm = model.lm.with_dropout(0.1);
    let mut resumed = trainer(model, rows, &settings);
    resumed.resume(checkpoint).unwrap();
    assert_eq!(resumed.steps(), 2);
    resumed.run(&mut Hooks::default()).unwrap();
    assert!(named_values(resumed.model()) == named_values(unbroken.model()));
}

#[test]
fn an_epoch_visits_each_row_once_and_the_next_one_in_another_order() {
    let settings = settings(3, 2);
    let rows = ClassRows::new(rows(18), 2, reading(Pool::Last)).unwrap();
    let objective = objective(rows, &settings);
    let objective: &dyn Objective<WithHead<Gpt>, Batch = _> = &objective;
    let step = |step: u64| -> Vec<u64> {
        let mut seen = Vec::new();
        let mut lengths = Vec::new();
        for micro in 0..2 {
            let batch = objective.batch(At { step, micro }).unwrap();
            let facts = objective.rows(&batch);
            lengths.extend(facts.iter().map(|row| row.ids.len()));
            seen.extend(facts.iter().map(|row| row.documents.unwrap()[0]));
        }
        assert!(lengths.is_sorted(), "{lengths:?}");
        seen
    };
    let epoch = |number: u64| -> Vec<Vec<u64>> { (3 * number..3 * number + 3).map(step).collect() };
    for number in 0..2 {
        let mut seen = epoch(number).concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..18).collect::<Vec<_>>());
    }
    assert_ne!(epoch(0), epoch(1));
    assert_eq!(objective.epochs(3), Some(1.0));
}

#[test]
fn equal_texts_of_both_classes_get_the_share_of_their_weights() {
    let of = |weights: [f32; 2]| {
        let same = |class| ClassRow {
            ids: vec![5, 6],
            class,
            weight: 1.0,
        };
        let rows = vec![same(0), same(1)];
        let rows = ClassRows::new(rows, 2, reading(Pool::Last)).unwrap();
        let rows = rows.with_class_weights(&weights).unwrap();
        let mut settings = settings(1, 2);
        settings.trainer.max_steps = 100;
        let mut trainer = trainer(fresh(0.0), rows, &settings);
        trainer.run(&mut Hooks::default()).unwrap();
        let (model, ctx) = (trainer.export(), ForwardCtx::default());
        class_probabilities(&model, &[[5, 6]], &reading(Pool::Last), &ctx)[1]
    };
    let (second, first) = (of([0.25, 1.0]), of([3.0, 1.0]));
    assert!((second - 0.8).abs() < 0.02, "{second}");
    assert!((first - 0.25).abs() < 0.02, "{first}");
}

#[test]
fn a_classifier_learns_what_only_attention_can_tell() {
    let mut settings = settings(16, 1);
    settings.trainer.max_steps = 150;
    let train = ClassRows::new(rows(256), 2, reading(Pool::Last)).unwrap();
    let mut trainer = trainer(fresh(0.0), train, &settings);
    let first = trainer.step().unwrap();
    assert!((first.loss - 2f64.ln()).abs() < 0.02, "{}", first.loss);
    trainer.run(&mut Hooks::default()).unwrap();
    let unseen = rows(400).split_off(256);
    let (model, ctx) = (trainer.export(), ForwardCtx::default());
    let found = class_probabilities(&model, &unseen, &reading(Pool::Last), &ctx);
    let right = unseen
        .iter()
        .zip(found.chunks(2))
        .filter(|(row, found)| usize::from(found[1] > found[0]) == row.class as usize)
        .count();
    let share = right as f64 / unseen.len() as f64;
    assert!(share > 0.9, "{share}");
}

#[test]
fn label_smoothing_keeps_the_loss_off_zero() {
    let rows = ClassRows::new(rows(8), 2, reading(Pool::Last)).unwrap();
    let mut settings = settings(8, 1);
    settings.trainer.max_steps = 60;
    let device = Device::flex().autodiff();
    let losses = [0.0, 0.2].map(|share| {
        let objective = objective(rows.clone(), &settings).with_label_smoothing(share);
        let mut trainer = Trainer::new(fresh(0.0), objective, &settings, &device).unwrap();
        trainer.run(&mut Hooks::default()).unwrap();
        trainer.step().unwrap().loss
    });
    // Its least value is the entropy of (0.9, 0.1), 0.325 nats.
    assert!(losses[0] < 0.1 && losses[1] > 0.32, "{losses:?}");
}

#[test]
fn rows_that_do_not_fit_the_model_are_an_error() {
    let error = |rows: ClassRows| {
        let mut trainer = trainer(fresh(0.0), rows, &settings(2, 1));
        trainer.step().unwrap_err().to_string()
    };
    let mut long = rows(4);
    long[2].ids = vec![1; 17];
    let long = ClassRows::new(long, 2, reading(Pool::Last)).unwrap();
    assert!(error(long).contains("the longest has 17 tokens, and the model reads 16"));
    let three = ClassRows::new(rows(4), 3, reading(Pool::Last)).unwrap();
    assert!(error(three).contains("they are of 3 classes, and the head has 2 outputs"));
}
