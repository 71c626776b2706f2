//! Runs broken off at every step, in every place, by a signal and dead.

use sinterlm_trainer::{Moments, OptimizerKind, StopCause};

use crate::harness::{Case, Cut, ISA, Left, Place, STEPS, Setup, folder};

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
