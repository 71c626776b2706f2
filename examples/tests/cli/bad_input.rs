//! Options, configs, texts and devices that cannot be used: one message, status 2, nothing left.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::{Ended, end, finished, program, smoke};

/// Starts a run with further options; no trace of it may stay where it is refused.
struct Attempt {
    folder: TempDir,
    out: PathBuf,
}

impl Attempt {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        Self { folder, out }
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn start(&self, options: &[&str]) -> Ended {
        end(smoke(&self.out).args(options))
    }

    #[track_caller]
    fn refused(&self, options: &[&str], words: &[&str]) {
        self.start(options).refused(2, words);
        assert!(!self.out.exists(), "a refused run leaves a folder");
    }
}

#[test]
fn a_mistyped_key_is_named_with_the_nearest_one() {
    let attempt = Attempt::new();
    attempt.refused(
        &["--set", "model.n_layer=3"],
        &[
            "--set model.n_layer=3",
            "unknown key",
            "did you mean n_layers?",
        ],
    );
    let smoke = include_str!("../../../configs/smoke/pretrain_tinystories.toml");
    let line = 1 + smoke
        .lines()
        .position(|line| line.starts_with("d_model"))
        .unwrap();
    let config = attempt.file("typo.toml", smoke.replace("d_model", "d_modle").as_bytes());
    let mut command = program("pretrain_tinystories");
    let ended = end(command
        .args(["--config", &config, "--out"])
        .arg(&attempt.out));
    let place = format!("line {line}");
    ended.refused(2, &[&config, &place, "did you mean d_model?"]);
    assert!(!attempt.out.exists());
    let missing =
        end(program("pretrain_tinystories").args(["--config", "configs/smoke/nope.toml"]));
    missing.refused(2, &["configs/smoke/nope.toml", "no such file"]);
}

#[test]
fn texts_that_cannot_be_read_are_refused_by_path_and_place() {
    let attempt = Attempt::new();
    let missing = attempt
        .folder
        .path()
        .join("missing.txt")
        .display()
        .to_string();
    attempt.refused(
        &["--train", &missing],
        &[&missing, "no such file", "check the spelling"],
    );
    let empty = attempt.file("empty.txt", b"");
    attempt.refused(
        &["--train", &empty],
        &[&empty, "holds no document", "give a file"],
    );
    let binary = attempt.file("binary.txt", b"PK\x03\x04 and\0more");
    attempt.refused(
        &["--train", &binary],
        &[&binary, "byte 8 is zero", "convert it"],
    );
    let gzip = attempt.file(
        "cut.txt.gz",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b",
    );
    attempt.refused(&["--train", &gzip], &[&gzip, "gzip", "again"]);
    attempt.refused(&["--valid", &empty], &["--valid without --train"]);
    let text = attempt.file("text.txt", b"One day.<|endoftext|>Two days.");
    attempt.refused(
        &["--train", &text, "--valid", &text],
        &[&text, "given as training text and as validation text"],
    );
    let array = attempt.file("array.json", b"[{\"text\": \"a\"},\n {\"text\": 1}]");
    attempt.refused(
        &["--train", &array],
        &[&array, "record 2 (line 2), field `text` is a number"],
    );
}

#[test]
fn invalid_utf8_is_refused_with_its_offset_or_replaced() {
    let attempt = Attempt::new();
    let stories: Vec<_> = (0..200)
        .map(|i| format!("The cat saw {i} birds."))
        .collect();
    let mut text = b"One \xff day.<|endoftext|>".to_vec();
    text.extend(stories.join("<|endoftext|>").bytes());
    let path = attempt.file("latin.txt", &text);
    let remedy = "data.invalid_utf8 = \"replace\"";
    attempt.refused(
        &["--train", &path],
        &[&path, "byte 4 (0xff) is not UTF-8", remedy],
    );
    let replace = [
        "--train",
        &path,
        "--set",
        "data.invalid_utf8=replace",
        "--plan",
    ];
    let bytes = ["--set", "tokenizer.vocab_size=257"];
    let ended = attempt.start(&[&replace[..], &bytes].concat()).done();
    assert!(ended.out.contains(&path), "{}", ended.out);
}

