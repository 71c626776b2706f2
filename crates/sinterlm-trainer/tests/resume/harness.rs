//! A tiny run that can be interrupted anywhere, resumed, and compared.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use burn::tensor::{Device, Tensor};
use serde_json::Value;
use sinterlm_config::Seed;
use sinterlm_data::{RowBatch, TokenStore, Tokenizer, TrainWindows, ValidWindows};
use sinterlm_eval::loss_over;
use sinterlm_formats::remove_stale_staging;
use sinterlm_losses::Counts;
use sinterlm_model::{
    ForwardCtx, Gpt, GptConfig, NamedValues, load_model, named_values, save_model,
};
use sinterlm_run::{Event, MetricsFile, Observer, Observers, RunError, StopFlag, StopReason};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close, tiny_stories};
use sinterlm_trainer::{
    At, Checkpoints, Evaluate, Figures, Hooks, MicroBatch, Moments, NextToken, Objective,
    OptimizerConfig, OptimizerKind, Outcome, Samples, ScheduleConfig, ScheduleKind, TrainError,
    TrainSettings, Trainer, TrainerConfig, Trigger, find_checkpoint, list_checkpoints,
};
use tempfile::TempDir;

pub(crate) const SEED: Seed = Seed(5);
const SEQ: usize = 8;
pub(crate) const STEPS: u64 = 7;

/// Held for writing by the test that changes the instruction set of the process.
pub(crate) static ISA: RwLock<()> = RwLock::new(());

/// A run's settings: those that decide about its numbers, and its pieces.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) kind: OptimizerKind,
    pub(crate) moments: Moments,
    pub(crate) ema_decay: f64,
    pub(crate) dropout: f64,
    pub(crate) d_model: usize,
    pub(crate) rows: u64,
    pub(crate) grad_accum_steps: u64,
    pub(crate) background: bool,
    pub(crate) patience: u64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            moments: Moments::F32,
            ema_decay: 0.9,
            dropout: 0.1,
            d_model: 8,
            rows: 2,
            grad_accum_steps: 2,
            background: true,
            patience: 0,
        }
    }
}

/// What ends a run too early, and at which step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cut {
    pub(crate) step: u64,
    pub(crate) place: Place,
    /// Whether the process dies there, in place of being asked to stop.
    pub(crate) kill: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    BehindTheStep,
    BetweenMicroBatches,
    InEvaluation,
    InSaving,
}

impl Cut {
    /// Stops or dies, if this is the place.
    pub(crate) fn strike(cut: Option<Self>, step: u64, place: Place, stop: &StopFlag) {
        let Some(cut) = cut.filter(|cut| (cut.step, cut.place) == (step, place)) else {
            return;
        };
        if cut.kill {
            resume_unwind(Box::new("killed")); // a panic that prints nothing
        }
        stop.request(StopReason::Terminate);
    }
}

/// An objective that may be struck between the micro-batches of a step.
pub(crate) struct Struck {
    pub(crate) inner: NextToken,
    cut: Option<Cut>,
    stop: StopFlag,
    step: u64,
    losses: Cell<u64>,
}

impl Objective<Gpt> for Struck {
    type Batch = RowBatch;

    fn prepare(
        &mut self,
        _model: &Gpt,
        step: u64,
        _figures: &mut Figures,
        _samples: &mut Samples,
    ) -> Result<(), TrainError> {
        self.step = step + 1;
        self.losses.set(0);
        Ok(())
    }

    fn batch(&self, at: At) -> Result<RowBatch, TrainError> {
        Objective::<Gpt>::batch(&self.inner, at)
    }

    fn counts(&self, batch: &RowBatch) -> Counts {
        Objective::<Gpt>::counts(&self.inner, batch)
    }

    fn loss(
        &self,
        model: &Gpt,
        batch: &RowBatch,
        step: &Counts,
        ctx: &ForwardCtx,
        figures: &mut Figures,
    ) -> Tensor<1> {
        if self.losses.replace(self.losses.get() + 1) == 1 {
            Cut::strike(self.cut, self.step, Place::BetweenMicroBatches, &self.stop);
        }
        let loss = self.inner.loss(model, batch, step, ctx, figures);
        figures.add("objective/tripled_loss", loss.clone().mul_scalar(3.0), 1.0);
        figures.set("objective/step", self.step as f64);
        loss
    }
}

