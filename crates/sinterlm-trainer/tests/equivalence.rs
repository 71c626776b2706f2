//! Ways to the same result: micro-batches and one batch, resumed and unbroken, again and again.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::path::Path;

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_data::{TokenStore, Tokenizer, TrainWindows, ValidWindows};
use sinterlm_eval::loss_over;
use sinterlm_model::{
    ForwardCtx, Gpt, GptConfig, NamedValues, load_model, named_values, save_model,
};
use sinterlm_run::{Event, Observer, RunError, StopFlag, StopReason};
use sinterlm_testkit::{Tolerance, WHOLE_MODEL_F32, assert_close, tiny_stories};
use sinterlm_trainer::{
    Checkpoint, Checkpoints, Hooks, MicroBatch, Moments, NextToken, OptimizerConfig, OptimizerKind,
    ScheduleConfig, StopCause, TrainError, TrainSettings, Trainer, TrainerConfig, Trigger,
    find_checkpoint, set_aside_broken,
};

const SEED: Seed = Seed(5);
const SEQ: usize = 16;

struct Setup {
    tokenizer: Tokenizer,
    store: TokenStore,
    device: Device,
    moments: Moments,
}

impl Setup {
    fn new() -> Self {
        let tokenizer = Tokenizer::train_bpe(tiny_stories(), 300).expect("enough text");
        let store = TokenStore::from_documents(&tokenizer, tiny_stories());
        Self {
            tokenizer,
            store,
            device: Device::flex().autodiff(),
            moments: Moments::F32,
        }
    }

    fn model_config(&self) -> GptConfig {
        GptConfig {
            vocab_size: self.tokenizer.vocab_size(),
            max_seq_len: SEQ,
            d_model: 32,
            n_layers: 2,
            n_heads: 2,
            dropout: 0.1,
            ..GptConfig::default()
        }
    }

    fn trainer(&self, model: Gpt, config: &TrainerConfig) -> Trainer<Gpt, NextToken> {
        let windows = TrainWindows::new(self.store.clone(), SEQ, SEED).expect("enough tokens");
        let objective = NextToken::new(windows, config, &self.device);
        let optimizer = OptimizerConfig {
            kind: OptimizerKind::Muon,
            moments: self.moments,
            peak_lr: 5e-3,
            ..Default::default()
        };
        let schedule = ScheduleConfig {
            warmup_steps: 2,
            ..Default::default()
        };
        Trainer::new(
            model,
            objective,
            &TrainSettings {
                trainer: config.clone(),
                optimizer,
                schedule,
                seed: SEED,
            },
            &self.device,
        )
        .unwrap()
    }

    fn fresh(&self, config: &TrainerConfig) -> Trainer<Gpt, NextToken> {
        self.trainer(self.model_config().init(SEED, &self.device), config)
    }
}

fn config(rows: u64, grad_accum_steps: u64) -> TrainerConfig {
    TrainerConfig {
        max_steps: 8,
        micro_batch_size: MicroBatch::Rows(rows),
        grad_accum_steps,
        ema_decay: 0.9,
        ..TrainerConfig::default()
    }
}

fn assert_same(a: &[NamedValues], b: &[NamedValues]) {
    for (a, b) in a.iter().zip(b) {
        assert!(a == b, "{} differs", a.path);
    }
}

