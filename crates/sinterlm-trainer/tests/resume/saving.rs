//! What a save does beside training: which state it holds, what stays, what its fault does.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::sleep;
use std::time::Duration;

use burn::tensor::Tensor;
use sinterlm_data::RowBatch;
use sinterlm_losses::Counts;

use sinterlm_formats::FormatError;
use sinterlm_model::{ForwardCtx, Gpt, save_model};
use sinterlm_run::{Event, Observer, Observers, RunError, StopFlag};
use sinterlm_trainer::{
    At, Checkpoints, Figures, Hooks, Keep, Objective, OptimizerKind, Samples, StopCause,
    TrainError, find_checkpoint, list_checkpoints,
};

use crate::harness::{Case, ISA, STEPS, Setup, Struck, every, folder, scripted};

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
    let found = found.unwrap();
    let case = Case {
        patience: 2,
        ..Case::default()
    };
    for (key, value, cause) in [
        ("is_over", true.into(), StopCause::Objective),
        ("since_best", 2.into(), StopCause::EarlyStopping),
        ("step", STEPS.into(), StopCause::Done),
    ] {
        let mut ended = found.clone();
        ended.state.scalars.insert("step".into(), 2.into());
        ended.state.scalars.insert(key.into(), value);
        let step = ended.state.number("step");
        let mut resumed = setup.trainer(&case, None, None, &stop);
        resumed.resume(ended).unwrap();
        let outcome = resumed.run(&mut Hooks::default()).unwrap();
        assert_eq!((outcome.cause, outcome.steps), (cause, step), "{key}");
    }
    let mut other = found.clone();
    other.state.scalars.insert("trained".into(), "0".into());
    let mut resumed = setup.trainer(&case, None, None, &stop);
    let refused = resumed.resume(other).unwrap_err().to_string();
    assert!(
        refused.contains("trained other parameters; keep trainer.train_only"),
        "{refused}"
    );
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
            Err(TrainError::Format(FormatError::DiskFull {
                path: "the/disk".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            }))
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

/// An objective whose loss is not a number at step 3, and which then tells that it has come so far.
struct Poisoned {
    inner: Struck,
    at_step: u64,
    told: Cell<Option<mpsc::Sender<()>>>,
}

impl Objective<Gpt> for Poisoned {
    type Batch = RowBatch;

    fn prepare(
        &mut self,
        model: &Gpt,
        step: u64,
        figures: &mut Figures,
        samples: &mut Samples,
    ) -> Result<(), TrainError> {
        self.at_step = step + 1;
        self.inner.prepare(model, step, figures, samples)
    }

    fn batch(&self, at: At) -> Result<RowBatch, TrainError> {
        self.inner.batch(at)
    }

    fn counts(&self, batch: &RowBatch) -> Counts {
        self.inner.counts(batch)
    }

    fn loss(
        &self,
        model: &Gpt,
        batch: &RowBatch,
        step: &Counts,
        ctx: &ForwardCtx,
        figures: &mut Figures,
    ) -> Tensor<1> {
        let loss = self.inner.loss(model, batch, step, ctx, figures);
        if self.at_step < 3 {
            return loss;
        }
        if let Some(told) = self.told.take() {
            told.send(()).unwrap();
        }
        loss.mul_scalar(f32::NAN)
    }
}

/// Keeps what a post-mortem calls the last checkpoint.
struct LastCheckpoint(Arc<Mutex<Option<PathBuf>>>);

impl Observer for LastCheckpoint {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::NotFinite(report) = event {
            self.0.lock().unwrap().clone_from(&report.last_checkpoint);
        }
        Ok(())
    }
}

#[test]
fn a_post_mortem_waits_for_the_checkpoint_that_is_being_written() {
    let _shared = ISA.read().unwrap();
    let setup = Setup::new();
    let folder = folder();
    let (told, poisoned) = mpsc::channel();
    let poisoned = Mutex::new(poisoned);
    let named = Arc::new(Mutex::new(None));
    let mut hooks = Hooks {
        observers: Observers::new().with(LastCheckpoint(Arc::clone(&named))),
        checkpoints: Some(Checkpoints::new(
            folder.path(),
            move |folder, model: &Gpt| {
                // Whole a good while after the step that goes wrong has begun.
                poisoned.lock().unwrap().recv().unwrap();
                sleep(Duration::from_millis(300));
                Ok(save_model(folder, model, 0)?)
            },
        )),
        checkpoint_at: every(2),
        ..Hooks::default()
    };
    let mut trainer = setup.trainer_of(&Case::default(), None, |inner| Poisoned {
        inner,
        at_step: 0,
        told: Cell::new(Some(told)),
    });
    let error = trainer.run(&mut hooks).unwrap_err().to_string();
    assert!(error.contains("step 3"), "{error}");
    let named = named.lock().unwrap().clone();
    assert_eq!(named, Some(folder.path().join("step-00000002")));
}
