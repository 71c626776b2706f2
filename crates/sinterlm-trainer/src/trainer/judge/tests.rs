//! Poisoned weights, losses and gradients: what is reported, what stays as it was, what a resume keeps.
#![allow(clippy::float_cmp)] // powers of two

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_data::{RowBatch, TokenStore, Tokenizer, TrainWindows};
use sinterlm_losses::Counts;
use sinterlm_model::{CausalLm, ForwardCtx, Gpt, GptConfig, NamedValues, Precision, named_values};
use sinterlm_run::{Observers, PostMortem, RowFacts, RunError};
use sinterlm_testkit::tiny_stories;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::{MicroBatch, TrainerConfig};
use crate::figures::{Figures, StepFigures};
use crate::loss_scale::LossScale;
use crate::next_token::NextToken;
use crate::objective::At;
use crate::optimizer::{OptimizerConfig, OptimizerKind};
use crate::schedule::ScheduleConfig;
use crate::state::HostTensor;
use crate::trainer::TrainSettings;
use crate::trigger::Trigger;

const SEED: Seed = Seed(5);
const SEQ: usize = 16;

/// What is wrong with a step.
#[derive(Clone, Copy, Debug)]
enum Poison {
    /// Its loss is infinite, though every activation is finite.
    InfiniteLoss,
    /// Its loss is as it should be, and the gradient of the embeddings is not.
    GradientOnly,
    /// Its loss depends on the embeddings alone.
    Detached,
    /// Its loss is that many times as large.
    Factor(f32),
}

/// Next-token prediction, poisoned in the last micro-batch of some steps.
struct Poisoned {
    inner: NextToken,
    poison: BTreeMap<u64, Poison>,
    micro: u64,
}

impl Objective<Gpt> for Poisoned {
    type Batch = (At, RowBatch);

    fn batch(&self, at: At) -> Result<Self::Batch, TrainError> {
        Ok((at, Objective::<Gpt>::batch(&self.inner, at)?))
    }

    fn counts(&self, (_, batch): &Self::Batch) -> Counts {
        Objective::<Gpt>::counts(&self.inner, batch)
    }

    fn loss(
        &self,
        model: &Gpt,
        (at, batch): &Self::Batch,
        step: &Counts,
        ctx: &ForwardCtx,
        figures: &mut Figures,
    ) -> Tensor<1> {
        let loss = self.inner.loss(model, batch, step, ctx, figures);
        let poison = self.poison.get(&(at.step + 1));
        match poison.filter(|_| at.micro == self.micro) {
            None => loss,
            Some(Poison::InfiniteLoss) => loss.add_scalar(f32::INFINITY),
            // The slope of a root at zero, times zero.
            Some(Poison::GradientOnly) => {
                let zero = model.head().linear.weight.val().mul_scalar(0.0).sum();
                loss + zero.sqrt()
            }
            Some(Poison::Detached) => model
                .head()
                .linear
                .weight
                .val()
                .square()
                .mean()
                .add_scalar(5.7),
            Some(Poison::Factor(factor)) => loss.mul_scalar(*factor),
        }
    }

    fn first_loss(&self, model: &Gpt) -> Option<f64> {
        self.inner.first_loss(model)
    }

    fn rows(&self, (_, batch): &Self::Batch) -> Vec<RowFacts> {
        Objective::<Gpt>::rows(&self.inner, batch)
    }

    fn locate(&self, at: At, rows: &mut [RowFacts]) {
        Objective::<Gpt>::locate(&self.inner, at, rows);
    }
}

fn config() -> TrainerConfig {
    TrainerConfig {
        max_steps: 8,
        micro_batch_size: MicroBatch::Rows(2),
        grad_accum_steps: 2,
        ema_decay: 0.9,
        on_non_finite: OnNonFinite::Skip,
        max_skipped_steps: 3,
        ..TrainerConfig::default()
    }
}

