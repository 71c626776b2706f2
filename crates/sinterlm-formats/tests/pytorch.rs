//! Files of torch.save: every tensor as PyTorch has it, and nothing else is let in.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::{fs, path::Path, sync::Arc};

use sinterlm_formats::{FormatError, PytorchFile, SafetensorsFile, TensorSource, WeightFile};

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn from_bytes(bytes: Vec<u8>) -> Result<PytorchFile, FormatError> {
    PytorchFile::from_map("crafted.pt", Arc::new(bytes.into()))
}

fn message(bytes: Vec<u8>) -> String {
    let text = from_bytes(bytes).unwrap_err().to_string();
    text.strip_prefix("crafted.pt: ").unwrap().to_owned()
}

/// An archive with the entries `x/NAME`, uncompressed.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let name = format!("x/{name}");
        let offset = bytes.len() as u32;
        let mut sizes = [0; 4].to_vec(); // checksum
        sizes.extend((content.len() as u32).to_le_bytes());
        sizes.extend((content.len() as u32).to_le_bytes());
        sizes.extend((name.len() as u16).to_le_bytes());
        sizes.extend([0, 0]);
        bytes.extend(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0");
        bytes.extend(&sizes);
        bytes.extend(name.as_bytes());
        bytes.extend(*content);
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend(&sizes);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (bytes.len() as u32, entries.len() as u16);
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// The fault in an archive with this pickle and eight bytes of storage `0`.
fn pickle_fault(pickle: &[u8]) -> String {
    message(archive(&[("data.pkl", pickle), ("data/0", &[0; 8])]))
}

/// The pickle of `{"w": tensor}` over the F32 storage `0`, with these pickled values as offset,
/// shape and strides.
fn tensor_pickle(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend(b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02tQ");
    pickle.extend(offset);
    pickle.extend(shape);
    pickle.extend(strides);
    pickle.extend(b"\x89NtRs.");
    pickle
}

#[test]
fn every_tensor_is_as_pytorch_has_it() {
    let expected = SafetensorsFile::open(fixture("torch.safetensors")).unwrap();
    for file in ["state", "nested"] {
        let weights = WeightFile::open(fixture(&format!("{file}.pt"))).unwrap();
        assert!(matches!(weights, WeightFile::Pytorch(_)));
        let prefix = format!("{file}/");
        let names: Vec<_> = expected
            .names()
            .filter_map(|n| n.strip_prefix(&prefix))
            .collect();
        assert_eq!(weights.tensor_names(), names);
        for name in names {
            let found = weights.stored(name).unwrap();
            let wanted = expected.stored(&format!("{prefix}{name}")).unwrap();
            assert_eq!(
                (found.dtype, &found.shape),
                (wanted.dtype, &wanted.shape),
                "{name}"
            );
            assert_eq!(&*found.bytes, &*wanted.bytes, "{name}");
        }
    }
}

#[test]
fn contiguous_tensors_stay_in_the_file() {
    let bytes = fs::read(fixture("state.pt")).unwrap();
    let map = Arc::new(bytes.into());
    let file = PytorchFile::from_map("state.pt", Arc::clone(&map)).unwrap();
    let inside = |name: &str| {
        let address = file.stored(name).unwrap().bytes.as_ptr();
        map.as_ptr_range().contains(&address)
    };
    assert!(inside("base") && inside("row") && inside("parameter"));
    assert!(!inside("transposed") && !inside("columns"));
}

#[test]
fn what_is_no_tensor_is_refused_by_name_and_never_run() {
    let refused = PytorchFile::open(fixture("refused.pt"))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("pathlib.PurePosixPath`, which is not needed"),
        "{refused}"
    );
    let shell = pickle_fault(b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.");
    assert!(shell.contains("refers to `posix.system`"), "{shell}");
    let built = pickle_fault(b"\x80\x04X\x08\0\0\0builtinsX\x04\0\0\0eval\x93.");
    assert!(built.contains("refers to `builtins.eval`"), "{built}");
}

#[test]
fn a_tensor_cannot_leave_its_storage_or_outgrow_it() {
    let open = |pickle: Vec<u8>| {
        let file = from_bytes(archive(&[("data.pkl", &pickle), ("data/0", &[1; 8])]));
        file.map(|file| file.to_f32("w").unwrap().len())
    };
    assert_eq!(
        open(tensor_pickle(b"K\0", b"K\x02\x85", b"K\x01\x85")).unwrap(),
        2
    );
    // A step that is never made may be anything.
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85";
    assert_eq!(
        open(tensor_pickle(b"K\x01", b"K\x01\x85", huge)).unwrap(),
        1
    );
    let refused = [
        tensor_pickle(b"K\x01", b"K\x02\x85", b"K\x01\x85"), // starts too late
        tensor_pickle(b"K\0", b"K\x02\x85", b"K\x02\x85"),   // steps too far
        tensor_pickle(b"K\0", b"K\x02\x85", huge),
        tensor_pickle(b"K\0", b"M\xff\xff\x85", b"K\0\x85"), // repeats one element
        tensor_pickle(b"K\0", huge, b"K\x01\x85"),
    ];
    for pickle in refused {
        let error = open(pickle).unwrap_err();
        assert!(
            matches!(error, FormatError::TensorOffsets { .. }),
            "{error}"
        );
    }
    let negative = pickle_fault(&tensor_pickle(
        b"J\xff\xff\xff\xff",
        b"K\x02\x85",
        b"K\x01\x85",
    ));
    assert!(negative.contains("negative offset"), "{negative}");
}

#[test]
fn hostile_pickles_end_in_an_error() {
    for (pickle, fault) in [
        (&b""[..], "its header needs"),
        (b"\x80\x02", "its header needs"),
        (b".", "a value is missing"),
        (b"(.", "a value is missing"),
        (b"N.", "no dictionary of tensors"),
        (b"t.", "a mark is missing"),
        (b"h\x05.", "slot 5 is empty"),
        (b"i.", "opcode 0x69 is not supported"),
        (b"}}h", "its header needs"),
        (b"NNs.", "items without a dictionary"),
        (b"NNR.", "a call of what is no function"),
        (b"NQ.", "a storage without a description"),
        (b"cno line feed", "its header needs"),
        (b"X\xff\xff\xff\xffab", "its header needs"),
    ] {
        let found = pickle_fault(pickle);
        assert!(found.contains(fault), "{}: {found}", pickle.escape_ascii());
    }
    // A dictionary in itself, and ten times each in the next: neither is followed for ever.
    let cycle = pickle_fault(b"}q\0X\x01\0\0\0ah\0s.");
    assert!(cycle.contains("too many or too deep"), "{cycle}");
    let mut bomb = b"}q\0".to_vec();
    for level in 0..12u8 {
        bomb.extend(b"0}q");
        bomb.push(level + 1);
        bomb.push(b'(');
        (0..10u8).for_each(|key| bomb.extend([b'K', key, b'h', level]));
        bomb.push(b'u');
    }
    bomb.push(b'.');
    assert!(pickle_fault(&bomb).contains("too many or too deep"));
    let mut deep = vec![b')'];
    deep.resize(3_000_000, 0x85);
    deep.push(b'.');
    assert!(pickle_fault(&deep).contains("no dictionary of tensors"));
    let long = vec![b'('; 5_000_000];
    assert!(pickle_fault(&long).contains("more than 4000000 steps"));
}

#[test]
fn archives_that_torch_does_not_write_are_refused() {
    let foreign = message(archive(&[("readme.txt", b"text")]));
    assert!(foreign.contains("torch.save did not write it"), "{foreign}");
    let big = message(archive(&[("byteorder", b"big"), ("data.pkl", b"}.")]));
    assert!(big.contains("big-endian"), "{big}");
    let mut compressed = archive(&[("data.pkl", b"}.")]);
    let at = compressed
        .windows(4)
        .position(|w| w == b"PK\x01\x02")
        .unwrap();
    compressed[at + 10] = 8;
    assert!(message(compressed).contains("compressed or encrypted"));
    let pickle = tensor_pickle(b"K\0", b"K\x02\x85", b"K\x01\x85");
    let lost = message(archive(&[("data.pkl", &pickle)]));
    assert!(
        lost.contains("the storage `0` of tensor `w` is missing"),
        "{lost}"
    );
    let twice = message(archive(&[("data.pkl", b"}."), ("data.pkl", b"}.")]));
    assert!(twice.contains("two entries"), "{twice}");
    for protocol in [2, 4] {
        let bare = vec![0x80, protocol, 0x8a, 0x0a];
        assert!(message(bare).contains("saved before PyTorch 1.6"));
    }
    assert!(message(b"PK\x03\x04".to_vec()).contains("no directory"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = fs::read(fixture("state.pt")).unwrap();
    for n in (0..bytes.len()).step_by(13) {
        assert!(from_bytes(bytes[..n].to_vec()).is_err(), "{n} bytes");
    }
}
