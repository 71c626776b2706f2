//! Safetensors files: what is written is read back, and no damaged or crafted file does harm.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use proptest::prelude::*;
use sinterlm_formats::{
    BlockType, Dtype, FormatError, SafetensorsFile, TensorContent, TensorEntry, TensorHeader,
    stream_safetensors, write_safetensors,
};
use tempfile::TempDir;

const BLOCK: [f32; 6] = [0.0, -1.5, f32::MAX, f32::MIN_POSITIVE, f32::NAN, 7.25];

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("format".into(), "pt".into()),
        ("note".into(), "a \"quoted\" line\n".into()),
    ])
}

fn entries() -> Vec<TensorEntry<'static>> {
    let raw = |name: &str, dtype, shape: &[usize], data: &'static [u8]| TensorEntry {
        name: name.into(),
        dtype,
        shape: shape.into(),
        data: Cow::Borrowed(data),
    };
    vec![
        raw("flags", Dtype::Bool, &[3], &[1, 0, 1]),
        TensorEntry::from_f32("layers.0.weight", [2, 3], &BLOCK),
        raw("count", Dtype::I64, &[], &[1, 0, 0, 0, 0, 0, 0, 0]),
        raw("none", Dtype::F32, &[4, 0], &[]),
        raw("half", Dtype::F16, &[2], &[0x00, 0x3c, 0x00, 0xc0]),
        raw("brain", Dtype::BF16, &[2], &[0x80, 0x3f, 0x00, 0xc0]),
        raw("double", Dtype::F64, &[1], &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f]),
    ]
}

fn valid_file() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&path, &entries(), &metadata()).unwrap();
    (dir, path)
}

/// A file with this header and this many bytes of data.
fn crafted(header: &str, data_size: usize) -> Result<SafetensorsFile, FormatError> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_size, 0);
    open_bytes(&bytes)
}

fn open_bytes(bytes: &[u8]) -> Result<SafetensorsFile, FormatError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("crafted.safetensors");
    fs::write(&path, bytes).unwrap();
    SafetensorsFile::open(&path)
}

/// The message without the folder in front.
fn message(result: Result<SafetensorsFile, FormatError>) -> String {
    let text = result.unwrap_err().to_string();
    text.split_once("crafted.safetensors: ")
        .expect("the path stands first")
        .1
        .to_owned()
}

#[test]
fn what_is_written_is_read_back() {
    let (_dir, path) = valid_file();
    let file = SafetensorsFile::open(&path).unwrap();
    assert_eq!(file.names().len(), entries().len());
    assert_eq!(file.metadata(), &metadata());
    for entry in entries() {
        let view = file.tensor(&entry.name).unwrap();
        assert_eq!(
            (view.dtype, &view.shape),
            (entry.dtype, &entry.shape),
            "{}",
            entry.name
        );
        assert_eq!(view.data, &*entry.data, "{}", entry.name);
        assert_eq!(
            &file.map()[file.tensor_range(&entry.name).unwrap()],
            view.data
        );
        let address = view.data.as_ptr() as usize;
        assert_eq!(
            address % entry.dtype.size_bytes(),
            0,
            "{} is not aligned",
            entry.name
        );
    }
}

#[test]
fn floats_of_every_width_become_f32() {
    let (_dir, path) = valid_file();
    let file = SafetensorsFile::open(&path).unwrap();
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&file.to_f32("layers.0.weight").unwrap()), bits(&BLOCK));
    assert_eq!(file.to_f32("half").unwrap(), [1.0, -2.0]);
    assert_eq!(file.to_f32("brain").unwrap(), [1.0, -2.0]);
    assert_eq!(file.to_f32("double").unwrap(), [1.0]);
    let error = file.to_f32("count").unwrap_err().to_string();
    assert!(error.ends_with("tensor `count` holds I64, not floats; read its bytes instead"));
}

#[test]
fn equal_content_gives_equal_bytes_in_any_order() {
    let (dir, path) = valid_file();
    let other = dir.path().join("other.safetensors");
    let mut reversed = entries();
    reversed.reverse();
    let size = write_safetensors(&other, &reversed, &metadata()).unwrap();
    let bytes = fs::read(&other).unwrap();
    assert_eq!(bytes, fs::read(&path).unwrap());
    assert_eq!(bytes.len() as u64, size);
}

fn header(entry: &TensorEntry<'_>) -> TensorHeader {
    TensorHeader {
        name: entry.name.clone(),
        dtype: entry.dtype.into(),
        shape: entry.shape.clone(),
    }
}

