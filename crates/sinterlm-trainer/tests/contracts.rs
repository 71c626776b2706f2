//! What the trainer promises about parts of a model: frozen, packed, wrapped, twice in one module.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use sinterlm_config::{KeyRng, Seed};
use sinterlm_data::Batch;
use sinterlm_formats::{BlockType, GgufMetadata};
use sinterlm_kernels::run_on_pool;
use sinterlm_losses::{Counts, CrossEntropyOptions};
use sinterlm_model::{
    CausalLm, ForwardCtx, Gpt, GptConfig, LoadOptions, NamedValues, Selection, Weight, WeightsAs,
    WithHead, is_trainable, load_model_with, named_values, save_gguf,
};
use sinterlm_testkit::peak_bytes;
use sinterlm_text::DeviceBatch;
use sinterlm_trainer::{
    At, Figures, MicroBatch, Objective, OptimizerConfig, OptimizerKind, ParamGroup, TrainError,
    TrainSettings, Trainer, TrainerConfig,
};

const SEED: Seed = Seed(5);

fn small() -> GptConfig {
    GptConfig {
        vocab_size: 64,
        max_seq_len: 8,
        d_model: 32,
        n_layers: 3,
        n_heads: 2,
        ..GptConfig::default()
    }
}

fn settings() -> TrainSettings {
    TrainSettings {
        optimizer: OptimizerConfig {
            peak_lr: 1e-2,
            ..OptimizerConfig::default()
        },
        seed: SEED,
        ..TrainSettings::default()
    }
}

/// A batch of drawn tokens.
fn noise(at: At, [rows, seq, vocab]: [usize; 3]) -> Batch {
    let mut rng = KeyRng::new(17 + at.step);
    let mut batch = Batch::padded(rows, seq, 0);
    let mut draw = || (rng.next_f32() * vocab as f32) as u32;
    batch.ids.fill_with(&mut draw);
    batch.targets.fill_with(&mut draw);
    batch.weights.fill(1.0);
    batch
}

/// Next tokens of drawn batches, `[rows, seq, vocab]`, by the part of a module that `part` gives.
struct Noise<M> {
    size: [usize; 3],
    loss: fn(&M, &DeviceBatch, &ForwardCtx) -> Tensor<1>,
    device: Device,
}

impl<M: Module> Objective<M> for Noise<M> {
    type Batch = Batch;

    fn batch(&self, at: At) -> Result<Batch, TrainError> {
        Ok(noise(at, self.size))
    }

    fn counts(&self, batch: &Batch) -> Counts {
        Counts::of_tokens(batch.token_count())
    }

    fn loss(
        &self,
        model: &M,
        batch: &Batch,
        step: &Counts,
        ctx: &ForwardCtx,
        _figures: &mut Figures,
    ) -> Tensor<1> {
        let batch = DeviceBatch::new(batch, &self.device);
        (self.loss)(model, &batch, ctx).div_scalar(step.tokens)
    }
}

/// The summed loss of a language model.
fn next_token<M: CausalLm>(model: &M, batch: &DeviceBatch, ctx: &ForwardCtx) -> Tensor<1> {
    let loss = batch.loss(model, &CrossEntropyOptions::default(), ctx);
    loss.share_of(1.0)
}

fn trainer_of<M: Module>(
    model: M,
    loss: fn(&M, &DeviceBatch, &ForwardCtx) -> Tensor<1>,
    settings: &TrainSettings,
) -> Trainer<M, Noise<M>> {
    let device = Device::flex().autodiff();
    let objective = Noise {
        size: [2, 8, 64],
        loss,
        device: device.clone(),
    };
    Trainer::new(model, objective, settings, &device).unwrap()
}

/// The values of all parameters by path.
fn values<M: Module>(model: &M) -> BTreeMap<String, Vec<f32>> {
    let named = named_values(model).into_iter();
    named
        .map(|NamedValues { path, values, .. }| (path, values))
        .collect()
}

/// The paths whose values differ.
fn changed(before: &BTreeMap<String, Vec<f32>>, after: &BTreeMap<String, Vec<f32>>) -> Vec<String> {
    let differ = after
        .iter()
        .filter(|(path, values)| before[*path] != **values);
    differ.map(|(path, _)| path.clone()).collect()
}