#[test]
fn micro_batches_equal_one_batch() {
    let setup = Setup::new();
    let model = || {
        GptConfig {
            dropout: 0.0,
            ..setup.model_config()
        }
        .init(SEED, &setup.device)
    };
    let mut whole = setup.trainer(model(), &config(4, 1));
    let mut parts = setup.trainer(model(), &config(1, 4));
    for _ in 0..3 {
        let (a, b) = (whole.step().unwrap(), parts.step().unwrap());
        assert_close(&[a.loss], &[b.loss], WHOLE_MODEL_F32, "loss");
        assert_close(&[a.grad_norm], &[b.grad_norm], WHOLE_MODEL_F32, "norm");
        assert!((a.tokens - b.tokens).abs() < 1e-9);
    }
    // Muon magnifies the rounding of a gradient along its small singular values.
    let tolerance = Tolerance {
        relative: 1e-3,
        ..WHOLE_MODEL_F32
    };
    for (a, b) in named_values(whole.model())
        .iter()
        .zip(named_values(parts.model()))
    {
        if !a.path.ends_with("attn.k.bias") {
            assert_close(&a.values, &b.values, tolerance, &a.path);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let setup = Setup::new();
    let run = || {
        let mut trainer = setup.fresh(&config(2, 2));
        let losses: Vec<f64> = (0..4).map(|_| trainer.step().unwrap().loss).collect();
        (losses, named_values(trainer.model()))
    };
    let (first, second) = (run(), run());
    assert_eq!(first.0, second.0);
    assert_same(&first.1, &second.1);
}

fn hooks(folder: &Path, every_steps: u64) -> Hooks<'static, Gpt> {
    Hooks {
        kind: "pretrain",
        checkpoints: Some(Checkpoints::new(folder, |folder, model: &Gpt| {
            Ok(save_model(folder, model, 0)?)
        })),
        checkpoint_at: Trigger {
            every_steps,
            ..Trigger::default()
        },
        ..Hooks::default()
    }
}

fn resume(setup: &Setup, checkpoint: Checkpoint) -> Trainer<Gpt, NextToken> {
    let model = load_model(&checkpoint.path, &setup.device).expect("a whole model");
    let mut trainer = setup.trainer(model, &config(2, 2));
    trainer
        .resume(checkpoint)
        .expect("a checkpoint of this run");
    trainer
}

#[test]
fn a_resumed_run_equals_the_unbroken_one() {
    for moments in [Moments::F32, Moments::Bf16, Moments::Int8] {
        resumed_equals_unbroken(&Setup {
            moments,
            ..Setup::new()
        });
    }
}

fn resumed_equals_unbroken(setup: &Setup) {
    let folder = tempfile::tempdir().unwrap();
    let mut unbroken = setup.fresh(&config(2, 2));
    let outcome = unbroken.run(&mut hooks(folder.path(), 3)).unwrap();
    assert_eq!((outcome.cause, outcome.steps), (StopCause::Done, 8));

    let third = folder.path().join("step-00000003");
    let mut resumed = resume(setup, Checkpoint::open(&third).unwrap());
    assert_eq!(resumed.steps(), 3);
    resumed.run(&mut Hooks::default()).unwrap();
    assert_eq!(resumed.tokens(), unbroken.tokens());
    assert_same(
        &named_values(resumed.model()),
        &named_values(unbroken.model()),
    );
    assert_same(
        &named_values(&resumed.export()),
        &named_values(&unbroken.export()),
    );
}

#[test]
fn a_broken_checkpoint_is_named_and_passed_over() {
    let setup = Setup::new();
    let folder = tempfile::tempdir().unwrap();
    setup
        .fresh(&config(2, 2))
        .run(&mut hooks(folder.path(), 3))
        .unwrap();
    let newest = folder.path().join("step-00000008");
    let mut damaged = 0;
    for entry in std::fs::read_dir(&newest).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let whole = std::fs::read(&file).unwrap();
        let damage: [(&str, &dyn Fn()); 4] = [
            ("removed", &|| std::fs::remove_file(&file).unwrap()),
            ("empty", &|| std::fs::write(&file, b"").unwrap()),
            ("truncated", &|| {
                std::fs::write(&file, &whole[..whole.len() - 4]).unwrap();
            }),
            ("bit-flipped", &|| {
                let mut bytes = whole.clone();
                // In the manifest a digit of a checksum, elsewhere any bit.
                let at = whole.windows(6).position(|w| w == b"sha256");
                bytes[at.map_or(whole.len() / 2, |at| at + 12)] ^= 1;
                std::fs::write(&file, bytes).unwrap();
            }),
        ];
        for (what, break_it) in damage {
            break_it();
            let (found, broken) = find_checkpoint(folder.path());
            let (found, what) = (found.unwrap().path, format!("{name}, {what}"));
            assert!(found.ends_with("step-00000006"), "{what}");
            assert!(broken[0].to_string().contains("step-00000008"), "{what}");
            let is_named = name == "manifest.json" || broken[0].to_string().contains(&name);
            assert!(is_named, "{what}: {}", broken[0]);
            std::fs::write(&file, &whole).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 5 * 4, "five files, each in four ways");
    let (found, broken) = find_checkpoint(folder.path());
    assert!(found.unwrap().path.ends_with("step-00000008") && broken.is_empty());
}

#[test]
fn a_run_goes_on_past_a_broken_checkpoint_which_is_kept_aside() {
    let setup = Setup::new();
    let folder = tempfile::tempdir().unwrap();
    let run = |mut trainer: Trainer<Gpt, NextToken>| {
        trainer.run(&mut hooks(folder.path(), 3)).unwrap();
        trainer
    };
    run(setup.fresh(&config(2, 2)));
    let newest = folder.path().join("step-00000008");
    std::fs::write(newest.join("trainer.json"), "{").unwrap();
    let (found, _) = find_checkpoint(folder.path());
    let found = found.unwrap();
    set_aside_broken(folder.path(), Some(&found.path)).unwrap();
    assert!(folder.path().join("broken-step-00000008").is_dir());
    run(resume(&setup, found));
    // At the last step already, as after a fault behind the last checkpoint: nothing is rewritten.
    let finished = run(resume(&setup, Checkpoint::open(&newest).unwrap()));
    assert_eq!(finished.steps(), 8);
}

/// Raises the flag after a step, as a signal would.
struct StopAfter(u64, StopFlag);

impl Observer for StopAfter {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(record) = event
            && record.step == self.0
        {
            self.1.request(StopReason::Terminate);
        }
        Ok(())
    }
}

