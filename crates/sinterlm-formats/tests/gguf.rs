//! GGUF files: equal to what the authors' own package reads and writes, and no file does harm.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]
#![allow(clippy::float_cmp, reason = "what is stored comes back to the bit")]

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sinterlm_formats::{
    BlockType, Dtype, FormatError, GgufArray, GgufFile, GgufMetadata, GgufValue, SafetensorsFile,
    TensorContent, TensorHeader, TensorSource, TensorType, WeightFile, write_gguf,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn tiny() -> GgufFile {
    GgufFile::open(fixture("tiny.gguf")).unwrap()
}

fn expected() -> SafetensorsFile {
    SafetensorsFile::open(fixture("gguf.safetensors")).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn from_bytes(bytes: Vec<u8>) -> Result<GgufFile, FormatError> {
    GgufFile::from_map("crafted.gguf", Arc::new(bytes.into()))
}

fn message(bytes: Vec<u8>) -> String {
    let text = from_bytes(bytes).unwrap_err().to_string();
    text.strip_prefix("crafted.gguf: ").unwrap().to_owned()
}

/// The tests' types by ggml's names.
fn type_named(name: &str) -> TensorType {
    match BlockType::ALL
        .into_iter()
        .find(|block| block.name() == name)
    {
        Some(block) => block.into(),
        None => Dtype::from_name(name).unwrap().into(),
    }
}

#[test]
fn every_type_decodes_to_the_reference_numbers() {
    let (file, expected) = (tiny(), expected());
    let names: Vec<_> = expected
        .names()
        .filter(|n| !n.starts_with("encode."))
        .collect();
    assert_eq!(names.len(), file.tensor_names().len() - 1); // all but the integers
    for name in names {
        let stored = file.stored(name).unwrap();
        assert_eq!(stored.shape, expected.tensor(name).unwrap().shape, "{name}");
        if name != "vector" {
            assert_eq!(stored.dtype, type_named(name));
        }
        let wanted = expected.to_f32(name).unwrap();
        assert_eq!(bits(&file.to_f32(name).unwrap()), bits(&wanted), "{name}");
        // A row alone is the same.
        let row_bytes = stored.bytes.len() / stored.shape[0];
        let mut row = vec![0.0; wanted.len() / stored.shape[0]];
        let last = stored.bytes.len() - row_bytes;
        stored.dtype.decode(&stored.bytes[last..], &mut row);
        assert_eq!(
            bits(&row),
            bits(&wanted[wanted.len() - row.len()..]),
            "{name}"
        );
    }
    assert!(matches!(
        file.to_f32("I32"),
        Err(FormatError::NotFloat { .. })
    ));
}

#[test]
fn every_type_encodes_to_the_reference_bytes() {
    let expected = expected();
    let input = expected.to_f32("encode.input").unwrap();
    for name in ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"] {
        let dtype = type_named(name);
        assert!(dtype.can_encode());
        let wanted = expected.tensor(&format!("encode.{name}")).unwrap().data;
        let mut found = vec![0; wanted.len()];
        dtype.encode(&input, &mut found);
        let differ = found
            .chunks(dtype.block_bytes())
            .zip(wanted.chunks(dtype.block_bytes()));
        let first = differ
            .enumerate()
            .find(|(_, (found, wanted))| found != wanted);
        assert!(first.is_none(), "{name}: block, (found, wanted): {first:?}");
    }
}

#[test]
fn metadata_of_every_type_is_read() {
    let file = tiny();
    let get = |key: &str| file.require(key).unwrap();
    assert_eq!(get("general.architecture").text().unwrap(), "llama");
    assert_eq!(get("test.string").text().unwrap(), "größer ▁");
    assert_eq!(get("test.u8").uint().unwrap(), 200);
    assert_eq!(get("test.u16").uint().unwrap(), 60000);
    assert_eq!(get("test.u32").uint().unwrap(), 4_000_000_000);
    assert_eq!(get("test.u64").uint().unwrap(), 1 << 63);
    assert_eq!(get("test.i8").value(), &GgufValue::I8(-100));
    assert_eq!(get("test.i16").value(), &GgufValue::I16(-30000));
    assert_eq!(get("test.i32").value(), &GgufValue::I32(-2_000_000_000));
    assert_eq!(get("test.i64").value(), &GgufValue::I64(-(1 << 62)));
    assert_eq!(get("test.f32").float().unwrap(), f64::from(0.1f32));
    assert_eq!(get("test.f64").float().unwrap(), 0.1);
    assert!(get("test.bool").flag().unwrap());
    let bools = GgufArray::Bool(vec![true, false]);
    assert_eq!(get("test.bools").value(), &GgufValue::Array(bools));
    let nested = [vec![1, 2], vec![3]].map(GgufArray::I32);
    let nested = GgufArray::Array(nested.into());
    assert_eq!(get("test.nested").value(), &GgufValue::Array(nested));
    let tokens = get("tokenizer.ggml.tokens");
    assert_eq!(tokens.texts().unwrap(), ["<unk>", "<s>", "▁a", "b"]);
    assert_eq!(
        get("tokenizer.ggml.token_type").ints().unwrap(),
        [2, 3, 1, 1]
    );
    assert_eq!(
        get("tokenizer.ggml.scores").floats().unwrap(),
        [0.0, 0.0, -1.5, -2.5]
    );
    assert!(
        get("tokenizer.chat_template")
            .text()
            .unwrap()
            .starts_with("{% for")
    );
    assert!(file.field("absent").is_none());
}

#[test]
fn a_wrong_or_missing_key_is_named() {
    let file = tiny();
    let tail = |error: FormatError| {
        let text = error.to_string();
        text.split_once("tiny.gguf: ").unwrap().1.to_owned()
    };
    assert_eq!(
        tail(file.require("llama.block_count").unwrap_err()),
        "the metadata has no key `llama.block_count`; fetch or convert the file again"
    );
    let tokens = file.require("tokenizer.ggml.tokens").unwrap();
    assert_eq!(
        tail(tokens.uint().unwrap_err()),
        "the metadata key `tokenizer.ggml.tokens` holds array of string, expected a whole number \
         from 0; fetch or convert the file again"
    );
    assert!(file.require("test.i32").unwrap().uint().is_err());
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("again.gguf");
    let source = tiny();
    let tensors: Vec<_> = source
        .tensor_names()
        .into_iter()
        .map(|name| {
            let stored = source.stored(name).unwrap();
            let (dtype, shape) = (stored.dtype, stored.shape);
            TensorHeader {
                name: name.into(),
                dtype,
                shape,
            }
        })
        .collect();
    let copy = |tensor: &TensorHeader| {
        TensorContent::Encoded(source.stored(&tensor.name).unwrap().bytes.to_vec().into())
    };
    let size = write_gguf(&path, source.metadata(), &tensors, copy).unwrap();
    assert_eq!(size, fs::metadata(&path).unwrap().len());
    let WeightFile::Gguf(file) = WeightFile::open(&path).unwrap() else {
        panic!("a GGUF file is found by its first bytes");
    };
    assert_eq!(file.metadata(), source.metadata());
    assert_eq!(file.tensor_names(), source.tensor_names());
    for name in file.tensor_names() {
        let (found, wanted) = (file.stored(name).unwrap(), source.stored(name).unwrap());
        assert_eq!((found.dtype, &found.shape), (wanted.dtype, &wanted.shape));
        assert_eq!(&*found.bytes, &*wanted.bytes, "{name}");
    }
}

#[test]
fn values_are_encoded_while_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("encoded.gguf");
    let expected = expected();
    let input = expected.to_f32("encode.input").unwrap();
    let tensors = ["F32", "BF16", "Q4_0", "Q8_0"].map(|name| TensorHeader {
        name: name.into(),
        dtype: type_named(name),
        shape: vec![20, 64],
    });
    let metadata = GgufMetadata::from([("general.alignment".into(), 64u32.into())]);
    write_gguf(&path, &metadata, &tensors, |_| {
        TensorContent::Values(Cow::Borrowed(&input))
    })
    .unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(
        bits(file.stored("F32").unwrap().as_f32().unwrap()),
        bits(&input)
    );
    for name in ["BF16", "Q4_0", "Q8_0"] {
        let wanted = expected.tensor(&format!("encode.{name}")).unwrap().data;
        assert_eq!(&*file.stored(name).unwrap().bytes, wanted, "{name}");
        assert_eq!(file.stored(name).unwrap().bytes.as_ptr() as usize % 64, 0);
    }
}

