//! Runs that are broken off anywhere and gone on with are the unbroken run, bit for bit.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock, mpsc};

use burn::tensor::{Device, Tensor};
use serde_json::Value;
use sinterlm_config::Seed;
use sinterlm_data::{Batch, TokenStore, Tokenizer, TrainWindows, ValidWindows};
use sinterlm_eval::loss_over;
use sinterlm_formats::remove_stale_staging;
use sinterlm_kernels::{Isa, run_on_pool, set_max_isa};
use sinterlm_losses::TokenCount;
use sinterlm_model::{
    ForwardCtx, Gpt, GptConfig, NamedValues, load_model, named_values, save_model,
};
use sinterlm_run::{
    EvalRecord, Event, MetricsFile, Observer, Observers, RunError, StopFlag, StopReason,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close, tiny_stories};
use sinterlm_trainer::{
    At, Checkpoint, Checkpoints, Hooks, Keep, MicroBatch, Moments, NextToken, Objective,
    OptimizerConfig, OptimizerKind, Outcome, ScheduleConfig, ScheduleKind, StopCause, TrainError,
    Trainer, TrainerConfig, Trigger, find_checkpoint, list_checkpoints,
};
use tempfile::TempDir;

const SEED: Seed = Seed(5);
const SEQ: usize = 8;
const STEPS: u64 = 7;

/// Held for writing by the test that changes the instruction set of the process.
static ISA: RwLock<()> = RwLock::new(());

/// A run's settings: those that decide about its numbers, and its pieces.
#[derive(Clone, Debug)]
struct Case {
    kind: OptimizerKind,
    moments: Moments,
    ema_decay: f64,
    dropout: f64,
    d_model: usize,
    rows: u64,
    grad_accum_steps: u64,
    background: bool,
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
        }
    }
}

/// What ends a run too early, and at which step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    step: u64,
    place: Place,
    /// Whether the process dies there, in place of being asked to stop.
    kill: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    BehindTheStep,
    BetweenMicroBatches,
    InEvaluation,
    InSaving,
}