/// A trainer with what `values` does to each initial parameter, poisoned at some steps from 1.
fn trainer_of(
    config: &TrainerConfig,
    poison: &[(u64, Poison)],
    mut values: impl FnMut(&str, &mut Vec<f32>),
) -> Trainer<Gpt, Poisoned> {
    let tokenizer = Tokenizer::train_bpe(tiny_stories(), 300).unwrap();
    let store = TokenStore::from_documents(&tokenizer, tiny_stories());
    let device = Device::flex().autodiff();
    let model = GptConfig {
        vocab_size: tokenizer.vocab_size(),
        max_seq_len: SEQ,
        d_model: 32,
        n_layers: 2,
        n_heads: 2,
        dropout: 0.1,
        ..GptConfig::default()
    };
    let model = model.init_from(&device, |spec| {
        let mut drawn = spec.draw(SEED);
        values(&spec.path, &mut drawn);
        Ok::<_, std::convert::Infallible>(drawn)
    });
    let windows = TrainWindows::new(store, SEQ, SEED).unwrap();
    let objective = Poisoned {
        inner: NextToken::new(windows, config, &device).untrained(true),
        poison: poison.iter().copied().collect(),
        micro: config.grad_accum_steps - 1,
    };
    let optimizer = OptimizerConfig {
        kind: OptimizerKind::Muon,
        peak_lr: 5e-3,
        ..OptimizerConfig::default()
    };
    let schedule = ScheduleConfig::default();
    let (model, config) = (model.unwrap(), config.clone());
    Trainer::new(
        model,
        objective,
        &TrainSettings {
            trainer: config,
            optimizer,
            schedule,
            seed: SEED,
        },
        &device,
    )
    .unwrap()
}

fn trainer(config: &TrainerConfig, poison: &[(u64, Poison)]) -> Trainer<Gpt, Poisoned> {
    trainer_of(config, poison, |_, _| {})
}

/// The bits of each parameter.
type Bits = Vec<(String, Vec<u32>)>;

fn bits(values: &[NamedValues]) -> Bits {
    let of = |v: &NamedValues| {
        (
            v.path.clone(),
            v.values.iter().map(|x| x.to_bits()).collect(),
        )
    };
    values.iter().map(of).collect()
}

/// Weights, moments and moving average.
fn everything(trainer: &Trainer<Gpt, Poisoned>) -> (Bits, BTreeMap<String, HostTensor>) {
    (
        bits(&named_values(trainer.model())),
        trainer.state().tensors,
    )
}

fn steps(trainer: &mut Trainer<Gpt, Poisoned>, count: usize) -> Vec<StepFigures> {
    (0..count).map(|_| trainer.step().unwrap()).collect()
}

#[test]
fn a_skipped_step_leaves_weights_moments_and_average_and_counts() {
    for poison in [Poison::InfiniteLoss, Poison::GradientOnly] {
        let mut trainer = trainer(&config(), &[(3, poison)]);
        steps(&mut trainer, 2);
        let (before, tokens) = (everything(&trainer), trainer.tokens());
        let report = trainer.step().unwrap();
        assert!(report.skipped, "{poison:?}");
        assert_eq!((trainer.steps(), trainer.tokens()), (3, tokens));
        assert!(everything(&trainer) == before, "{poison:?}");
        assert!(trainer.take_post_mortem().is_some());

        let report = trainer.step().unwrap();
        assert!(!report.skipped && report.step == 4);
        assert!(everything(&trainer) != before);
        assert_eq!((trainer.guard.skipped, trainer.guard.in_a_row), (1, 0));
    }
}

#[test]
fn a_first_step_that_is_skipped_is_no_first_update() {
    let mut skipping = trainer(&config(), &[(1, Poison::InfiniteLoss)]);
    assert!(skipping.step().unwrap().skipped);
    let state = skipping.state();
    let checkpoint = Checkpoint {
        path: "step-1".into(),
        state,
    };
    let mut resumed = trainer(&config(), &[]);
    resumed.resume(checkpoint).unwrap();
    let (a, b) = (steps(&mut skipping, 2), steps(&mut resumed, 2));
    assert_eq!(a, b);
    assert!(everything(&skipping) == everything(&resumed));
}

