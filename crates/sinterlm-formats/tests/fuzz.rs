//! Mutated files of every format: each run ends in a value or an error, soon and in little memory.
//!
//! The mutator is deterministic: a fault names the format and the run that showed it, and
//! `SINTERLM_FUZZ_RUNS` sets how many runs each format gets.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]
#![allow(
    clippy::print_stdout,
    reason = "figures of a run, shown with --nocapture"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sinterlm_formats::{
    FormatError, GgufFile, Llama2cFile, Llama2cTokenizer, PytorchFile, SafetensorsFile,
    TensorEntry, TensorSource, WeightFile, write_safetensors,
};

/// Numbers at which readers go wrong.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    31,
    32,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fff0,
    u64::MAX,
];
/// The most that this process may map while readers run, in KiB; files have a few KB.
const MAX_KIB: u64 = 4 << 20;

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Changes `bytes` in one to six places, mostly where the header is.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(6) {
        let reach = match random.below(4) {
            0 => bytes.len(),
            1 => bytes.len().min(64),
            _ => bytes.len().min(1024),
        };
        let at = random.below(reach);
        // Archives have their directory at the end.
        let at = if random.below(4) == 0 {
            bytes.len().saturating_sub(1 + at)
        } else {
            at
        };
        let rest = bytes.len() - at;
        match random.below(9) {
            0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
            1 if rest > 0 => bytes[at] = random.next() as u8,
            2 if rest > 0 => bytes[at] = bytes[at].wrapping_add(1),
            3 | 4 => {
                let width = [1, 2, 4, 8][random.below(4)].min(rest);
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                bytes[at..at + width].copy_from_slice(&edge[..width]);
            }
            5 => bytes.truncate(at),
            6 => {
                let end = at + random.below(rest.min(16));
                bytes.drain(at..end);
            }
            7 => {
                let from = random.below(bytes.len());
                let to = from + random.below((bytes.len() - from).min(40));
                let piece = bytes[from..to].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let piece: Vec<_> = (0..random.below(8)).map(|_| random.next() as u8).collect();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Reads everything that a file which was opened holds.
fn read_all(source: &dyn TensorSource) {
    let mut floats = 0;
    for name in source.tensor_names() {
        let stored = source.stored(name).unwrap();
        assert_eq!(stored.shape.iter().product::<usize>(), stored.len());
        assert!(
            stored
                .as_f32()
                .is_none_or(|values| values.len() == stored.len())
        );
        floats += stored.len();
        if floats > 1 << 16 {
            return; // tensors may share their bytes, which is no fault
        }
        match source.to_f32(name) {
            Ok(values) => assert_eq!(values.len(), stored.len()),
            Err(error) => assert!(matches!(error, FormatError::NotFloat { .. }), "{error}"),
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

fn safetensors_seed() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed");
    let values = [0.5; 24];
    let entries: Vec<_> = (0..6)
        .map(|i| TensorEntry::from_f32(format!("layers.{i}.weight"), [4, 6], &values))
        .collect();
    let metadata = BTreeMap::from([("format".into(), "pt".into())]);
    write_safetensors(&path, &entries, &metadata).unwrap();
    fs::read(path).unwrap()
}

fn llama2c_seed() -> Vec<u8> {
    let sizes = [8, 12, 2, 4, 2, 5, 3i32];
    let mut bytes: Vec<u8> = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
    bytes.resize(28 + 1046 * 4, 0x3f);
    bytes
}

fn tokenizer_seed() -> Vec<u8> {
    let mut bytes = 5i32.to_le_bytes().to_vec();
    for text in ["<unk>", "<s>", "</s>", "a", "b", "ab"] {
        bytes.extend([0, 0, 0x80, 0x3f]);
        bytes.extend((text.len() as i32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Opens the bytes of one format; the result tells whether they were accepted.
type Open = fn(Vec<u8>) -> Result<(), FormatError>;

fn formats() -> Vec<(&'static str, Vec<Vec<u8>>, Open)> {
    vec![
        ("safetensors", vec![safetensors_seed()], |bytes| {
            let file = SafetensorsFile::from_map("fuzz", Arc::new(bytes.into()))?;
            read_all(&file);
            Ok(())
        }),
        ("gguf", vec![fixture("tiny.gguf")], |bytes| {
            let file = GgufFile::from_map("fuzz", Arc::new(bytes.into()))?;
            read_all(&file);
            for key in file.metadata().keys() {
                let field = file.require(key).unwrap();
                let numbers = field.uint().is_ok() || field.ints().is_ok();
                assert!(!(numbers && field.text().is_ok()));
            }
            Ok(())
        }),
        (
            "pytorch",
            vec![fixture("state.pt"), fixture("nested.pt")],
            |bytes| {
                let file = PytorchFile::from_map("fuzz", Arc::new(bytes.into()))?;
                read_all(&file);
                Ok(())
            },
        ),
        ("llama2.c", vec![llama2c_seed()], |bytes| {
            let file = Llama2cFile::from_map("fuzz", Arc::new(bytes.into()))?;
            read_all(&file);
            Ok(())
        }),
        ("llama2.c tokenizer", vec![tokenizer_seed()], |bytes| {
            Llama2cTokenizer::from_bytes("fuzz", &bytes).map(|_| ())
        }),
    ]
}

/// The largest address space this process has had, in KiB; `None` where the system does not say.
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmPeak:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn fuzz(runs: u64) {
    for (format, seeds, open) in formats() {
        for seed in &seeds {
            open(seed.clone()).unwrap();
        }
        let (start, mut accepted, mut slowest) = (Instant::now(), 0u64, Duration::ZERO);
        for run in 0..runs {
            let mut random = Random(run);
            let mut bytes = seeds[random.below(seeds.len())].clone();
            mutate(&mut bytes, &mut random);
            let before = Instant::now();
            match catch_unwind(AssertUnwindSafe(|| open(bytes))) {
                Ok(Ok(())) => accepted += 1,
                Ok(Err(error)) => assert!(error.to_string().starts_with("fuzz: "), "{error}"),
                Err(panic) => panic!("{format}: run {run} panicked: {panic:?}"),
            }
            slowest = slowest.max(before.elapsed());
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{format}: {runs} runs, {accepted} accepted, {seconds:.1} s, slowest {slowest:?}");
        assert!(
            accepted > runs / 1000,
            "{format}: mutations reach nothing behind the header"
        );
        assert!(
            accepted < runs - runs / 10,
            "{format}: mutations change nothing"
        );
    }
    if let Some(peak) = peak_kib() {
        println!("largest address space: {} MiB", peak >> 10);
        assert!(peak < MAX_KIB, "a header made a reader ask for {peak} KiB");
    }
}

#[test]
fn mutated_files_end_in_a_value_or_an_error() {
    let runs = env::var("SINTERLM_FUZZ_RUNS").ok();
    fuzz(runs.map_or(1_000, |runs| runs.parse().unwrap()));
}

#[test]
#[ignore = "slow: over a million runs, minutes"]
fn a_million_mutated_files_end_in_a_value_or_an_error() {
    fuzz(250_000);
}

#[test]
fn mutated_indices_end_in_a_value_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let shard = dir.path().join("a.safetensors");
    write_safetensors(
        &shard,
        &[TensorEntry::from_f32("x", [1], &[1.0])],
        &BTreeMap::new(),
    )
    .unwrap();
    let seed = br#"{"metadata": {"total_size": 4}, "weight_map": {"x": "a.safetensors"}}"#;
    let path = dir.path().join("model.safetensors.index.json");
    for run in 0..500 {
        let mut bytes = seed.to_vec();
        if run > 0 {
            mutate(&mut bytes, &mut Random(run));
        }
        fs::write(&path, bytes).unwrap();
        match WeightFile::open(&path) {
            Ok(weights) => read_all(&weights),
            Err(error) => assert!(!error.to_string().is_empty() && run > 0, "{error}"),
        }
    }
}
