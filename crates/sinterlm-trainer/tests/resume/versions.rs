//! Checkpoints that earlier releases wrote, as fixtures.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sinterlm_model::{load_model, named_values};
use sinterlm_run::StopFlag;
use sinterlm_trainer::{Checkpoint, Hooks};

use crate::harness::{Case, Cut, ISA, MIDDLE, Setup, assert_near, folder};

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
    let third = Cut { step: 3, ..MIDDLE };
    setup.go(&Case::default(), folder.path(), Some(third));
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