#[test]
fn skipping_ends_after_the_limit_in_a_row_with_one_post_mortem() {
    let poison: Vec<_> = [2, 4, 5, 6, 7]
        .map(|step| (step, Poison::InfiniteLoss))
        .into();
    let mut trainer = trainer(&config(), &poison);
    let mut looks = 0;
    for step in 1..=6 {
        let report = trainer.step().unwrap();
        assert_eq!(report.skipped, ![1, 3].contains(&step), "step {step}");
        looks += u64::from(trainer.take_post_mortem().is_some());
    }
    assert_eq!((looks, trainer.guard.skipped), (2, 4));
    let error = trainer.step().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("and 3 steps before it were skipped"),
        "{error}"
    );
    assert_eq!(trainer.steps(), 6);
}

fn stop() -> TrainerConfig {
    TrainerConfig {
        on_non_finite: OnNonFinite::Stop,
        ..config()
    }
}

fn fatal(mut trainer: Trainer<Gpt, Poisoned>) -> (TrainError, PostMortem) {
    let before = everything(&trainer);
    let error = loop {
        if let Err(error) = trainer.step() {
            break error;
        }
    };
    if trainer.steps() == 0 {
        assert!(everything(&trainer) == before, "nothing is updated");
    }
    (error, trainer.take_post_mortem().unwrap())
}

#[test]
fn a_poisoned_weight_is_named_with_the_first_output_behind_it() {
    for activation_checkpointing in [false, true] {
        let config = TrainerConfig {
            activation_checkpointing,
            ..stop()
        };
        let poisoned = trainer_of(&config, &[], |path, values| {
            if path == "blocks.1.mlp.up.weight" {
                values[5] = f32::NAN;
            }
        });
        let (error, report) = fatal(poisoned);
        let error = error.to_string();
        assert!(
            error.starts_with("step 1: the loss (first in blocks.1.mlp.up) is not finite;"),
            "{error}"
        );
        let first = report.first_activation.unwrap();
        assert_eq!(
            (first.name.as_str(), first.dtype.as_str()),
            ("blocks.1.mlp.up", "f32")
        );
        // One output of the layer at every position of both rows.
        assert_eq!(
            (first.not_finite, first.rows),
            (2 * SEQ, vec![[0, 0], [1, 0]])
        );
        let weights: Vec<&str> = report.weights.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(weights, ["blocks.1.mlp.up.weight"]);
        let mut names: Vec<&str> = report.activations.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names.last(), Some(&"loss"));
        let seen = names.len();
        names.dedup();
        assert_eq!(names.len(), seen, "each once");
        assert_eq!(
            (report.step, report.micro_batch, report.rows.len()),
            (1, 0, 2)
        );
        assert!(report.rows.iter().all(|row| row.trained_tokens == SEQ
            && row.ids.len() == SEQ
            && row.documents.is_some()
            && row.first_token.is_some()));
    }
}

#[test]
fn a_poisoned_token_is_found_by_its_row_and_position() {
    let clean = trainer(&stop(), &[]);
    let rows = clean
        .objective
        .rows(&clean.objective.batch(At { step: 0, micro: 0 }).unwrap());
    let position = 7;
    let token = rows[1].ids[position];
    let poisoned = trainer_of(&stop(), &[], |path, values| {
        if path == "wte.weight" {
            values[token as usize * 32] = f32::INFINITY;
        }
    });
    let (_, report) = fatal(poisoned);
    let first = report.first_activation.unwrap();
    assert_eq!(first.name, "embeddings");
    for row in &report.rows {
        let place = row.ids.iter().position(|id| *id == token);
        let found = first.rows.iter().find(|[of, _]| *of == row.row);
        assert_eq!(found.map(|[_, position]| *position), place);
    }
}