#[test]
fn a_packed_base_stays_packed_through_optimizer_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.gguf");
    let dense = small().init(SEED, &Device::flex());
    save_gguf(&path, &dense, BlockType::Q8_0.into(), GgufMetadata::new()).unwrap();
    let options = LoadOptions {
        weights: WeightsAs::Stored,
        ..LoadOptions::default()
    };
    let device = Device::flex().autodiff();
    let (model, _) = load_model_with(&path, &device, &options).unwrap();
    let before = values(&model);
    let mut settings = settings();
    settings.trainer.ema_decay = 0.5;
    let mut trainer = trainer_of(model, next_token::<Gpt>, &settings);
    for _ in 0..3 {
        trainer.step().unwrap();
    }
    for model in [trainer.model().clone(), trainer.export()] {
        assert!(matches!(model.head().linear.weight, Weight::Packed(_)));
        let after = values(&model);
        let trained = changed(&before, &after);
        assert!(
            trained
                .iter()
                .all(|path| path.contains("norm") || path.ends_with("bias"))
        );
        assert!(
            trained.iter().any(|path| path == "blocks.0.norm_1.weight"),
            "{trained:?}"
        );
        assert!(
            trained.iter().any(|path| path == "norm.weight"),
            "{trained:?}"
        );
    }
}

/// A policy and a critic of one build, so that their parameters have the same ids.
#[derive(Module, Debug)]
struct PolicyAndCritic {
    policy: WithHead<Gpt>,
    critic: WithHead<Gpt>,
}

#[test]
fn two_modules_of_one_build_share_no_gradient() {
    let device = Device::flex().autodiff();
    let make = |seed| WithHead::init(small().init(seed, &device), 1, seed, &device);
    let both = PolicyAndCritic {
        policy: make(Seed(1)),
        critic: make(Seed(2)),
    };
    let before = values(&both);
    let mut settings = settings();
    settings.trainer.first_step_checks = false; // the critic has no gradient, which is the point
    let loss = |model: &PolicyAndCritic, batch: &DeviceBatch, ctx: &ForwardCtx| {
        next_token(&model.policy, batch, ctx)
    };
    let mut trainer = trainer_of(both, loss, &settings);
    trainer.step().unwrap();
    let moved = changed(&before, &values(trainer.model()));
    assert!(
        moved.iter().all(|path| path.starts_with("policy.lm.")),
        "{moved:?}"
    );

    // The policy alone ends at the same bytes as inside the pair.
    let mut alone = trainer_of(make(Seed(1)), next_token::<WithHead<Gpt>>, &settings);
    alone.step().unwrap();
    let pair = values(trainer.model());
    for (path, values) in values(alone.model()) {
        assert!(pair[&format!("policy.{path}")] == values, "{path}");
    }
}

#[test]
fn muon_updates_a_wrapped_model_as_the_model_alone() {
    let device = Device::flex().autodiff();
    let mut settings = settings();
    settings.optimizer.kind = OptimizerKind::Muon;
    let model = || small().init(SEED, &device);
    let mut alone = trainer_of(model(), next_token::<Gpt>, &settings);
    settings.trainer.freeze = Selection::new(["score"]);
    let wrapped = WithHead::init(model(), 2, SEED, &device);
    let mut wrapped = trainer_of(wrapped, next_token::<WithHead<Gpt>>, &settings);
    for _ in 0..2 {
        alone.step().unwrap();
        wrapped.step().unwrap();
    }
    let inside = values(wrapped.model());
    for (path, values) in values(alone.model()) {
        assert!(inside[&format!("lm.{path}")] == values, "{path}");
    }
}

#[test]
fn what_is_selected_is_trained_and_the_rest_stays() {
    let device = Device::flex().autodiff();
    let model = small().init(SEED, &device);
    let before = values(&model);
    let mut settings = settings();
    settings.trainer.train_only = Selection::new(["blocks.2", "ln_f"]);
    settings.trainer.freeze = Selection::new(["blocks.2.attn", "norm.bias"]);
    let mut trainer = trainer_of(model, next_token::<Gpt>, &settings);
    trainer.step().unwrap();
    let moved = changed(&before, &values(trainer.model()));
    let expected: Vec<&String> = before
        .keys()
        .filter(|path| {
            path.starts_with("blocks.2.mlp")
                || path.starts_with("blocks.2.norm")
                || *path == "norm.weight"
        })
        .collect();
    assert!(moved.iter().eq(expected), "{moved:?}");
    let memory = settings.optimizer.memory_of(trainer.model());
    let trained: usize = moved.iter().map(|path| before[path].len()).sum();
    assert_eq!(memory.state, 8 * trained as u64);
}