#[test]
fn streamed_tensors_are_asked_for_in_the_files_order_and_give_the_same_bytes() {
    let (dir, path) = valid_file();
    let streamed = dir.path().join("streamed.safetensors");
    let entries = entries();
    let headers: Vec<_> = entries.iter().map(header).collect();
    let mut asked = Vec::new();
    let size = stream_safetensors(&streamed, &headers, &metadata(), |tensor| {
        asked.push(tensor.name.clone());
        let entry = entries.iter().find(|entry| entry.name == tensor.name);
        let data = &entry.unwrap().data;
        match tensor.name.as_str() {
            "layers.0.weight" => TensorContent::Values(Cow::Borrowed(&BLOCK)),
            "half" | "brain" => TensorContent::Values(vec![1.0, -2.0].into()),
            _ => TensorContent::Encoded(data.to_vec().into()),
        }
    });
    let bytes = fs::read(&streamed).unwrap();
    assert_eq!(bytes, fs::read(&path).unwrap());
    assert_eq!(bytes.len() as u64, size.unwrap());
    let sorted = [
        "count",
        "double",
        "layers.0.weight",
        "none",
        "brain",
        "half",
        "flags",
    ];
    assert_eq!(asked, sorted);
}

#[test]
fn a_streamed_tensor_that_is_none_leaves_the_old_file() {
    let (_dir, path) = valid_file();
    let before = fs::read(&path).unwrap();
    let fault = |header: TensorHeader, values: usize| {
        let content = |_: &TensorHeader| TensorContent::Values(vec![0.0; values].into());
        let error = stream_safetensors(&path, &[header], &metadata(), content).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), before);
        let text = error.to_string();
        text.split_once("safetensors: ").unwrap().1.to_owned()
    };
    let weight = header(&entries()[1]);
    let blocks = TensorHeader {
        dtype: BlockType::Q8_0.into(),
        shape: vec![1, 32],
        ..weight.clone()
    };
    let large = TensorHeader {
        shape: vec![usize::MAX, 2],
        ..weight.clone()
    };
    for (header, values, expected) in [
        (weight, 5, "5 values were given for the shape [2, 3]"),
        (blocks, 32, "safetensors has no Q8_0, convert it to F32"),
        (large, 1, "the shape [18446744073709551615, 2] is too large"),
    ] {
        let expected = format!("tensor `layers.0.weight` cannot be written: {expected}");
        assert_eq!(fault(header, values), expected);
    }
}

#[test]
fn the_reference_crate_reads_our_files_and_we_read_its() {
    let (dir, path) = valid_file();
    let bytes = fs::read(&path).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), entries().len());
    let copy = dir.path().join("copy.safetensors");
    safetensors::serialize_to_file(theirs.iter(), None, &copy).unwrap();
    let ours = SafetensorsFile::open(&copy).unwrap();
    assert_eq!(ours.to_f32("half").unwrap(), [1.0, -2.0]);
}