#[test]
fn a_poisoned_loss_and_a_poisoned_gradient_are_told_apart() {
    let (error, report) = fatal(trainer(&stop(), &[(2, Poison::InfiniteLoss)]));
    assert!(
        error
            .to_string()
            .contains("step 2: the loss (first in loss)"),
        "{error}"
    );
    assert_eq!((report.micro_batch, report.fault.as_str()), (1, "the loss"));
    assert!(report.weights.is_empty());

    let (error, report) = fatal(trainer(&stop(), &[(2, Poison::GradientOnly)]));
    assert!(
        error
            .to_string()
            .contains("step 2: the gradient of wte.weight is not"),
        "{error}"
    );
    assert_eq!((report.micro_batch, report.first_activation), (1, None));
    let bad: Vec<_> = report
        .gradients
        .iter()
        .filter(|g| g.not_finite > 0)
        .collect();
    assert_eq!((bad.len(), bad[0].name.as_str()), (1, "wte.weight"));
    assert!(report.loss.is_finite());
}

#[test]
fn a_replay_sees_what_the_step_saw_and_changes_nothing() {
    let mut trainer = trainer(&stop(), &[(3, Poison::InfiniteLoss)]);
    let fine = trainer.replay().unwrap();
    assert!(fine.fault.is_empty() && fine.activations.len() > 10 && fine.gradients.len() > 10);
    steps(&mut trainer, 2);
    let before = everything(&trainer);
    let replayed = trainer.replay().unwrap();
    assert!(everything(&trainer) == before);
    trainer.step().unwrap_err();
    assert_eq!(
        format!("{replayed:?}"),
        format!("{:?}", trainer.take_post_mortem().unwrap())
    );
}

struct Heard(Arc<Mutex<Vec<String>>>);

impl Observer for Heard {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        let line = match event {
            Event::NotFinite(report) => format!("look at step {}", report.step),
            Event::Note { text } => (*text).to_owned(),
            Event::Step(record) => {
                let figures: Vec<_> = record
                    .extra
                    .iter()
                    .filter(|(name, _)| name.starts_with("train/"))
                    .collect();
                format!("{} {} {figures:?}", record.step, record.loss.is_finite())
            }
            _ => return Ok(()),
        };
        self.0.lock().unwrap().push(line);
        Ok(())
    }
}

#[test]
fn observers_hear_of_a_skipped_step_and_its_loss_stays_out_of_the_metrics() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut hooks = Hooks {
        observers: Observers::new().with(Heard(Arc::clone(&heard))),
        log: Trigger {
            every_steps: 2,
            ..Trigger::default()
        },
        ..Hooks::default()
    };
    let config = TrainerConfig {
        max_steps: 4,
        ..config()
    };
    let mut trainer = trainer(&config, &[(2, Poison::InfiniteLoss)]);
    trainer.run(&mut hooks).unwrap();
    let figures = "[(\"train/skipped_steps\", 1.0), (\"train/loss_spikes\", 0.0)]";
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "1 true []",
            "look at step 2",
            "step 2: the loss (first in loss) is not finite; skipped, 1 in all",
            &format!("2 true {figures}"),
            "3 true []",
            &format!("4 true {figures}"),
        ]
    );
}

fn f16() -> TrainerConfig {
    TrainerConfig {
        precision: Precision::F16,
        ..stop()
    }
}

#[test]
fn an_overflow_in_f16_skips_the_step_and_halves_the_scale_which_a_resume_keeps() {
    let mut broken = trainer(&f16(), &[(2, Poison::Factor(1e6))]);
    steps(&mut broken, 1);
    assert_eq!(broken.guard.scale(), 65_536.0);
    let before = everything(&broken);
    let report = broken.step().unwrap();
    assert!(report.skipped && everything(&broken) == before);
    assert_eq!(broken.guard.scale(), 32_768.0);
    assert!(broken.take_post_mortem().is_none(), "nothing is wrong");
    assert_eq!(broken.guard.in_a_row, 0);
    assert!(
        broken
            .guard_figures()
            .contains(&("train/loss_scale".into(), 32_768.0))
    );
    steps(&mut broken, 1);

    // Through the text that a checkpoint keeps.
    let mut state = broken.state();
    let text = serde_json::to_string(&state.scalars).unwrap();
    state.scalars = serde_json::from_str(&text).unwrap();
    let weights = named_values(broken.model());
    let mut resumed = trainer_of(&f16(), &[], |path, values| {
        let saved = weights.iter().find(|weight| weight.path == path).unwrap();
        values.clone_from(&saved.values);
    });
    let path = "step-3".into();
    resumed.resume(Checkpoint { path, state }).unwrap();
    assert_eq!(resumed.guard, broken.guard);
    assert_eq!(steps(&mut resumed, 3), steps(&mut broken, 3));
    assert_eq!(resumed.guard, broken.guard);
    assert!(everything(&resumed) == everything(&broken));
}