#[test]
fn a_pattern_that_selects_nothing_names_its_key_and_the_nearest_path() {
    let device = Device::flex().autodiff();
    let error = |settings: &TrainSettings| {
        let objective = Noise {
            size: [2, 8, 64],
            loss: next_token::<Gpt>,
            device: device.clone(),
        };
        let made = Trainer::new(small().init(SEED, &device), objective, settings, &device);
        made.map(drop).unwrap_err().to_string()
    };
    let mut wrong = settings();
    wrong.trainer.freeze = Selection::new(["block.0"]);
    let text = error(&wrong);
    assert!(
        text.starts_with("trainer.freeze: `block.0` matches no"),
        "{text}"
    );
    assert!(text.ends_with("did you mean `blocks.0`?"), "{text}");
    let mut wrong = settings();
    wrong.optimizer.groups = vec![ParamGroup {
        paths: Selection::new(["q_prj"]),
        ..ParamGroup::default()
    }];
    assert!(error(&wrong).starts_with("optimizer.groups.0.paths: `q_prj`"));
    let mut nothing = settings();
    nothing.trainer.freeze = Selection::new(["**"]);
    assert!(error(&nothing).contains("nothing is left to train"));
}

#[test]
fn a_group_has_its_own_rate_and_decay() {
    let device = Device::flex().autodiff();
    let mut still = settings();
    still.trainer.first_step_checks = false; // a rate of zero leaves a tensor as it was
    still.optimizer.groups = vec![
        ParamGroup {
            paths: Selection::new(["blocks"]),
            lr_scale: 0.0,
            ..ParamGroup::default()
        },
        ParamGroup {
            paths: Selection::new(["blocks.1"]),
            lr_scale: 2.0,
            weight_decay: Some(0.0),
        },
    ];
    let mut twice = settings();
    twice.optimizer.peak_lr *= 2.0;
    twice.optimizer.weight_decay = 0.0;
    let model = small().init(SEED, &device);
    let before = values(&model);
    let mut grouped = trainer_of(model.clone(), next_token::<Gpt>, &still);
    let mut doubled = trainer_of(model, next_token::<Gpt>, &twice);
    grouped.step().unwrap();
    doubled.step().unwrap();
    let (grouped, doubled) = (values(grouped.model()), values(doubled.model()));
    for (path, values) in &grouped {
        let expected = match path {
            path if path.starts_with("blocks.1") => &doubled[path],
            path if path.starts_with("blocks") => &before[path],
            _ => continue,
        };
        assert!(values == expected, "{path}");
    }
}

/// Whether any parameter of a module is on the tape.
struct Tracked(bool);

impl ModuleVisitor for Tracked {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 |= is_trainable(param);
    }
}

#[test]
fn a_frozen_prefix_takes_neither_activations_nor_gradients() {
    const NAME: &str = "a_frozen_prefix_takes_neither_activations_nor_gradients";
    let wide = GptConfig {
        vocab_size: 64,
        max_seq_len: 256,
        d_model: 128,
        n_layers: 8,
        n_heads: 2,
        tied_head: false,
        ..GptConfig::default()
    };
    let modes = [
        "nothing",
        "whole",
        "frozen",
        "checkpointed",
        "frozen checkpointed",
    ];
    let peaks = peak_bytes(NAME, modes, |mode| {
        run_on_pool(None, || {
            let device = Device::flex().autodiff();
            let mut settings = settings();
            settings.trainer = TrainerConfig {
                micro_batch_size: MicroBatch::Rows(16),
                activation_checkpointing: mode.ends_with("checkpointed"),
                first_step_checks: false,
                ..TrainerConfig::default()
            };
            if mode.starts_with("frozen") {
                settings.trainer.train_only = Selection::new(["blocks.7", "norm", "head"]);
            }
            let objective = Noise {
                size: [16, 256, 64],
                loss: next_token::<Gpt>,
                device: device.clone(),
            };
            let model = wide.init(SEED, &device);
            let mut trainer = Trainer::new(model, objective, &settings, &device).unwrap();
            let mut tracked = Tracked(false);
            trainer.model().visit(&mut tracked);
            assert!(tracked.0);
            for _ in 0..if mode == "nothing" { 0 } else { 2 } {
                trainer.step().unwrap();
            }
        });
    });
    let Some([nothing, whole, frozen, checkpointed, both]) = peaks else {
        return;
    };
    let [whole, frozen, checkpointed, both] =
        [whole, frozen, checkpointed, both].map(|peak| (peak - nothing) >> 20);
    eprintln!("MiB: {whole} whole, {frozen} frozen, {checkpointed} checkpointed, {both} both");
    // One block of eight keeps its activations, its gradients and its moments.
    assert!(frozen * 4 < whole, "{frozen} of {whole} MiB");
    // Eight inputs of blocks and one block at a time against one block.
    assert!(both * 5 < checkpointed * 4, "{both} of {checkpointed} MiB");
}