#[test]
fn deep_headers_end_in_an_error() {
    let deep = "[".repeat(1 << 20);
    for header in [
        deep.clone(),
        deep.replace('[', "{\"a\":"),
        format!(r#"{{"x": {deep}"#),
        format!(r#"{{"__metadata__": {{"x": {deep}"#),
        format!(r#"{{"x": {{"dtype": "F32", "shape": {deep}"#),
        format!(r#"{{"x": {{"other": {deep}{}"#, "]".repeat(1 << 20)),
    ] {
        let fault = message(crafted(&header, 0));
        assert!(fault.starts_with("the header cannot be read"), "{fault}");
    }
}

#[test]
fn a_missing_tensor_is_told_with_what_there_is() {
    let (_dir, path) = valid_file();
    let error = SafetensorsFile::open(&path)
        .unwrap()
        .tensor("lm_head")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(
            "no tensor is named `lm_head`, the file holds `brain`, `count`, `double`, 4 more; \
             check that it belongs to this model"
        ),
        "{error}"
    );
}

#[test]
fn unusable_entries_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let write = |entries: &[TensorEntry<'_>]| {
        write_safetensors(&path, entries, &BTreeMap::new()).unwrap_err()
    };
    let wrong_size = TensorEntry::from_f32("w", [2, 2], &BLOCK);
    assert!(matches!(
        write(&[wrong_size]),
        FormatError::TensorSize { found: 24, .. }
    ));
    let twice = TensorEntry::from_f32("w", [6], &BLOCK);
    assert!(matches!(
        write(&[twice.clone(), twice]),
        FormatError::DuplicateTensor { .. }
    ));
    let reserved = TensorEntry::from_f32("__metadata__", [6], &BLOCK);
    assert!(matches!(
        write(&[reserved]),
        FormatError::ReservedName { .. }
    ));
    assert!(!path.exists());
}

#[test]
fn crafted_headers_are_refused_with_tensor_and_remedy() {
    let again = "the file is damaged, fetch or write it again";
    let cases = [
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4,
         format!("tensor `w` claims bytes 0..8 of the data, expected to start at 0 and to end by 4; {again}")),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 12,
         format!("4 bytes follow the last tensor; {again}")),
        (r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#, 6,
         format!("tensor `b` claims bytes 2..6 of the data, expected to start at 4 and to end by 6; {again}")),
        (r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}"#, 4,
         format!("tensor `a` claims bytes 4..0 of the data, expected to start at 0 and to end by 4; {again}")),
        (r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8,
         format!("tensor `w` of shape [3] and dtype F32 has 8 bytes, which does not fit the shape; {again}")),
        (r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0,
         format!("tensor `w` of shape [4294967296, 4294967296] and dtype F32 has 0 bytes, which does not fit the shape; {again}")),
        (r#"{"w":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}"#, 4,
         "tensor `w` has dtype `F7`, which is not supported; convert the file to F32, F16 or BF16".into()),
        (r#"{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#, 0,
         "tensor `w` stands twice in the file; write it again with unique names".into()),
        (r#"{"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}"#, 0,
         "the header cannot be read (tensor `w`: invalid value: integer `-1`, expected u64".into()),
        (r#"{"w":5}"#, 0,
         "the header cannot be read (tensor `w`: invalid type: integer `5`, expected struct RawTensor".into()),
        (r"[1]", 0,
         "the header cannot be read (invalid type: sequence, expected an object of tensors".into()),
        ("{\"w\"", 0, "the header cannot be read (tensor `w`: EOF while parsing an object".into()),
    ];
    for (header, data_size, expected) in cases {
        let text = message(crafted(header, data_size));
        assert!(
            text.starts_with(&expected),
            "{header}\n     got {text}\nexpected {expected}"
        );
    }
}

#[test]
fn impossible_lengths_are_refused_without_allocating_them() {
    assert_eq!(
        message(open_bytes(&u64::MAX.to_le_bytes())),
        "the header claims 18446744073709551615 bytes, at most 100000000 are allowed; \
         this is no file of this format, check the path"
    );
    assert_eq!(
        message(open_bytes(&99_000_000u64.to_le_bytes())),
        "the file has 8 bytes, its header needs 99000008; \
         it is cut off or no file of this format, fetch or write it again"
    );
    assert!(message(open_bytes(b"abc")).starts_with("the file has 3 bytes, its header needs 8;"));
    assert!(message(open_bytes(b"")).starts_with("the file has 0 bytes"));
    let nested = "[".repeat(100_000);
    assert!(message(crafted(&nested, 0)).starts_with("the header cannot be read ("));
}

#[test]
fn an_odd_header_length_is_read_although_the_data_is_not_aligned() {
    let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    for spaces in 0..4 {
        let padded = format!("{header}{}", " ".repeat(spaces));
        assert_eq!(crafted(&padded, 4).unwrap().to_f32("w").unwrap(), [0.0]);
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let (_dir, path) = valid_file();
    let bytes = fs::read(&path).unwrap();
    for size in 0..bytes.len() {
        assert!(
            open_bytes(&bytes[..size]).is_err(),
            "{size} of {} bytes pass",
            bytes.len()
        );
    }
}

/// Reads everything that a file offers; only panics matter.
fn read_all(path: &Path) {
    if let Ok(file) = SafetensorsFile::open(path) {
        for name in file.names() {
            let view = file.tensor(name).unwrap();
            let elements: usize = view.shape.iter().product();
            assert_eq!(view.data.len(), elements * view.dtype.size_bytes());
            let _ = file.to_f32(name);
        }
    }
}

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (_dir, path) = valid_file();
    fs::read(path).unwrap()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_mutation_of_a_valid_file_panics(
        edits in prop::collection::vec((0usize..600, any::<u8>(), 0u8..4), 1..8)
    ) {
        let mut bytes = VALID.clone();
        for (at, byte, kind) in edits {
            let at = at % (bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                // Digits keep the JSON valid, so that numbers are attacked too.
                1 if at < bytes.len() && bytes[at].is_ascii_digit() => bytes[at] = b'0' + byte % 10,
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(8)),
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let mutated = dir.path().join("mutated.safetensors");
        fs::write(&mutated, bytes).unwrap();
        read_all(&mutated);
    }
}
