//! Sharded weights and the choice of a reader: one view over all shards, and no index leads astray.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sinterlm_formats::{
    Dtype, FormatError, TensorEntry, TensorSource, WeightFile, write_safetensors,
};
use tempfile::TempDir;

fn shard(folder: &Path, name: &str, tensors: &[(&str, [f32; 2])]) {
    let entries: Vec<_> = tensors
        .iter()
        .map(|(name, values)| TensorEntry::from_f32(*name, [2], values))
        .collect();
    write_safetensors(folder.join(name), &entries, &BTreeMap::new()).unwrap();
}

fn index(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("model.safetensors.index.json");
    fs::write(&path, text).unwrap();
    path
}

fn two_shards() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    shard(dir.path(), "a.safetensors", &[("x", [1.0, 2.0])]);
    let second = [("y", [3.0, 4.0]), ("z", [5.0, 6.0])];
    shard(dir.path(), "b.safetensors", &second);
    index(
        dir.path(),
        r#"{"metadata": {"total_size": 24},
            "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#,
    );
    dir
}

fn fault(text: &str) -> String {
    let dir = two_shards();
    let error = WeightFile::open(index(dir.path(), text)).unwrap_err();
    let text = error.to_string();
    text.split_once("index.json: ").unwrap().1.to_owned()
}

#[test]
fn a_folder_of_shards_reads_like_one_file() {
    let dir = two_shards();
    let weights = WeightFile::open(dir.path()).unwrap();
    assert!(matches!(&weights, WeightFile::Sharded(file) if file.shards().len() == 2));
    assert_eq!(weights.tensor_names(), ["x", "y", "z"]);
    assert_eq!(weights.to_f32("y").unwrap(), [3.0, 4.0]);
    let stored = weights.stored("z").unwrap();
    assert_eq!(
        (stored.dtype, &stored.shape[..]),
        (Dtype::F32.into(), &[2][..])
    );
    drop(weights); // the tensor keeps its file mapped
    assert_eq!(stored.as_f32().unwrap(), [5.0, 6.0]);
}

#[test]
fn a_single_file_is_preferred_and_found_by_its_bytes() {
    let dir = two_shards();
    shard(dir.path(), "model.safetensors", &[("single", [0.0; 2])]);
    let weights = WeightFile::open(dir.path()).unwrap();
    assert_eq!(weights.tensor_names(), ["single"]);
    let renamed = dir.path().join("weights.dat");
    fs::rename(dir.path().join("model.safetensors"), &renamed).unwrap();
    assert_eq!(
        WeightFile::open(renamed).unwrap().tensor_names(),
        ["single"]
    );
}

#[test]
fn what_holds_no_weights_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = WeightFile::open(dir.path()).unwrap_err();
    assert!(matches!(error, FormatError::UnknownContainer { .. }));
    for (name, fault) in [
        ("x.gguf", "are not GGUF"),
        ("x.safetensors", "the header cannot be read"),
        ("x.bin", "holds no weights of a known kind"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, [0; 40]).unwrap();
        let error = WeightFile::open(path).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
    }
    let text = dir.path().join("notes.txt");
    fs::write(&text, "no weights").unwrap();
    let error = WeightFile::open(text).unwrap_err();
    assert!(matches!(error, FormatError::UnknownContainer { .. }));
    let error = WeightFile::open(dir.path().join("absent")).unwrap_err();
    assert!(matches!(error, FormatError::Io { .. }));
}

#[test]
fn a_bin_file_of_another_kind_is_not_taken_for_llama2c() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bin");
    let sizes = |sizes: [i32; 7]| {
        sizes
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect::<Vec<_>>()
    };
    for bytes in [
        b"Once upon a time there was a little girl.".to_vec(),
        sizes([20_240_326, 3, 1024, 50_257, 12, 12, 768]), // llm.c
        sizes([8, 12, 2, 3, 2, 5, 3]),
        [0x3f80_0000; 7]
            .iter()
            .flat_map(|n: &u32| n.to_le_bytes())
            .collect(),
        b"abc".to_vec(),
    ] {
        fs::write(&path, &bytes).unwrap();
        let error = WeightFile::open(&path).unwrap_err();
        assert!(
            matches!(error, FormatError::UnknownContainer { .. }),
            "{error}"
        );
    }
    // A header that can be llama2.c's is, and the file's length is told.
    fs::write(&path, sizes([8, 12, 2, 4, 2, 5, 3])).unwrap();
    let cut = WeightFile::open(&path).unwrap_err();
    assert!(matches!(cut, FormatError::Truncated { .. }), "{cut}");
}

