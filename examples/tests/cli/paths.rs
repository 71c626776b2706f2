//! Paths that are no text, and paths that a shell takes apart.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::harness::{SMOKE, copy_of_finished, copy_tree, end, json, program, smoke};

fn named(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

#[test]
fn a_model_is_read_and_exported_whatever_its_name() {
    let (folder, run) = copy_of_finished();
    let at = |name: &[u8]| named(folder.path(), name);
    copy_tree(&run.join("model"), &at(b"m\xe9"));
    for (model, to) in [
        (at(b"m\xe9"), at(b"x")),
        (at(b"m\xe9"), at(b"n\xe9.gguf")),
        (at(b"n\xe9.gguf"), at(b"a b\xff")),
    ] {
        let mut command = program("export");
        command.arg("--model").arg(&model).arg("--to").arg(&to);
        end(command.args(["--device", "flex", "--quiet"])).done();
    }
    let receipts = [
        at(b"x").join("receipt.json"),
        at(b"n\xe9.gguf.receipt.json"),
        at(b"a b\xff").join("receipt.json"),
    ];
    for receipt in receipts {
        assert_eq!(json(&receipt)["passed"], true);
    }
    let mut command = program("generate");
    command.arg("--model").arg(at(b"n\xe9.gguf"));
    end(command.args(["--quiet", "--max-new-tokens", "2", "--prompt", "Once"])).done();
}

#[test]
fn a_run_works_in_a_folder_of_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = named(folder.path(), b"r \xe9");
    end(&mut smoke(&out)).done();
    assert!(out.join("model/config.json").is_file());
}

#[test]
fn a_place_that_cannot_be_made_is_refused_before_a_model_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "kept").unwrap();
    let model = folder.path().join("not read");
    let refused = |name: &str, option: &str, to: &Path| {
        let mut command = program(name);
        command.arg("--model").arg(&model).arg(option).arg(to);
        if option == "--out" && name == "export" {
            command.arg("--to").arg(folder.path().join("to"));
        }
        let words = [to.file_name().unwrap().to_str().unwrap(), "another --"];
        end(&mut command).refused(
            2,
            if to.starts_with(&file) {
                &words[1..]
            } else {
                &words
            },
        );
    };
    for to in [file.join("a/b"), folder.path().join("x".repeat(300))] {
        refused("export", "--to", &to);
        refused("export", "--to", &to.with_extension("gguf"));
        refused("export", "--out", &to);
        refused("generate", "--out", &to);
    }
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

#[test]
fn a_path_that_no_config_can_hold_is_named_before_anything_is_made() {
    let (folder, run) = copy_of_finished();
    let text = named(folder.path(), b"caf\xe9.txt");
    fs::write(
        &text,
        "Once upon a time.\n<|endoftext|>\nThere was a cat.\n",
    )
    .unwrap();
    let model = named(folder.path(), b"m\xe9");
    copy_tree(&run.join("model"), &model);
    let plain = folder.path().join("plain.txt");
    fs::copy(&text, &plain).unwrap();
    let out = folder.path().join("new");
    let refused = |options: &[&OsStr], cache: Option<&Path>, word: &str| {
        let mut command = smoke(&out);
        command.args(options);
        if let Some(cache) = cache {
            command.env("XDG_CACHE_HOME", cache);
        }
        end(&mut command).refused(2, &[word, "is not UTF-8", "rename it"]);
        assert!(!out.exists());
    };
    let (train, valid) = (OsStr::new("--train"), OsStr::new("--valid"));
    let (text, plain) = (text.as_os_str(), plain.as_os_str());
    refused(&[train, text], None, r"caf\351.txt'");
    refused(&[train, plain, valid, text], None, r"caf\351.txt'");
    refused(&["--model".as_ref(), model.as_os_str()], None, r"m\351'");
    refused(&[], Some(&named(folder.path(), b"home\xe9")), r"home\351");
}

#[test]
fn commands_that_are_printed_can_be_pasted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("S 4's");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("config.toml"), "").unwrap();
    let mut command = program("pretrain_tinystories");
    command
        .args(["--config", SMOKE, "--offline", "--quiet", "--out"])
        .arg(&out);
    let quoted = format!("--resume '{}/S 4'\\''s'", folder.path().display());
    end(&mut command).refused(2, &["already holds a run", &quoted]);
}