impl Cut {
    /// Stops or dies, if this is the place.
    fn strike(cut: Option<Self>, step: u64, place: Place, stop: &StopFlag) {
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
struct Struck {
    inner: NextToken,
    cut: Option<Cut>,
    stop: StopFlag,
    step: u64,
    losses: Cell<u64>,
}

impl Objective<Gpt> for Struck {
    type Batch = Batch;

    fn prepare(&mut self, _model: &Gpt, step: u64) -> Result<(), TrainError> {
        self.step = step + 1;
        self.losses.set(0);
        Ok(())
    }

    fn batch(&self, at: At) -> Result<Batch, TrainError> {
        Objective::<Gpt>::batch(&self.inner, at)
    }

    fn count(&self, batch: &Batch) -> TokenCount {
        Objective::<Gpt>::count(&self.inner, batch)
    }

    fn loss(&self, model: &Gpt, batch: &Batch, step: TokenCount, ctx: &ForwardCtx) -> Tensor<1> {
        if self.losses.replace(self.losses.get() + 1) == 1 {
            Cut::strike(self.cut, self.step, Place::BetweenMicroBatches, &self.stop);
        }
        self.inner.loss(model, batch, step, ctx)
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

struct Setup {
    tokenizer: Tokenizer,
    store: TokenStore,
}

impl Setup {
    fn new() -> Self {
        let tokenizer = Tokenizer::train_bpe(tiny_stories(), 300).unwrap();
        let store = TokenStore::from_documents(&tokenizer, tiny_stories());
        Self { tokenizer, store }
    }

    fn trainer(
        &self,
        case: &Case,
        model: Option<Gpt>,
        cut: Option<Cut>,
        stop: &StopFlag,
    ) -> Trainer<Gpt, Struck> {
        let device = Device::flex().autodiff();
        let config = TrainerConfig {
            max_steps: STEPS,
            micro_batch_size: MicroBatch::Rows(case.rows),
            grad_accum_steps: case.grad_accum_steps,
            ema_decay: case.ema_decay,
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
            Struck {
                inner: NextToken::new(windows, &config, &device),
                cut,
                stop: stop.clone(),
                step: 0,
                losses: Cell::new(0),
            },
            config,
            optimizer,
            schedule,
            SEED,
            &device,
        )
    }

    /// Starts a run, or goes on with it from its newest checkpoint; `None` where it was killed.
    fn go(&self, case: &Case, run: &Path, cut: Option<Cut>) -> Option<Outcome> {
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
                Ok(EvalRecord {
                    step: 0,
                    tokens: 0,
                    loss: total.mean().unwrap(),
                    figures: Vec::new(),
                })
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
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// All that a run leaves, without its timings.
#[derive(Debug, PartialEq)]
struct Left {
    weights: Vec<u8>,
    state: Vec<u8>,
    scalars: Value,
    metrics: Vec<Value>,
}

impl Left {
    fn read(run: &Path) -> Self {
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
    fn assert_same(&self, other: &Self, what: &str) {
        assert_eq!(self.metrics, other.metrics, "{what}");
        assert_eq!(self.scalars, other.scalars, "{what}");
        assert!(self.weights == other.weights, "{what}: other weights");
        assert!(self.state == other.state, "{what}: other moments");
    }
}

/// Breaks runs off at every step and place, goes on with them, and compares.
fn broken_off_anywhere(case: &Case) {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    let unbroken = folder();
    let outcome = setup.go(case, unbroken.path(), None).unwrap();
    assert_eq!((outcome.cause, outcome.steps), (StopCause::Done, STEPS));
    let unbroken = Left::read(unbroken.path());
    assert_eq!(unbroken.metrics.len(), 2 + 4, "{:?}", unbroken.metrics);
    let places = [
        Place::BehindTheStep,
        Place::BetweenMicroBatches,
        Place::InEvaluation,
        Place::InSaving,
    ];
    let mut broken_off = 0;
    for step in 1..=STEPS {
        for (place, kill) in places.into_iter().flat_map(|p| [(p, false), (p, true)]) {
            let cut = Cut { step, place, kill };
            let what = format!("{case:?}, {cut:?}");
            let run = folder();
            let ended = setup.go(case, run.path(), Some(cut));
            broken_off += u64::from(!matches!(&ended, Some(end) if end.cause == StopCause::Done));
            if let Some(end) = ended
                && end.cause != StopCause::Done
            {
                let saved = end.checkpoint.unwrap();
                assert!(saved.ends_with(format!("step-{:08}", end.steps)), "{what}");
                assert!(end.steps >= step, "{what}");
            }
            let ended = setup.go(case, run.path(), None).unwrap();
            assert_eq!((ended.cause, ended.steps), (StopCause::Done, STEPS));
            Left::read(run.path()).assert_same(&unbroken, &what);
        }
    }
    // Each step but, for signals, the last; evaluations at 2, 4, 6 and 7; checkpoints likewise,
    // where a signal at 6 may come too late.
    let between = u64::from(case.grad_accum_steps > 1);
    let least = (1 + between) * (2 * STEPS - 1) + (3 + 4) + (2 + 4);
    assert!(broken_off >= least, "{broken_off} of {least}");
}

#[test]
fn with_adamw_and_a_moving_average() {
    broken_off_anywhere(&Case::default());
}

#[test]
fn with_muon_and_bf16_moments_in_three_micro_batches() {
    broken_off_anywhere(&Case {
        kind: OptimizerKind::Muon,
        moments: Moments::Bf16,
        ema_decay: 0.0,
        rows: 1,
        grad_accum_steps: 3,
        ..Case::default()
    });
}

#[test]
fn with_lion_and_eight_bit_moments() {
    broken_off_anywhere(&Case {
        kind: OptimizerKind::Lion,
        moments: Moments::Int8,
        grad_accum_steps: 1,
        ..Case::default()
    });
}

#[test]
fn with_adafactor_and_saving_in_the_foreground() {
    broken_off_anywhere(&Case {
        kind: OptimizerKind::Adafactor,
        background: false,
        ..Case::default()
    });
}

/// A signal at step 3, in the middle of an interval of the metrics.
const MIDDLE: Cut = Cut {
    step: 3,
    place: Place::BehindTheStep,
    kill: false,
};

#[test]
fn another_number_of_threads_changes_no_bit() {
    let _shared = ISA.read().unwrap();
    let (setup, case) = (Setup::new(), wide());
    let (unbroken, run) = (folder(), folder());
    let threads = |count, folder: &TempDir, cut| {
        let (setup, case, path) = (&setup, &case, folder.path());
        run_on_pool(NonZeroUsize::new(count), move || {
            setup.go(case, path, cut).unwrap();
        });
    };
    threads(2, &unbroken, None);
    threads(1, &run, Some(MIDDLE));
    threads(3, &run, None);
    Left::read(run.path()).assert_same(&Left::read(unbroken.path()), "1 and 3 threads");
}

/// Large enough to be worked on in parallel.
fn wide() -> Case {
    Case {
        d_model: 64,
        rows: 16,
        ..Case::default()
    }
}

fn weights(run: &TempDir) -> Vec<NamedValues> {
    let last = list_checkpoints(&run.path().join("checkpoints")).pop();
    named_values(&load_model(&last.unwrap(), &Device::flex()).unwrap())
}

#[track_caller]
fn assert_near(a: &[NamedValues], b: &[NamedValues], what: &str) {
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

#[test]
fn another_instruction_set_changes_no_more_than_rounding() {
    let _alone = ISA.write().unwrap();
    let (setup, case) = (Setup::new(), wide());
    let (unbroken, run) = (folder(), folder());
    setup.go(&case, unbroken.path(), None).unwrap();
    setup.go(&case, run.path(), Some(MIDDLE)).unwrap();
    set_max_isa(Isa::Baseline);
    setup.go(&case, run.path(), None).unwrap();
    set_max_isa(Isa::Avx512Bf16);
    assert_near(
        &weights(&run),
        &weights(&unbroken),
        "baseline from step 3 on",
    );
}

#[test]
fn other_micro_batches_of_the_same_rows_change_no_more_than_rounding() {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    // Without dropout, whose masks depend on the place in the window.
    let case = Case {
        dropout: 0.0,
        ..Case::default()
    };
    let smaller = Case {
        rows: 1,
        grad_accum_steps: 4,
        ..case.clone()
    };
    let (unbroken, run) = (folder(), folder());
    setup.go(&case, unbroken.path(), None).unwrap();
    setup.go(&case, run.path(), Some(MIDDLE)).unwrap();
    let ended = setup.go(&smaller, run.path(), None).unwrap();
    let tokens = |left: Left| left.scalars["tokens"].clone();
    assert_eq!(
        tokens(Left::read(run.path())),
        tokens(Left::read(unbroken.path()))
    );
    assert_eq!(ended.steps, STEPS);
    assert_near(
        &weights(&run),
        &weights(&unbroken),
        "4 x 1 rows from step 3 on",
    );
}

#[test]
fn a_run_resumed_at_its_end_does_no_step_more() {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    let folder = folder();
    let stop = StopFlag::new();
    let mut hooks = Hooks {
        checkpoints: Some(Checkpoints::new(folder.path(), |folder, model: &Gpt| {
            Ok(save_model(folder, model, 0)?)
        })),
        ..Hooks::default()
    };
    let mut trainer = setup.trainer(&Case::default(), None, None, &stop);
    trainer.run(&mut hooks).unwrap();
    let (found, _) = find_checkpoint(folder.path());
    let mut found = found.unwrap();
    for (key, cause) in [("is_over", StopCause::Objective), ("step", StopCause::Done)] {
        let (step, is_over) = if key == "step" {
            (STEPS, false)
        } else {
            (2, true)
        };
        found.state.scalars.insert("step".into(), step.into());
        found.state.scalars.insert("is_over".into(), is_over.into());
        let mut resumed = setup.trainer(&Case::default(), None, None, &stop);
        resumed.resume(found.clone()).unwrap();
        let outcome = resumed.run(&mut Hooks::default()).unwrap();
        assert_eq!((outcome.cause, outcome.steps), (cause, step));
    }
    let muon = Case {
        kind: OptimizerKind::Muon,
        ..Case::default()
    };
    let error = setup.trainer(&muon, None, None, &stop).resume(found);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("optimizer \"adam_w\", the run has \"muon\""),
        "{error}"
    );
}

/// Sends the number of each step.
struct Tell(mpsc::Sender<u64>);

impl Observer for Tell {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(record) = event {
            self.0.send(record.step).unwrap();
        }
        Ok(())
    }
}

/// Evaluations that give these losses in turn.
fn scripted(losses: &'static [f64]) -> sinterlm_trainer::Evaluate<'static, Gpt> {
    let mut losses = losses.iter().copied();
    Box::new(move |_, _| {
        Ok(EvalRecord {
            step: 0,
            tokens: 0,
            loss: losses.next().unwrap_or(9.0),
            figures: Vec::new(),
        })
    })
}

fn every(every_steps: u64) -> Trigger {
    Trigger {
        every_steps,
        ..Trigger::default()
    }
}

#[test]
fn steps_made_while_a_checkpoint_is_written_are_not_in_it() {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    let saved_at_two = |background| {
        let folder = folder();
        let (sender, steps) = mpsc::channel();
        let steps = Mutex::new(steps);
        let mut hooks = Hooks {
            observers: Observers::new().with(Tell(sender)),
            evaluate: Some(scripted(&[1.0])),
            evaluate_at: every(2),
            checkpoints: Some(Checkpoints {
                keep: Keep {
                    best: true,
                    ..Keep::default()
                },
                background,
                ..Checkpoints::new(folder.path(), move |folder, model: &Gpt| {
                    // In the background it begins only when three more steps are done.
                    if background {
                        steps.lock().unwrap().iter().find(|step| *step >= 5);
                    }
                    Ok(save_model(folder, model, 0)?)
                })
            }),
            ..Hooks::default()
        };
        let stop = StopFlag::new();
        let mut trainer = setup.trainer(&Case::default(), None, None, &stop);
        trainer.run(&mut hooks).unwrap();
        let path = folder.path().join("step-00000002");
        let bytes = |name: &str| std::fs::read(path.join(name)).unwrap();
        [bytes("model.safetensors"), bytes("trainer.safetensors")]
    };
    assert!(saved_at_two(true) == saved_at_two(false));
}

#[test]
fn the_newest_the_best_and_every_sixth_checkpoint_stay() {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    let folder = folder();
    let mut hooks = Hooks {
        evaluate: Some(scripted(&[5.0, f64::NAN, 2.0, 3.0])),
        evaluate_at: every(1),
        checkpoints: Some(Checkpoints {
            keep: Keep {
                last: 1,
                every_steps: 4,
                best: true,
            },
            ..Checkpoints::new(folder.path(), |folder, model: &Gpt| {
                Ok(save_model(folder, model, 0)?)
            })
        }),
        checkpoint_at: every(2),
        ..Hooks::default()
    };
    let stop = StopFlag::new();
    let mut trainer = setup.trainer(&Case::default(), None, None, &stop);
    trainer.run(&mut hooks).unwrap();
    let names: Vec<_> = list_checkpoints(folder.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    // Step 3 had the lowest loss and is saved for that alone; 4 is a multiple, 7 the newest.
    assert_eq!(names, ["step-00000003", "step-00000004", "step-00000007"]);
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_the_run() {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    let folder = folder();
    let mut hooks = Hooks {
        checkpoints: Some(Checkpoints::new(folder.path(), |_, _: &Gpt| {
            Err(TrainError::Format(
                sinterlm_formats::FormatError::DiskFull {
                    path: "the/disk".into(),
                    source: std::io::ErrorKind::StorageFull.into(),
                },
            ))
        })),
        checkpoint_at: every(2),
        ..Hooks::default()
    };
    let stop = StopFlag::new();
    let mut trainer = setup.trainer(&Case::default(), None, None, &stop);
    let error = trainer.run(&mut hooks).unwrap_err().to_string();
    assert!(
        error.contains("the/disk") && error.contains("no space left"),
        "{error}"
    );
    assert!(trainer.steps() <= 4, "{} steps", trainer.steps());
    assert_eq!(list_checkpoints(folder.path()).len(), 0);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "the staged folder is removed");
}

fn fixture(version: u64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/checkpoint-v{version}"))
}

/// The version that is written now.
const VERSION: u64 = 2;

#[test]
#[ignore = "slow: writes the fixture of the present format version"]
fn write_the_fixture() {
    let folder = folder();
    let setup = Setup::new();
    setup.go(&Case::default(), folder.path(), Some(MIDDLE));
    let target = fixture(VERSION);
    std::fs::create_dir_all(&target).unwrap();
    for entry in std::fs::read_dir(folder.path().join("checkpoints/step-00000003")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
}

#[test]
fn checkpoints_of_every_format_version_are_gone_on_with() {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    let (case, stop) = (Case::default(), StopFlag::new());
    let mut unbroken = setup.trainer(&case, None, None, &stop);
    unbroken.run(&mut Hooks::default()).unwrap();
    for version in 1..=VERSION {
        let checkpoint = Checkpoint::open(&fixture(version)).unwrap();
        let model = load_model(&checkpoint.path, &Device::flex().autodiff()).unwrap();
        let mut resumed = setup.trainer(&case, Some(model), None, &stop);
        resumed.resume(checkpoint).unwrap();
        assert_eq!(resumed.steps(), 3, "version {version}");
        resumed.run(&mut Hooks::default()).unwrap();
        assert_eq!(resumed.tokens(), unbroken.tokens(), "version {version}");
        let what = format!("version {version}");
        // Perhaps written on another processor: equal up to rounding.
        let (resumed, unbroken) = (resumed.export(), unbroken.export());
        assert_near(&named_values(&resumed), &named_values(&unbroken), &what);
    }
}

#[test]
fn a_newer_format_version_is_refused() {
    let folder = folder();
    for entry in std::fs::read_dir(fixture(1)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let manifest = folder.path().join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"version\": 1", "\"version\": 3")).unwrap();
    let error = Checkpoint::verify(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("format version 3 is none of 1 to 2"),
        "{error}"
    );
    assert!(error.contains("the release that wrote it"), "{error}");
}