#[test]
fn a_signal_ends_the_run_after_the_step_in_hand_with_a_checkpoint() {
    let setup = Setup::new();
    let folder = tempfile::tempdir().unwrap();
    let stop = StopFlag::new();
    let mut hooks = hooks(folder.path(), 0);
    hooks.observers.push(StopAfter(5, stop.clone()));
    hooks.stop = Some(stop);
    let mut trainer = setup.fresh(&config(2, 2));
    let outcome = trainer.run(&mut hooks).unwrap();
    assert_eq!(outcome.cause, StopCause::Requested(StopReason::Terminate));
    assert_eq!(outcome.steps, 5);
    let mut resumed = resume(
        &setup,
        Checkpoint::open(&outcome.checkpoint.unwrap()).unwrap(),
    );
    resumed.run(&mut Hooks::default()).unwrap();

    let mut unbroken = setup.fresh(&config(2, 2));
    unbroken.run(&mut Hooks::default()).unwrap();
    assert_same(
        &named_values(resumed.model()),
        &named_values(unbroken.model()),
    );
}

#[test]
fn a_loss_that_is_not_finite_reaches_no_weight() {
    let setup = Setup::new();
    let poisoned = setup.model_config().init_from(&setup.device, |spec| {
        let mut values = spec.draw(SEED);
        if spec.path == "blocks.1.mlp.up.weight" {
            values[0] = f32::NAN;
        }
        Ok::<_, TrainError>(values)
    });
    let mut trainer = setup.trainer(poisoned.unwrap(), &config(2, 1));
    let before = named_values(trainer.model());
    let error = trainer.step().unwrap_err();
    assert!(
        matches!(error, TrainError::NotFinite { step: 1, .. }),
        "{error}"
    );
    assert_eq!(trainer.steps(), 0);
    for (a, b) in before.iter().zip(named_values(trainer.model())) {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a.values), bits(&b.values), "{}", a.path);
    }
}

#[test]
fn early_stopping_ends_a_run_that_no_longer_improves() {
    let setup = Setup::new();
    let config = TrainerConfig {
        early_stopping_patience: 2,
        max_steps: 50,
        ..config(2, 1)
    };
    let mut scores = [3.0, 2.0, 2.5, 2.4, 1.0].into_iter();
    let mut hooks = Hooks {
        evaluate: Some(Box::new(move |_: &Gpt, _| {
            let loss = scores.next().unwrap_or(9.0);
            Ok(vec![("valid/loss".to_owned(), loss)])
        })),
        evaluate_at: Trigger {
            every_steps: 2,
            ..Trigger::default()
        },
        ..Hooks::default()
    };
    let outcome = setup.fresh(&config).run(&mut hooks).unwrap();
    assert_eq!(
        (outcome.cause, outcome.steps),
        (StopCause::EarlyStopping, 8)
    );
}

#[test]
fn training_lowers_the_validation_loss() {
    let setup = Setup::new();
    let plain = Device::flex();
    let valid = ValidWindows::new(setup.store.clone(), SEQ).unwrap();
    let mut trainer = setup.fresh(&TrainerConfig {
        max_steps: 60,
        ..config(8, 1)
    });
    let score = |trainer: &Trainer<Gpt, NextToken>| {
        let ctx = ForwardCtx::default();
        loss_over(&trainer.export(), valid.batches(4), &ctx, &plain)
            .mean()
            .unwrap()
    };
    let before = score(&trainer);
    assert!(
        (before - (setup.tokenizer.vocab_size() as f64).ln()).abs() < 0.2,
        "{before}"
    );
    trainer.run(&mut Hooks::default()).unwrap();
    let after = score(&trainer);
    assert!(after < before - 1.5, "from {before} to {after}");
}