impl Observer for Cutter {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(record) = event {
            Cut::strike(self.0, record.step, Place::BehindTheStep, &self.1);
        }
        Ok(())
    }
}

struct Cutter(Option<Cut>, StopFlag);

pub(crate) struct Setup {
    tokenizer: Tokenizer,
    store: TokenStore,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let tokenizer = Tokenizer::train_bpe(tiny_stories(), 300).unwrap();
        let store = TokenStore::from_documents(&tokenizer, tiny_stories());
        Self { tokenizer, store }
    }

    pub(crate) fn rows_per_epoch(&self) -> u64 {
        let windows = TrainWindows::new(self.store.clone(), SEQ, SEED).unwrap();
        windows.rows_per_epoch()
    }

    pub(crate) fn trainer(
        &self,
        case: &Case,
        model: Option<Gpt>,
        cut: Option<Cut>,
        stop: &StopFlag,
    ) -> Trainer<Gpt, Struck> {
        self.trainer_of(case, model, |objective| Struck {
            cut,
            stop: stop.clone(),
            ..objective
        })
    }

    /// A trainer with an objective made of one that nothing strikes.
    pub(crate) fn trainer_of<O: Objective<Gpt>>(
        &self,
        case: &Case,
        model: Option<Gpt>,
        objective: impl FnOnce(Struck) -> O,
    ) -> Trainer<Gpt, O> {
        let device = Device::flex().autodiff();
        let config = TrainerConfig {
            max_steps: STEPS,
            micro_batch_size: MicroBatch::Rows(case.rows),
            grad_accum_steps: case.grad_accum_steps,
            ema_decay: case.ema_decay,
            early_stopping_patience: case.patience,
            ..TrainerConfig::default()
        };
        let model_config = GptConfig {
            vocab_size: self.tokenizer.vocab_size(),
            max_seq_len: SEQ,
            d_model: case.d_model,
            n_layers: 1,
            n_heads: 2,
            dropout: case.dropout,
            ..GptConfig::default()
        };
        let optimizer = OptimizerConfig {
            kind: case.kind,
            moments: case.moments,
            ..OptimizerConfig::default()
        };
        let schedule = ScheduleConfig {
            kind: ScheduleKind::Constant,
            warmup_steps: 2,
            ..ScheduleConfig::default()
        };
        let windows = TrainWindows::new(self.store.clone(), SEQ, SEED).unwrap();
        let model = model.map(|model| model.with_dropout(case.dropout));
        Trainer::new(
            model.unwrap_or_else(|| model_config.init(SEED, &device)),
            objective(Struck {
                inner: NextToken::new(windows, &config, &device),
                cut: None,
                stop: StopFlag::new(),
                step: 0,
                losses: Cell::new(0),
            }),
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

    /// Starts a run, or goes on with it from its newest checkpoint; `None` where it was killed.
    pub(crate) fn go(&self, case: &Case, run: &Path, cut: Option<Cut>) -> Option<Outcome> {
        let checkpoints = run.join("checkpoints");
        let (found, broken) = find_checkpoint(&checkpoints);
        assert!(broken.is_empty(), "{broken:?}");
        remove_stale_staging(&checkpoints).unwrap();
        let metrics = run.join("metrics.jsonl");
        let length = found.as_ref().map(|c| c.state.number("metrics_bytes"));
        MetricsFile::cut_back(&metrics, length.unwrap_or(0)).unwrap();

        let stop = StopFlag::new();
        let device = Device::flex().autodiff();
        let model = found
            .as_ref()
            .map(|c| load_model(&c.path, &device).unwrap());
        let mut trainer = self.trainer(case, model, cut, &stop);
        if let Some(found) = found {
            trainer.resume(found).unwrap();
        }
        let valid = ValidWindows::new(self.store.clone(), SEQ).unwrap();
        let (flag, saving, file) = (stop.clone(), stop.clone(), metrics.clone());
        let (now, saved) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let (evaluated, told) = (Arc::clone(&now), Arc::clone(&saved));
        let mut hooks = Hooks {
            observers: Observers::new()
                .with(MetricsFile::open(&metrics).unwrap())
                .with(Steps(Arc::clone(&now)))
                .with(Cutter(cut, stop.clone())),
            log: every(3),
            evaluate: Some(Box::new(move |model: &Gpt, _| {
                let ctx = ForwardCtx::default();
                let total = loss_over(model, valid.batches(4).take(2), &ctx, &Device::flex());
                Cut::strike(cut, *evaluated.lock().unwrap(), Place::InEvaluation, &flag);
                Ok(vec![("valid/loss".to_owned(), total.mean().unwrap())])
            })),
            evaluate_at: every(2),
            checkpoints: Some(Checkpoints {
                background: case.background,
                ..Checkpoints::new(checkpoints, move |folder, model: &Gpt| {
                    save_model(folder, model, 0)?;
                    Cut::strike(cut, *told.lock().unwrap(), Place::InSaving, &saving);
                    Ok(())
                })
            }),
            checkpoint_at: every(2),
            on_save: Some(Box::new(move |scalars| {
                *saved.lock().unwrap() = *now.lock().unwrap();
                scalars.insert("metrics_bytes".into(), MetricsFile::len_bytes(&file).into());
                Ok(())
            })),
            stop: Some(stop),
            ..Hooks::default()
        };
        let ended = catch_unwind(AssertUnwindSafe(|| trainer.run(&mut hooks).unwrap()));
        ended.ok()
    }
}

/// Tells others which step the run is at.
struct Steps(Arc<Mutex<u64>>);

impl Observer for Steps {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(record) = event {
            *self.0.lock().unwrap() = record.step;
        }
        Ok(())
    }
}

