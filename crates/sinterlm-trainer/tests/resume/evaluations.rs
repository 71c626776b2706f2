//! Evaluations by named metrics: what ends a run, what stays, when they happen.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use sinterlm_model::{Gpt, save_model};
use sinterlm_run::StopFlag;
use sinterlm_trainer::{
    Best, Checkpoints, Evaluate, Goal, Hooks, Keep, NextToken, Scope, StopCause, Trainer, Trigger,
    find_checkpoint, list_checkpoints,
};

use crate::harness::{Case, ISA, STEPS, Setup, every, folder, scripted};

/// Evaluations that give these accuracies in turn, beside a loss that never changes.
fn accuracies(values: &'static [f64]) -> Evaluate<'static, Gpt> {
    let mut values = values.iter().copied();
    Box::new(move |_, _| {
        let accuracy = values.next().unwrap_or(0.0);
        Ok(vec![
            ("valid/loss".to_owned(), 1.0),
            ("valid/accuracy".to_owned(), accuracy),
        ])
    })
}

fn best() -> Best {
    Best {
        metric: "valid/accuracy".to_owned(),
        goal: Goal::Max,
        ..Best::default()
    }
}

fn hooks(run: &Path, evaluate: Evaluate<'static, Gpt>) -> Hooks<'static, Gpt> {
    Hooks {
        evaluate: Some(evaluate),
        evaluate_at: every(1),
        best: best(),
        checkpoints: Some(Checkpoints {
            keep: Keep {
                last: 1,
                best: true,
                ..Keep::default()
            },
            ..Checkpoints::new(run, |folder: &Path, model: &Gpt| {
                Ok(save_model(folder, model, 0)?)
            })
        }),
        ..Hooks::default()
    }
}

#[test]
fn a_run_ends_where_an_evaluation_reaches_its_target_and_stays_ended() {
    let _shared = ISA.read().unwrap();
    let (setup, stop, folder) = (Setup::new(), StopFlag::new(), folder());
    let case = Case::default();
    let mut hooks = hooks(folder.path(), accuracies(&[0.5, 0.8, 0.92, 0.3]));
    hooks.best.stop_at = Some(0.9);
    let outcome = setup
        .trainer(&case, None, None, &stop)
        .run(&mut hooks)
        .unwrap();
    assert_eq!((outcome.cause, outcome.steps), (StopCause::Reached, 3));

    let (found, _) = find_checkpoint(folder.path());
    let mut resumed = setup.trainer(&case, None, None, &stop);
    resumed.resume(found.unwrap()).unwrap();
    let outcome = resumed.run(&mut hooks).unwrap();
    assert_eq!((outcome.cause, outcome.steps), (StopCause::Reached, 3));
}

#[test]
fn the_best_of_a_metric_that_rises_stays_and_its_patience_counts() {
    let _shared = ISA.read().unwrap();
    let (setup, stop, folder) = (Setup::new(), StopFlag::new(), folder());
    let case = Case {
        patience: 3,
        ..Case::default()
    };
    let mut hooks = hooks(folder.path(), accuracies(&[0.5, 0.8, 0.7, 0.8, 0.6]));
    let outcome = setup
        .trainer(&case, None, None, &stop)
        .run(&mut hooks)
        .unwrap();
    assert_eq!(
        (outcome.cause, outcome.steps),
        (StopCause::EarlyStopping, 5)
    );
    let kept = list_checkpoints(folder.path());
    let names: Vec<_> = kept.iter().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["step-00000002", "step-00000005"]);
    assert_eq!(outcome.best_checkpoint.as_ref(), kept.first());
}

#[test]
fn a_metric_that_no_evaluation_gives_ends_the_run_by_name() {
    let _shared = ISA.read().unwrap();
    let (setup, stop) = (Setup::new(), StopFlag::new());
    let mut hooks = Hooks {
        evaluate: Some(accuracies(&[])),
        evaluate_at: every(2),
        best: Best {
            metric: "valid/acuracy".to_owned(),
            ..best()
        },
        ..Hooks::default()
    };
    let mut trainer = setup.trainer(&Case::default(), None, None, &stop);
    let error = trainer.run(&mut hooks).unwrap_err().to_string();
    assert!(error.starts_with("eval.best: evaluations during the run give no `valid/acuracy`"));
    assert!(error.ends_with("valid/loss, valid/accuracy (did you mean `valid/accuracy`?)"));
}

/// Evaluations that take note of their scope.
fn scopes(seen: &Rc<RefCell<Vec<Scope>>>) -> Evaluate<'static, Gpt> {
    let seen = Rc::clone(seen);
    Box::new(move |_, scope| {
        seen.borrow_mut().push(scope);
        Ok(vec![("valid/loss".to_owned(), 1.0)])
    })
}

#[test]
fn evaluations_may_come_by_epochs_and_by_fractions_of_the_run() {
    let _shared = ISA.read().unwrap();
    let (setup, case) = (Setup::new(), Case::default());
    let by = |trigger: Trigger| {
        let seen = Rc::default();
        let mut hooks = Hooks {
            evaluate: Some(scopes(&seen)),
            evaluate_at: trigger,
            ..Hooks::default()
        };
        let mut plain: Trainer<Gpt, NextToken> = setup.trainer_of(&case, None, |o| o.inner);
        plain.run(&mut hooks).unwrap();
        drop(hooks);
        let seen = Rc::into_inner(seen).unwrap().into_inner();
        assert_eq!(seen.last(), Some(&Scope::Final));
        seen.len() - 1
    };
    let third = Trigger {
        every_fraction: 1.0 / 3.0,
        ..Trigger::default()
    };
    assert_eq!(by(third), 2);
    // Four rows a step of a text with a known number of rows.
    let epochs = 4.0 * STEPS as f64 / setup.rows_per_epoch() as f64;
    let part = Trigger {
        every_epochs: epochs / 2.5,
        ..Trigger::default()
    };
    assert_eq!(by(part), 2);

    // This objective does not tell its epochs.
    let mut hooks = Hooks {
        evaluate: Some(scripted(&[])),
        evaluate_at: part,
        ..Hooks::default()
    };
    let mut struck = setup.trainer(&case, None, None, &StopFlag::new());
    let error = struck.run(&mut hooks).unwrap_err().to_string();
    assert!(
        error.starts_with("eval.every_epochs: this objective has no epochs"),
        "{error}"
    );
    assert_eq!(struck.steps(), 0);
}