#[test]
fn what_gguf_cannot_hold_is_refused_and_the_old_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.gguf");
    fs::write(&path, "old").unwrap();
    let refuse = |name: &str, dtype: TensorType, shape: &[usize], values: &[f32]| {
        let tensor = TensorHeader {
            name: name.into(),
            dtype,
            shape: shape.into(),
        };
        let data = |_: &TensorHeader| TensorContent::Values(values.to_vec().into());
        let error = write_gguf(&path, &GgufMetadata::new(), &[tensor], data).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        error
            .to_string()
            .split_once("cannot be written: ")
            .unwrap()
            .1
            .to_owned()
    };
    let f32s = TensorType::from(Dtype::F32);
    assert!(refuse(&"x".repeat(64), f32s, &[1], &[0.0]).contains("longer than 63 bytes"));
    assert!(refuse("x", f32s, &[1; 5], &[0.0]).contains("more than 4 axes"));
    assert!(refuse("x", Dtype::U8.into(), &[1], &[0.0]).contains("GGUF has no U8"));
    assert!(refuse("x", BlockType::Q8_0.into(), &[32, 2], &[0.0; 64]).contains("whole blocks"));
    assert!(refuse("x", BlockType::Q4K.into(), &[256], &[0.0; 256]).contains("cannot be encoded"));
    assert!(refuse("x", f32s, &[3], &[0.0; 2]).contains("2 values were given"));
}