#[test]
fn a_git_lfs_pointer_is_called_that_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 540000000\n";
    for name in [
        "model.safetensors",
        "x.gguf",
        "pytorch_model.bin",
        "x.pt",
        "model.safetensors.index.json",
        "tokenizer.bin",
    ] {
        let path = dir.path().join(name);
        fs::write(&path, pointer).unwrap();
        let errors = [
            WeightFile::open(&path).unwrap_err(),
            sinterlm_formats::MappedFile::open(&path).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, FormatError::LfsPointer { .. }), "{error}");
            assert!(error.to_string().contains("run git lfs pull"), "{error}");
        }
    }
    let found = WeightFile::open(dir.path()).unwrap_err();
    assert!(
        found
            .to_string()
            .contains("model.safetensors: is a Git LFS pointer"),
        "{found}"
    );
}

/// A header of 640 bytes begins with the two bytes of a pickle.
#[test]
fn a_length_that_looks_like_a_pickle_is_that_of_a_safetensors_header() {
    let dir = tempfile::tempdir().unwrap();
    let mut header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned();
    while header.len() < 0x280 {
        header.push(' ');
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(1f32.to_le_bytes());
    let path = dir.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    assert_eq!(WeightFile::open(&path).unwrap().tensor_names(), ["w"]);
}

#[test]
fn an_index_cannot_lead_out_of_its_folder_or_to_an_index() {
    for shard in [
        "../a.safetensors",
        "/etc/passwd",
        "sub/a.safetensors",
        "..",
        ".",
        "",
        "c:\\\\a",
        "model.safetensors.index.json",
    ] {
        let found = fault(&format!(r#"{{"weight_map": {{"x": "{shard}"}}}}"#));
        assert!(
            found.contains("which is no weight file beside it"),
            "{found}"
        );
    }
}

#[test]
fn missing_shards_and_tensors_are_named() {
    assert_eq!(
        fault(r#"{"weight_map": {"x": "c.safetensors"}}"#),
        "the shard `c.safetensors` is missing; put all shards that the index names into its folder"
    );
    assert_eq!(
        fault(r#"{"weight_map": {"y": "a.safetensors"}}"#),
        "tensor `y` is not in the shard `a.safetensors`, where the index puts it; \
         index and shards are of different models, fetch them again"
    );
}

#[test]
fn a_tensor_in_two_shards_is_refused_unless_the_index_decides() {
    let dir = two_shards();
    shard(
        dir.path(),
        "a.safetensors",
        &[("x", [1.0; 2]), ("z", [0.0; 2])],
    );
    let error = WeightFile::open(dir.path()).unwrap_err();
    assert!(matches!(error, FormatError::DuplicateTensor { name, .. } if name == "z"));
    index(
        dir.path(),
        r#"{"weight_map": {"x": "a.safetensors", "z": "b.safetensors"}}"#,
    );
    let weights = WeightFile::open(dir.path()).unwrap();
    assert_eq!(weights.to_f32("z").unwrap(), [5.0, 6.0]);
}

#[test]
fn an_index_that_is_no_index_is_refused() {
    for text in ["", "[]", "{}", r#"{"weight_map": 3}"#, "\u{0}"] {
        assert!(
            fault(text).starts_with("the header cannot be read"),
            "{text}"
        );
    }
    let deep = format!(r#"{{"other": {}"#, "[".repeat(1_000_000));
    assert!(fault(&deep).starts_with("the header cannot be read"));
}

#[test]
fn shards_may_be_of_any_format() {
    let dir = tempfile::tempdir().unwrap();
    let state = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state.pt");
    fs::copy(state, dir.path().join("pytorch_model-1.bin")).unwrap();
    shard(dir.path(), "b.safetensors", &[("y", [3.0, 4.0])]);
    fs::write(
        dir.path().join("pytorch_model.bin.index.json"),
        r#"{"weight_map": {"row": "pytorch_model-1.bin", "y": "b.safetensors"}}"#,
    )
    .unwrap();
    let weights = WeightFile::open(dir.path()).unwrap();
    assert_eq!(weights.to_f32("row").unwrap()[..2], [1.5, 1.625]);
    assert_eq!(weights.to_f32("y").unwrap(), [3.0, 4.0]);
}