/// A folder in memory where there is one: the tests flush thousands of files.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// All that a run leaves, without its timings.
#[derive(Debug, PartialEq)]
pub(crate) struct Left {
    pub(crate) weights: Vec<u8>,
    pub(crate) state: Vec<u8>,
    pub(crate) scalars: Value,
    pub(crate) metrics: Vec<Value>,
}

impl Left {
    pub(crate) fn read(run: &Path) -> Self {
        let last = list_checkpoints(&run.join("checkpoints")).pop().unwrap();
        assert!(last.ends_with(format!("step-{STEPS:08}")));
        let bytes = |name| std::fs::read(last.join(name)).unwrap();
        let without = |text: &str, keys: [&str; 2]| {
            let mut value: Value = serde_json::from_str(text).unwrap();
            for key in keys {
                value.as_object_mut().unwrap().remove(key);
            }
            value
        };
        let timings = ["train/tokens_per_second", "memory/resident_bytes"];
        let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let scalars = String::from_utf8(bytes("trainer.json")).unwrap();
        Self {
            weights: bytes("model.safetensors"),
            state: bytes("trainer.safetensors"),
            scalars: without(&scalars, ["seconds", "metrics_bytes"]),
            metrics: lines.lines().map(|line| without(line, timings)).collect(),
        }
    }

    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self, what: &str) {
        assert_eq!(self.metrics, other.metrics, "{what}");
        assert_eq!(self.scalars, other.scalars, "{what}");
        assert!(self.weights == other.weights, "{what}: other weights");
        assert!(self.state == other.state, "{what}: other moments");
    }
}

/// A signal at step 4, in the middle of an interval of the metrics.
pub(crate) const MIDDLE: Cut = Cut {
    step: 4,
    place: Place::BehindTheStep,
    kill: false,
};

/// Evaluations that give these losses in turn.
pub(crate) fn scripted(losses: &'static [f64]) -> Evaluate<'static, Gpt> {
    let mut losses = losses.iter().copied();
    Box::new(move |_, _| {
        let loss = losses.next().unwrap_or(9.0);
        Ok(vec![("valid/loss".to_owned(), loss)])
    })
}

pub(crate) fn every(every_steps: u64) -> Trigger {
    Trigger {
        every_steps,
        ..Trigger::default()
    }
}

pub(crate) fn weights(run: &TempDir) -> Vec<NamedValues> {
    let last = list_checkpoints(&run.path().join("checkpoints")).pop();
    named_values(&load_model(&last.unwrap(), &Device::flex()).unwrap())
}

#[track_caller]
pub(crate) fn assert_near(a: &[NamedValues], b: &[NamedValues], what: &str) {
    for (a, b) in a.iter().zip(b) {
        // The key bias has no gradient but rounding, which Adam scales up.
        if !a.path.ends_with("attn.k.bias") {
            assert_close(
                &a.values,
                &b.values,
                WHOLE_MODEL_F32,
                &format!("{what}: {}", a.path),
            );
        }
    }
}