/// A file of version 3 with these tensors (name, axes from the innermost, type, offset), then
/// `data` zeros.
fn crafted(tensors: &[(&str, &[u64], u32, u64)], data: usize) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    for (name, axes, number, offset) in tensors {
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((axes.len() as u32).to_le_bytes());
        axes.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(number.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

#[test]
fn crafted_tensors_are_refused_with_their_names() {
    assert!(from_bytes(crafted(&[("a", &[8], 0, 0), ("b", &[4, 2], 0, 32)], 64)).is_ok());
    let overlap = message(crafted(&[("a", &[8], 0, 0), ("b", &[8], 0, 16)], 64));
    assert!(
        overlap.starts_with("tensor `b` claims bytes 16..48 of the data, expected to start at 32")
    );
    let outside = message(crafted(&[("a", &[8], 0, 0)], 31));
    assert!(
        outside.contains("0..32") && outside.contains("end by 31"),
        "{outside}"
    );
    let far = message(crafted(&[("a", &[8], 0, u64::MAX - 31)], 64));
    assert!(far.starts_with("tensor `a` claims"), "{far}");
    let huge = message(crafted(&[("a", &[1 << 40, 1 << 40], 0, 0)], 64));
    assert!(huge.contains("too large"), "{huge}");
    let terabytes = message(crafted(&[("a", &[1 << 40], 0, 0)], 64));
    assert!(
        terabytes.contains("claims bytes 0..4398046511104"),
        "{terabytes}"
    );
    let ragged = message(crafted(&[("a", &[33], 8, 0)], 64));
    assert!(ragged.contains("not whole blocks of Q8_0"), "{ragged}");
    let twice = message(crafted(&[("a", &[8], 0, 0), ("a", &[8], 0, 32)], 64));
    assert!(twice.contains("stands twice"), "{twice}");
    let exotic = message(crafted(&[("a", &[256], 23, 0)], 640));
    assert!(
        exotic.contains("dtype `IQ4_XS`, which is not supported"),
        "{exotic}"
    );
    let axes = message(crafted(&[("a", &[1; 5], 0, 0)], 640));
    assert!(axes.contains("5 axes, at most 4"), "{axes}");
}

/// A file whose only metadata entry is the key `k` with these bytes as type and value.
fn with_value(value: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k".to_vec();
    bytes.extend(value);
    bytes
}

#[test]
fn crafted_metadata_is_refused_without_allocating_what_it_claims() {
    assert!(from_bytes(with_value(b"\x07\0\0\0\x01")).is_ok());
    assert!(message(with_value(b"\x07\0\0\0\x02")).contains("2 is no truth value"));
    assert!(message(with_value(b"\x0d\0\0\0\x02")).contains("value type 13 is unknown"));
    for element in [0u8, 5, 7, 8, 9, 12] {
        let mut claim = b"\x09\0\0\0".to_vec();
        claim.extend([element, 0, 0, 0]);
        claim.extend((u64::MAX / 2).to_le_bytes());
        assert!(
            message(with_value(&claim)).contains("its header needs"),
            "{element}"
        );
    }
    let mut nested = b"\x09\0\0\0".to_vec();
    (0..100_000).for_each(|_| nested.extend(b"\x09\0\0\0\x01\0\0\0\0\0\0\0"));
    assert!(message(with_value(&nested)).contains("nested more than 4 deep"));
    let text = b"\x08\0\0\0\x02\0\0\0\0\0\0\0\xff\xfe";
    assert!(message(with_value(text)).contains("not UTF-8"));
    let mut entries = b"GGUF\x03\0\0\0".to_vec();
    entries.extend([0xff; 16]);
    assert!(message(entries).contains("its header needs"));
}

#[test]
fn other_formats_and_versions_are_told_apart() {
    assert!(message(b"GGML\x03\0\0\0".to_vec()).contains("are not GGUF"));
    assert!(message(b"GGUF\x01\0\0\0".to_vec()).contains("version 1 is unknown"));
    assert!(message(b"GGUF\0\0\0\x03".to_vec()).contains("big-endian"));
    assert!(message(b"GG".to_vec()).contains("the file has 2 bytes"));
    assert!(message(Vec::new()).contains("the file has 0 bytes"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = fs::read(fixture("tiny.gguf")).unwrap();
    // The writer pads the last tensor, which nobody needs.
    let end = (0..=bytes.len())
        .rev()
        .take_while(|n| from_bytes(bytes[..*n].to_vec()).is_ok());
    assert!(end.count() <= 32);
    for n in (0..bytes.len() - 32).step_by(7) {
        assert!(from_bytes(bytes[..n].to_vec()).is_err(), "{n} bytes");
    }
}

#[test]
fn a_part_of_a_model_is_not_taken_for_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model-00001-of-00002.gguf");
    let metadata = GgufMetadata::from([("split.count".into(), 2u16.into())]);
    write_gguf(&path, &metadata, &[], |_| {
        TensorContent::Values(Cow::Borrowed(&[]))
    })
    .unwrap();
    let error = WeightFile::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("one of 2 parts"), "{error}");
}