#[test]
fn a_text_shorter_than_a_window_or_a_vocabulary_is_refused() {
    let attempt = Attempt::new();
    let train = attempt.file("short.txt", b"A cat sat.");
    let valid = attempt.file("valid.txt", b"A dog sat.");
    let paths = ["--train", &train, "--valid", &valid];
    attempt.refused(
        &paths,
        &["tokenizer.vocab_size", "512 were asked for", "lower it to"],
    );
    let bytes = ["--set", "tokenizer.vocab_size=257"];
    attempt.refused(
        &[&paths[..], &bytes].concat(),
        &[
            "11 tokens to predict",
            "model.max_seq_len = 64",
            "lower model.max_seq_len to 11",
        ],
    );
}

#[test]
fn a_tokenizer_larger_than_the_vocabulary_of_the_model_is_refused() {
    let attempt = Attempt::new();
    attempt.refused(
        &["--set", "model.vocab_size=300"],
        &[
            "model.vocab_size",
            "300 is below the tokenizer's 512",
            "set it to 512",
        ],
    );
    let path = finished().0.join("tokenizer.json");
    let file = format!("tokenizer={{kind=\"file\",path=\"{}\"}}", path.display());
    attempt.refused(
        &["--set", &file, "--set", "model.vocab_size=300"],
        &[
            "model.vocab_size",
            "300 is below the tokenizer's 512",
            "set it to 512",
        ],
    );
}

#[test]
fn devices_that_are_not_there_are_refused() {
    let attempt = Attempt::new();
    attempt.refused(
        &["--device", "gpu"],
        &["--device gpu: no such device", "auto, flex, wgpu"],
    );
    attempt.refused(
        &["--device", "cuda:one"],
        &["`one` is no device number", "cuda:0"],
    );
    if !cfg!(feature = "wgpu") {
        let words = [
            "--device wgpu: this build has no such backend",
            "--features wgpu",
        ];
        attempt.refused(&["--device", "wgpu"], &words);
    }
}

#[test]
fn a_hub_out_of_reach_is_one_message() {
    let attempt = Attempt::new();
    let source = "data.source={kind=\"hub\",repo=\"owner/name\",file=\"text.txt\"}";
    attempt.refused(
        &["--set", source],
        &[
            "datasets/owner/name@main/text.txt",
            "offline",
            "give a local file",
        ],
    );
    let mut command = program("pretrain_tinystories");
    command.args([
        "--config",
        crate::harness::SMOKE,
        "--quiet",
        "--set",
        source,
        "--out",
    ]);
    let ended = end(command.arg(&attempt.out));
    ended.refused(
        2,
        &[
            "http://127.0.0.1:1/",
            "check the network",
            "give a local file",
        ],
    );
    assert!(!attempt.out.exists());
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let attempt = Attempt::new();
    let file = attempt.file("file", b"kept");
    let inside = Path::new(&file).join("run");
    let words = [
        inside.to_str().unwrap(),
        "cannot be used as a run directory",
        "another --out",
    ];
    end(&mut smoke(&inside)).refused(2, &words);
    let mut command = smoke(&attempt.out);
    let ended = end(command.env("XDG_CACHE_HOME", &file));
    ended.refused(
        2,
        &[&file, "cannot use the cache of tokens", "data.cache_dir"],
    );
    assert!(!attempt.out.exists());
    assert_eq!(fs::read(&file).unwrap(), b"kept");

    let mut permissions = fs::metadata(attempt.folder.path()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(attempt.folder.path(), permissions).unwrap();
    if fs::write(attempt.folder.path().join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write into read-only folders");
    } else {
        attempt.refused(&[], &[attempt.out.to_str().unwrap(), "another --out"]);
    }
}
