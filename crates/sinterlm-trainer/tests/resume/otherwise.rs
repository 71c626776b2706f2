//! Runs resumed on other threads, with other instructions, in other micro-batches.

use std::num::NonZeroUsize;

use sinterlm_kernels::{Isa, run_on_pool, set_max_isa};
use tempfile::TempDir;

use crate::harness::{Case, ISA, Left, MIDDLE, STEPS, Setup, assert_near, folder, weights};

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
        "baseline from step 4 on",
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
        "4 x 1 rows from step 4 on",
    );
}
