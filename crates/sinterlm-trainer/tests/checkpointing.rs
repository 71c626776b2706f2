//! Activation checkpointing changes the memory of a step and nothing else.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use sinterlm_config::{KeyRng, Seed};
use sinterlm_data::Batch;
use sinterlm_eval::DeviceBatch;
use sinterlm_losses::{CrossEntropyOptions, TokenCount};
use sinterlm_model::{Checkpointing, ForwardCtx, Gpt, GptConfig, PathStack, named_values};
use sinterlm_testkit::{SINGLE_OP_F32, assert_close, peak_bytes};
use sinterlm_trainer::{
    At, MicroBatch, Objective, OptimizerConfig, ScheduleConfig, StepSize, TrainError, Trainer,
    TrainerConfig, training_memory,
};

fn model(tied_head: bool, dropout: f64) -> GptConfig {
    GptConfig {
        vocab_size: 61,
        max_seq_len: 16,
        d_model: 32,
        n_layers: 3,
        n_heads: 4,
        tied_head,
        dropout,
        ..GptConfig::default()
    }
}

fn noise(at: At, rows: usize, config: &GptConfig) -> Batch {
    let mut rng = KeyRng::new(100 * at.step + at.micro);
    let mut batch = Batch::padded(rows, config.max_seq_len, 0);
    let mut draw = || (rng.next_f32() * config.vocab_size as f32) as u32;
    batch.ids.fill_with(&mut draw);
    batch.targets.fill_with(&mut draw);
    batch.weights.fill(1.0);
    batch
}

/// Sums the gradients that tapes hold, by path.
#[derive(Default)]
struct Sums(BTreeMap<String, Vec<f32>>);

struct Add<'a>(&'a mut Sums, &'a mut Gradients, PathStack);

impl Sums {
    fn add(&mut self, model: &Gpt, tape: &mut Gradients) {
        model.visit(&mut Add(self, tape, PathStack::default()));
    }
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(self.1) else {
            return;
        };
        let new: Vec<f32> = gradient.into_data().try_into_vec().unwrap();
        let sum = self.0.0.entry(self.2.path());
        sum.and_modify(|sum| sum.iter_mut().zip(&new).for_each(|(sum, new)| *sum += new))
            .or_insert(new);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.2.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.2.exit();
    }
}

fn gradients(config: &GptConfig, checkpointing: bool) -> BTreeMap<String, Vec<f32>> {
    let device = Device::flex().autodiff();
    let model = config.init(Seed(1), &device);
    let ctx = ForwardCtx {
        dropout_key: Some(7),
        checkpointing: checkpointing.then(Checkpointing::default),
        ..ForwardCtx::default()
    };
    let batch = DeviceBatch::new(&noise(At { step: 0, micro: 0 }, 3, config), &device);
    let loss = batch.loss(&model, &CrossEntropyOptions::default(), &ctx);
    let mut tape = loss.share_of(batch.count).backward();
    let mut sums = Sums::default();
    ctx.checkpointing
        .unwrap_or_default()
        .backward(&mut tape, |tape| sums.add(&model, tape));
    sums.0
}

#[test]
fn every_gradient_has_the_bits_of_the_plain_backward_pass() {
    for (tied_head, dropout) in [(true, 0.0), (true, 0.2), (false, 0.0), (false, 0.2)] {
        let config = model(tied_head, dropout);
        let (plain, checkpointed) = (gradients(&config, false), gradients(&config, true));
        assert!(plain.len() > 40, "{} gradients", plain.len());
        assert_eq!(
            plain.keys().collect::<Vec<_>>(),
            checkpointed.keys().collect::<Vec<_>>()
        );
        for (path, gradient) in &plain {
            let what = format!("{path}, tied {tied_head}, dropout {dropout}");
            assert!(gradient == &checkpointed[path], "{what}");
            assert!(gradient.iter().any(|g| *g != 0.0), "{what}: no gradient");
        }
    }
}

struct Noise(GptConfig, usize, Device);

impl Objective<Gpt> for Noise {
    type Batch = Batch;

    fn batch(&self, at: At) -> Result<Batch, TrainError> {
        Ok(noise(at, self.1, &self.0))
    }

    fn count(&self, batch: &Batch) -> TokenCount {
        TokenCount::new(batch.token_count())
    }

    fn loss(&self, model: &Gpt, batch: &Batch, step: TokenCount, ctx: &ForwardCtx) -> Tensor<1> {
        DeviceBatch::new(batch, &self.2)
            .loss(model, &CrossEntropyOptions::default(), ctx)
            .share_of(step)
    }
}

fn trainer(
    config: &GptConfig,
    rows: usize,
    grad_accum_steps: u64,
    activation_checkpointing: bool,
) -> Trainer<Gpt, Noise> {
    let device = Device::flex().autodiff();
    let trainer = TrainerConfig {
        micro_batch_size: MicroBatch::Rows(rows as u64),
        grad_accum_steps,
        activation_checkpointing,
        ..TrainerConfig::default()
    };
    Trainer::new(
        config.init(Seed(1), &device),
        Noise(config.clone(), rows, device.clone()),
        trainer,
        OptimizerConfig::default(),
        ScheduleConfig::default(),
        Seed(2),
        &device,
    )
}

#[test]
fn accumulating_steps_end_at_the_same_weights() {
    let config = model(true, 0.1);
    let [plain, checkpointed] = [false, true].map(|checkpointing| {
        let mut trainer = trainer(&config, 2, 3, checkpointing);
        let norms: Vec<f64> = (0..3).map(|_| trainer.step().unwrap().grad_norm).collect();
        (norms, named_values(trainer.model()))
    });
    assert_close(&plain.0, &checkpointed.0, SINGLE_OP_F32, "norms");
    for (a, b) in plain.1.iter().zip(&checkpointed.1) {
        // The key bias has no gradient but rounding, which Adam scales up.
        if !a.path.ends_with("attn.k.bias") {
            assert_close(&a.values, &b.values, SINGLE_OP_F32, &a.path);
        }
    }
}

#[test]
fn the_peak_memory_of_a_step_falls() {
    const ROWS: usize = 32;
    let config = GptConfig {
        max_seq_len: 64,
        d_model: 64,
        n_layers: 8,
        ..model(true, 0.0)
    };
    let test = "the_peak_memory_of_a_step_falls";
    let peaks = peak_bytes(test, ["keep", "checkpoint"], |mode| {
        trainer(&config, ROWS, 1, mode == "checkpoint")
            .step()
            .unwrap();
    });
    let Some([keep, checkpoint]) = peaks else {
        return;
    };
    let memory = |checkpointing| {
        let step = StepSize {
            rows: ROWS,
            seq: 64,
            activation_checkpointing: checkpointing,
            ..StepSize::default()
        };
        training_memory(&config, &step).peak()
    };
    let (saved, wanted) = (
        keep.saturating_sub(checkpoint),
        memory(false) - memory(true),
    );
    assert!(saved > wanted / 2, "{saved} bytes saved, expected {wanted}");
}