#[test]
fn at_a_scale_of_one_f16_ends_as_other_precisions_do() {
    let mut last = trainer(&f16(), &[(1, Poison::GradientOnly)]);
    last.guard.loss_scale = Some(LossScale {
        scale: 1.0,
        good_steps: 3,
    });
    let (error, report) = fatal(last);
    assert!(
        matches!(error, TrainError::NotFinite { step: 1, .. }),
        "{error}"
    );
    assert_eq!((report.precision.as_str(), report.loss_scale), ("f16", 1.0));
}

#[test]
fn the_scale_of_the_loss_changes_no_bit_of_a_step_without_underflow() {
    let at_scale = |scale: f32| {
        let config = TrainerConfig {
            // Muon's products stay out of it.
            precision: Precision::F16,
            ..stop()
        };
        let mut trainer = trainer(&config, &[]);
        trainer.guard.loss_scale = Some(LossScale {
            scale,
            good_steps: 0,
        });
        steps(&mut trainer, 3)
    };
    for (a, b) in at_scale(65_536.0).iter().zip(at_scale(4_096.0)) {
        assert!(
            (a.loss / b.loss - 1.0).abs() < 1e-5,
            "{} {}",
            a.loss,
            b.loss
        );
        assert!((a.grad_norm / b.grad_norm - 1.0).abs() < 1e-3);
    }
}

#[test]
fn a_jump_of_the_loss_is_counted_and_noted_and_survives_a_resume() {
    let config = TrainerConfig {
        max_steps: 60,
        grad_accum_steps: 1,
        ..stop()
    };
    let poison = [(45, Poison::Factor(2.0))];
    let mut trainer = trainer(&config, &poison);
    steps(&mut trainer, 40);
    assert_eq!(trainer.guard.spikes.count, 0);
    let mut state = trainer.state();
    let text = serde_json::to_string(&state.scalars).unwrap();
    state.scalars = serde_json::from_str(&text).unwrap();
    let mut guard = Guard::new(&config);
    guard.load(&state);
    assert_eq!(guard, trainer.guard);
    steps(&mut trainer, 5);
    assert_eq!(trainer.guard.spikes.count, 1);
    assert!(
        trainer.notes[0].contains("step 45: the loss jumped"),
        "{:?}",
        trainer.notes
    );
}

#[test]
fn parts_that_are_cut_off_from_the_loss_are_refused_by_name() {
    let config = TrainerConfig {
        grad_accum_steps: 1,
        ..stop()
    };
    let mut detached = trainer(&config, &[(1, Poison::Detached)]);
    let before = everything(&detached);
    let error = detached.step().unwrap_err().to_string();
    assert!(
        error.contains("blocks.0.attn.q.weight: no gradient;"),
        "{error}"
    );
    assert!(!error.contains("wte.weight: "), "{error}");
    assert!(everything(&detached) == before);
    let unchecked = TrainerConfig {
        first_step_checks: false,
        ..config
    };
    trainer(&unchecked, &[(1, Poison::Detached)])
        .step()
        .unwrap();
}

#[test]
fn a_wrong_initial_scale_is_refused_before_anything_is_trained() {
    let mut wrong = trainer_of(&stop(), &[], |path, values| {
        if path == "wte.weight" {
            *values = values.iter().map(|value| value * 50.0).collect();
        }
    });
    let before = everything(&wrong);
    let error = wrong.step().unwrap_err().to_string();
    assert!(
        error.contains("near ln(300) = 5.704: check the scale of the initial"),
        "{error}"
    );
    assert!(
        error.contains("trainer.first_step_checks = false"),
        "{error}"
    );
    assert!(everything(&wrong) == before);
    // The same weights are fine where they were loaded.
    wrong.objective.inner = wrong.objective.inner.untrained(false);
    wrong.step().unwrap();
}
